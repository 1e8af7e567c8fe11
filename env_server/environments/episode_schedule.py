"""Which episodes are evaluations, and who plays them: decisions that do not depend on when a message arrives."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from hashlib import blake2b
from zlib import crc32

import numpy as np

from protocols.runtime.seeds import Stream

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

    @property
    def pending(self) -> int:
        """Evaluations that are still to be drawn."""
        return len(self._pending)

    def clear(self) -> None:
        """Drop all requests."""
        self._pending.clear()

    def request(self, episodes: int, aligned: bool) -> None:
        """The next `episodes` draws are evaluations; with `aligned` as many more follow, each with one goal given to all members, in turn
        through all goals. Without goals `aligned` changes nothing."""
        self._pending.extend([-1] * episodes)
        if aligned and self._goals:
            self._pending.extend(i % self._goals for i in range(episodes))

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
