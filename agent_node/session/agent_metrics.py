"""Counts and means of an agent between two reports."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent_node.exchange.averaging.parameter_averaging import RoundReport
from agent_node.memory.episode_recorder import Episode
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.spaces.goal_space import NO_GOAL, DiscreteSpace, GoalSpace


class AgentMetrics:
    """Own training episodes and steps since the start, and means since the last report."""

    def __init__(self) -> None:
        self.episodes = 0
        self.steps = 0
        self._returns: list[float] = []
        self._outcomes: dict[str, list[float]] = {}
        self._substituted = 0
        self._new_steps = 0
        self._missing = 0
        self._rounds = 0
        self._durations: list[float] = []
        self._quorums: list[float] = []
        self._messages = 0
        self._since = self._traffic_since = time.monotonic()

    def observed(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """A tick: count the own steps, and those in which the stand-in acted."""
        flags = arrays["flags"]
        acted = ((flags & Flag.MEMBER) != 0) & ((flags & (Flag.PARKED | Flag.FIRST)) == 0)
        steps = int(np.count_nonzero(acted))
        self.steps += steps
        self._new_steps += steps
        self._substituted += int(np.count_nonzero(acted & ((flags & Flag.SUBSTITUTED) != 0)))

    def finished(self, episode: Episode, space: GoalSpace | None) -> None:
        """An own episode ended."""
        if episode.evaluation or episode.peer_lost:
            return
        self.episodes += 1
        self._returns.append(episode.total_reward)
        if space is not None and episode.goal != NO_GOAL:
            names, success = ["success"], episode.total_reward > 0
            if isinstance(space, DiscreteSpace) and isinstance(episode.goal, int):
                names.append("success.cooperative" if space.cooperative[episode.goal] else "success.individual")
            elif episode.achieved is not None:
                success = bool(space.reached(episode.achieved[episode.steps], np.array(episode.goal, np.float32)))
            if not (space.relative and space.count):
                for name in names:
                    self._outcomes.setdefault(name, []).append(float(success))
            self._outcomes.setdefault("negotiated", []).append(float(episode.negotiated))

    def averaged(self, report: RoundReport) -> None:
        """An averaging round closed."""
        self._rounds += 1
        self._missing += report.missing
        self._durations.append(report.duration)
        if report.used + report.missing:
            self._quorums.append(report.used / (report.used + report.missing))

    def traffic(self, messages: int) -> dict[str, float]:
        """`messages_per_second` since the last call, from the number of all messages sent and received so far."""
        now = time.monotonic()
        rate = (messages - self._messages) / max(now - self._traffic_since, 1e-9)
        self._messages, self._traffic_since = messages, now
        return {"messages_per_second": rate}

    def speed(self) -> dict[str, float]:
        """`steps_per_second` since the last call; before `take`."""
        now = time.monotonic()
        speed = self._new_steps / max(now - self._since, 1e-9)
        self._since = now
        return {"steps_per_second": speed}

    def take(self) -> dict[str, float]:
        """Metrics since the last call; means without any value are left out."""
        values = {name: float(np.mean(outcomes)) for name, outcomes in self._outcomes.items()}
        if self._returns:
            values["return"] = float(np.mean(self._returns))
        values["substituted"] = self._substituted / max(1, self._new_steps)
        values["consensus.rounds"] = float(self._rounds)
        values["consensus.missing"] = float(self._missing)
        if self._durations:
            values["round.duration"] = float(np.mean(self._durations))
        if self._quorums:
            values["round.quorum"] = float(np.mean(self._quorums))
        self._returns, self._outcomes, self._durations, self._quorums = [], {}, [], []
        self._new_steps = self._substituted = self._missing = self._rounds = 0
        return values
