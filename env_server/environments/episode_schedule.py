"""Which episodes are evaluations, and who plays them: decisions that do not depend on when a message arrives. And what vectorised
environments have in common: numbered episodes, evaluations, records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from env_server.environments.environment_contracts import Array, EpisodeRecord, TickResult
from protocols.runtime.seeds import Stream
from protocols.spaces.layout import Layout

_NODE = crc32(b"environment")


def _sequence(seed: int, episode: int, stream: Stream) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(_NODE, int(stream), episode))


def episode_generator(seed: int, episode: int, stream: Stream) -> np.random.Generator:
    """Random numbers of one episode: whatever happens in others, and in which order they start, leaves them unchanged."""
    return np.random.default_rng(_sequence(seed, episode, stream))


class EvaluationSchedule:
    """Counts the evaluations still to be drawn: first those with goals of the members' choice, then those with assigned goals."""

    def __init__(self, goals: int = 0) -> None:
        self._goals = goals
        self._pending: deque[int] = deque()

    def clear(self) -> None:
        """Drop all requests."""
        self._pending.clear()

    def request(self, episodes: int, aligned: bool) -> None:
        """The next `episodes` draws are evaluations; with `aligned` as many more follow, each with one goal given to all members, in turn
        through all goals. Without goals `aligned` changes nothing."""
        self._pending.extend([-1] * episodes)
        if aligned and self._goals:
            self._pending.extend(i % self._goals for i in range(episodes))

    def cancel(self, own_only: bool = False) -> tuple[int, int]:
        """Drop the requests that are not drawn, or only those with goals of the members' choice: how many were dropped, (own, assigned)."""
        assigned = [goal for goal in self._pending if goal >= 0]
        own = len(self._pending) - len(assigned)
        self._pending = deque(assigned if own_only else [])
        return own, 0 if own_only else len(assigned)

    def draw(self) -> tuple[bool, int]:
        """(is the next episode an evaluation, its assigned goal or -1)."""
        return (True, self._pending.popleft()) if self._pending else (False, -1)

    def give_back(self, evaluation: bool, goal: int) -> None:
        """A drawn episode will not be played: its place goes to the next one."""
        if evaluation:
            self._pending.appendleft(goal)


class Pairing:
    """Draws the members of an episode: a connected part of the communication graph among those who are present."""

    def __init__(self, agents: Sequence[str], edges: Iterable[tuple[str, str]] | None, members: int) -> None:
        self._agents = tuple(agents)
        self._members = members
        known = set(agents)
        pairs = ((a, b) for i, a in enumerate(agents) for b in agents[i + 1 :]) if edges is None else edges
        self._neighbours: dict[str, set[str]] = {agent: set() for agent in agents}
        for a, b in pairs:
            if a != b and a in known and b in known:
                self._neighbours[a].add(b)
                self._neighbours[b].add(a)
        self._present: set[str] = set()
        self._starts: list[tuple[str, ...]] = []
        self.set_present(agents)

    def set_present(self, agents: Collection[str]) -> None:
        """Only these may be drawn from now on."""
        self._present = set(agents) & set(self._agents)
        self._starts = []
        seen: set[str] = set()
        for agent in self._agents:
            if agent not in self._present or agent in seen:
                continue
            component = self._component(agent)
            seen |= component
            if len(component) < self._members:
                continue
            if self._members == 1:
                self._starts += [(a,) for a in sorted(component)]
            else:
                self._starts += [(a, b) for a in sorted(component) for b in sorted(self._neighbours[a] & component) if a < b]

    def _component(self, agent: str) -> set[str]:
        """All present agents that are connected with this one."""
        reached, rim = {agent}, [agent]
        while rim:
            new = (self._neighbours[rim.pop()] & self._present) - reached
            reached |= new
            rim.extend(new)
        return reached

    def never_drawn(self) -> list[str]:
        """Agents that no episode can have, since too few others are connected with them."""
        return [agent for agent in self._agents if agent not in self._present or len(self._component(agent)) < self._members]

    def draw(self, seed: int, episode: int) -> tuple[str, ...] | None:
        """Members of that episode, its leader first; None when too few connected agents are present.

        A uniform edge, then, for more than two members, repeatedly a uniform neighbour of those chosen. The leader is the member at index
        blake2b(seed, episode, sorted members) mod n.
        """
        if not self._starts:
            return None
        numbers = iter(_sequence(seed, episode, Stream.PAIRING).generate_state(self._members, np.uint64).tolist())
        chosen = set(self._starts[next(numbers) % len(self._starts)])
        while len(chosen) < self._members:
            near = sorted(set().union(*(self._neighbours[agent] for agent in chosen)) & self._present - chosen)
            chosen.add(near[next(numbers) % len(near)])
        return lead(seed, episode, chosen)


