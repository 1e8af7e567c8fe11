"""Episodes to come, offered to their members until these have answered with their goals. No socket, no clock: `now` is an argument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from env_server.environments.environment_contracts import OfferedEpisode
from protocols.conversations.retries import RetryAttempt, RetryTimers
from protocols.runtime.errors import BadMessage

Frames = dict[str, NDArray[Any]]
PATIENCE = 1.0
"""seconds before an offer is repeated for the first time: its members may be negotiating"""


class GoalOffers:
    """What was offered to whom and is not answered. `agents` in the order that `Joined.members` has."""

    def __init__(self, agents: Sequence[str], random: np.random.Generator) -> None:
        self._number = {name: i for i, name in enumerate(agents)}
        self._open: dict[str, dict[int, tuple[OfferedEpisode, RetryAttempt]]] = {agent: {} for agent in agents}
        self._timers = RetryTimers(random)
        self._waiting_since: dict[tuple[int, str], float] = {}

    def offer(self, episodes: Iterable[OfferedEpisode], now: float) -> dict[str, Frames]:
        """Frames of an `Offer` to each member of new episodes."""
        fresh: dict[str, list[OfferedEpisode]] = {}
        for episode in episodes:
            for member in episode.members:
                self._open[member][episode.episode] = (episode, self._timers[member].start(now + PATIENCE))
                fresh.setdefault(member, []).append(episode)
        return {agent: self._frames(offers) for agent, offers in fresh.items()}

    def again(self, now: float) -> dict[str, Frames]:
        """Frames of the offers that are due to be repeated, by agent."""
        repeated = {}
        for agent, offers in self._open.items():
            due = [(offer, attempt) for offer, attempt in offers.values() if now >= attempt.due]
            for _, attempt in due:
                self._timers[agent].again(attempt, now)
            if due:
                repeated[agent] = self._frames([offer for offer, _ in due])
        return repeated

    def answered(self, agent: str, arrays: Mapping[str, NDArray[Any]]) -> list[tuple[int, int, bool]]:
        """(episode, goal, negotiated) of the answers in a `Goals` message that were still wanted. `BadMessage` for a malformed one."""
        try:
            columns = [arrays[name] for name in ("episode", "goal", "negotiated")]
        except KeyError as error:
            raise BadMessage("E_FRAME", f"goals without {error}") from None
        if any(column.ndim != 1 or column.dtype.kind not in "iub" or len(column) != len(columns[0]) for column in columns):
            raise BadMessage("E_FRAME", "goals need equally long columns of integers")
        rows = zip(*(column.tolist() for column in columns), strict=True)
        offers = self._open.get(agent, {})
        return [(episode, goal, bool(negotiated)) for episode, goal, negotiated in rows if offers.pop(episode, None) is not None]

    def overdue(self, waiting: Iterable[tuple[int, str]], deadline: float, now: float) -> list[tuple[int, str]]:
        """Of the (episode, agent) that keep a copy idle, those that have done so for longer than `deadline`; they are not asked again."""
        self._waiting_since = {pair: self._waiting_since.get(pair, now) for pair in waiting}
        late = [pair for pair, since in self._waiting_since.items() if now - since > deadline]
        for episode, agent in late:
            self._open[agent].pop(episode, None)
        return late

    def forget(self, agent: str) -> None:
        """`agent` is gone: nothing is offered to it any more."""
        self._open[agent].clear()

    def _frames(self, offers: Sequence[OfferedEpisode]) -> Frames:
        members = np.full((len(offers), max(len(offer.members) for offer in offers)), -1, np.int16)
        for row, offer in enumerate(offers):
            members[row, : len(offer.members)] = [self._number[name] for name in offer.members]
        return {
            "episode": np.array([offer.episode for offer in offers], np.int64),
            "copy": np.array([offer.copy for offer in offers], np.int32),
            "members": members,
            "evaluation": np.array([offer.evaluation for offer in offers], np.uint8),
            "goal": np.array([offer.goal for offer in offers], np.int32),
        }
