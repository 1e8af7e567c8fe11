"""Reports of all agents at one moment of a run, counted in environment steps, and the accuracy of the convention computed from them."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from protocols.conversations.negotiation.signalling_convention import UNKNOWN, Choices, accuracy

PENDING_REPORTS = 64
"""newest reports of an agent that may still wait for others"""

Content = TypeVar("Content")


class _Report(NamedTuple, Generic[Content]):
    steps: int
    episodes: int
    at: float
    content: Content


@dataclass(frozen=True)
class CompleteReport(Generic[Content]):
    """What agents have reported, by their names' order, after so many environment steps and training episodes; `at`: when the last of them
    sent it."""

    steps: int
    episodes: int
    at: float
    contents: tuple[Content, ...]


@dataclass
class SimultaneousReports(Generic[Content]):
    """Collects reports, and closes them when all living agents have one.

    Let T be the latest of the agents' oldest open reports: the newest report up to T of each counts. Under the logical clock all agents
    report at the same step, so that it does not depend on which report comes first; under the wall clock no wait is long.
    """

    _open: dict[str, deque[_Report[Content]]] = field(default_factory=dict)

    def newest(self) -> Iterator[Content]:
        """The newest report of each agent that is still open."""
        return (queue[-1].content for queue in self._open.values() if queue)

    def add(self, agent: str, steps: int, episodes: int, at: float, content: Content) -> None:
        """Take one report, made at the time `at` after so many steps and episodes. Repeated and older ones change nothing."""
        queue = self._open.setdefault(agent, deque(maxlen=PENDING_REPORTS))
        if not queue or steps > queue[-1].steps:
            queue.append(_Report(steps, episodes, at, content))

    def complete(self, living: Collection[str]) -> list[CompleteReport[Content]]:
        """Moments of which all living agents (at least two) have reported, oldest first; each is handed out once. Reports of agents that
        have left since count where they were made."""
        done: list[CompleteReport[Content]] = []
        while len(living) > 1 and all(self._open.get(agent) for agent in living):
            end = max(self._open[agent][0].steps for agent in living)
            reports = []
            for _, queue in sorted(self._open.items()):
                newest = None
                while queue and queue[0].steps <= end:
                    newest = queue.popleft()
                if newest is not None:
                    reports.append(newest)
            episodes, at = max(report.episodes for report in reports), max(report.at for report in reports)
            done.append(CompleteReport(end, episodes, at, tuple(report.content for report in reports)))
        return done

    def forget(self, agent: str) -> None:
        """The agent starts anew: its open reports are withdrawn."""
        self._open.pop(agent, None)


@dataclass(frozen=True)
class ConventionAccuracy:
    """Accuracy of the convention among `agents` agents after so many environment steps and training episodes; `at`: when the last of them
    sent its choices."""

    steps: int
    episodes: int
    accuracy: float
    agents: int
    at: float


@dataclass
class ConventionTracker:
    """Collects leading and reading choices, and computes the accuracy of every moment of which all living agents have reported."""

    _moments: SimultaneousReports[tuple[Choices, Choices]] = field(default_factory=SimultaneousReports)

    def add(self, agent: str, steps: int, episodes: int, leading: NDArray[Any], reading: NDArray[Any], at: float) -> None:
        """Take one report, made at the time `at` after so many steps and episodes of the environment: `leading[|G|]` and `reading[|M|]`,
        i4, -1 for none. `ValueError` where they don't fit each other or those of other agents. Repeated and older reports change nothing.
        """
        shapes = (leading.shape, reading.shape)
        if any(c.ndim != 1 or not len(c) or c.dtype != np.int32 for c in (leading, reading)):
            raise ValueError(f"choices are [|G|] and [|M|] of i4, not {shapes[0]} of {leading.dtype} and {shapes[1]} of {reading.dtype}")
        if any(c.min() < UNKNOWN or c.max() >= len(other) for c, other in ((leading, reading), (reading, leading))):
            raise ValueError(f"a choice outside of {len(reading)} messages or {len(leading)} goals")
        if any((one.shape, other.shape) != shapes for one, other in self._moments.newest()):
            raise ValueError("another number of goals or messages than other agents have")
        self._moments.add(agent, steps, episodes, at, (leading.copy(), reading.copy()))

    def complete(self, living: Collection[str]) -> list[ConventionAccuracy]:
        """Accuracy wherever all living agents (at least two) have reported, as `SimultaneousReports.complete`."""
        return [
            ConventionAccuracy(moment.steps, moment.episodes, _accuracy(moment.contents), len(moment.contents), moment.at)
            for moment in self._moments.complete(living)
        ]

    def forget(self, agent: str) -> None:
        """The agent starts anew: its open reports are withdrawn."""
        self._moments.forget(agent)


def _accuracy(choices: Collection[tuple[Choices, Choices]]) -> float:
    return float(np.mean([accuracy(leading, reading) for (leading, _), (_, reading) in permutations(choices, 2)]))