def lead(seed: int, episode: int, members: Iterable[str]) -> tuple[str, ...]:
    """The members with their leader first, the others sorted."""
    ordered = sorted(members)
    digest = blake2b(f"{seed}/{episode}/{'/'.join(ordered)}".encode(), digest_size=8).digest()
    leader = ordered.pop(int.from_bytes(digest, "little") % len(ordered))
    return (leader, *ordered)


class EpisodicCopies(ABC):
    """A `VectorEnvironment` that numbers its episodes. `goals`: number of goals that can be assigned in evaluations.

    A constructor ends with `_start_anew()`.
    """

    def __init__(self, layouts: Mapping[str, Layout], copies: int, seed: int, goals: int = 0) -> None:
        self.agents = tuple(layouts)
        self.copies = copies
        self._layouts = layouts
        self._seed = seed
        self._schedule = EvaluationSchedule(goals)

    def _start_anew(self, first_episode: int = 0) -> None:
        """Drop all episodes, and count from `first_episode`."""
        self._schedule.clear()
        self._next_episode = first_episode
        self._episode = np.full(self.copies, -1, np.int64)
        self._records: list[EpisodeRecord] = []

    def layout(self, agent: str) -> Layout:
        """Observations, actions and goals of `agent`."""
        return self._layouts[agent]

    def reset(self, seed: int | None = None, first_episode: int = 0) -> TickResult:
        """Start every copy anew; without a seed, with the one of the constructor."""
        self._seed = self._seed if seed is None else seed
        self._start_anew(first_episode)
        return self._first_tick()

    def _first_tick(self) -> TickResult:
        return self.step({})

    @abstractmethod
    def step(self, actions: Mapping[str, Array]) -> TickResult:
        """One step of every copy by `actions[agent][K, A]`, or the start of its next episode where the last tick ended one."""

    def evaluate(self, episodes: int, aligned: bool) -> None:
        """Let the next `episodes` draws be evaluations with goals of the members' choice, then, `aligned` and where all members can reach
        one goal, as many with an assigned one."""
        self._schedule.request(episodes, aligned)

    def cancel_evaluation(self, own_only: bool = False) -> tuple[int, int]:
        """`CancellableEvaluation`: drop requested evaluations that are not drawn."""
        return self._schedule.cancel(own_only)

    def finished(self) -> list[EpisodeRecord]:
        """Episodes that ended since the last call."""
        records, self._records = self._records, []
        return records

    @abstractmethod
    def render(self, copy: int) -> NDArray[np.uint8]:
        """A picture `[height, width, 3]` of one copy."""


class HoldableCopies(EpisodicCopies):
    """`HeldEnvironment`: every copy begins its episodes on its own, and all agents play in all copies."""

    def __init__(self, layouts: Mapping[str, Layout], copies: int, seed: int) -> None:
        super().__init__(layouts, copies, seed)
        self._hold = np.zeros(copies, bool)

    def _start_anew(self, first_episode: int = 0) -> None:
        super()._start_anew(first_episode)
        self._over = [True] * self.copies
        """copies whose next tick begins an episode"""

    def _next_number(self, copy: int) -> int:
        """The number of the episode that begins now in this copy."""
        episode, self._next_episode = self._next_episode, self._next_episode + 1
        self._episode[copy], self._over[copy] = episode, False
        return episode

    def hold(self, copies: NDArray[np.bool_]) -> None:
        """These copies `[K]` begin no episode until the next call."""
        self._hold = copies.copy()

    def abandon(self, copies: NDArray[np.bool_]) -> None:
        """The running episodes of these copies `[K]` are over, without a record."""
        for copy in np.flatnonzero(copies).tolist():
            self._over[copy] = True

    def seats(self, copy: int) -> Sequence[str]:
        """Agents that can be members of a copy's episodes."""
        return self.agents
