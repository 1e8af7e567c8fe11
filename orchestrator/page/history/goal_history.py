"""The goals of the agents by episode, from `goals.jsonl` of the environment server."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable

import msgspec

MOST_GOALS = 1_000_000
"""goals of all agents together; beyond it every second one is dropped"""
_TOTAL_SHOWN, _SHOWN = 4_000, 60
"""newest goals in one state: of all agents together, and of one agent"""
_AGREED: dict[bool | None, int] = {None: 0, False: 1, True: 2}

ShownGoal = tuple[int, int, bool | None, bool]
"""episode, goal, agreed, negotiated"""


class _GoalLine(msgspec.Struct):
    t: float
    episodes: list[tuple[int, list[str], list[int], bool, bool | None]]
    labels: list[str] = []


class _AgentGoals:
    """Equally long columns in order of time; `marks` is 2 times the number of `agreed` plus `negotiated`."""

    __slots__ = ("episode", "goal", "marks", "t")

    def __init__(self) -> None:
        self.t, self.episode, self.goal, self.marks = array("d"), array("q"), array("q"), array("b")

    def thin(self) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name)[1::2])


class GoalHistory:
    """Goals of all agents over time."""

    def __init__(self) -> None:
        self.labels: list[str] = []
        """names of the goals by number; empty where goals have only numbers"""
        self._agents: dict[str, _AgentGoals] = {}
        self._shown: dict[str, tuple[int, list[ShownGoal]]] = {}
        self._count = 0
        self._line = msgspec.json.Decoder(_GoalLine)

    def extend(self, data: bytes, placed: Callable[[float], float]) -> None:
        """Append complete lines of the file; `placed` gives the second of the run of a time in it. Damaged lines are left out."""
        for raw in data.splitlines():
            try:
                line = self._line.decode(raw)
            except msgspec.DecodeError:
                continue
            self.labels = line.labels
            t = placed(line.t)
            for episode, members, goals, negotiated, agreed in line.episodes:
                for member, goal in zip(members, goals, strict=False):
                    known = self._agents.setdefault(member, _AgentGoals())
                    known.t.append(t)
                    known.episode.append(episode)
                    known.goal.append(goal)
                    known.marks.append(2 * _AGREED[agreed] + negotiated)
                    self._count += 1
        if self._count > MOST_GOALS:
            for known in self._agents.values():
                known.thin()
            self._count = sum(len(known.t) for known in self._agents.values())
            self._shown.clear()

    def forget(self) -> None:
        """Drop everything: the file starts anew."""
        self._agents.clear()
        self._shown.clear()
        self._count = 0

    def newest(self, agent: str, at: float) -> list[ShownGoal]:
        """The newest goals of an agent at that time, oldest first: at most 60, fewer with many agents."""
        known = self._agents.get(agent)
        if known is None:
            return []
        end = bisect_right(known.t, at)
        shown = self._shown.get(agent)
        if shown is None or shown[0] != end:
            first = max(0, end - max(4, min(_SHOWN, _TOTAL_SHOWN // len(self._agents))))
            agreed = (None, False, True)
            rows = [(known.episode[i], known.goal[i], agreed[known.marks[i] // 2], bool(known.marks[i] % 2)) for i in range(first, end)]
            shown = self._shown[agent] = (end, rows)
        return shown[1]

    def text(self, goal: int) -> str:
        """The name of a goal."""
        return self.labels[goal] if 0 <= goal < len(self.labels) else str(goal)
