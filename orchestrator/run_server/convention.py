"""How far the population understands itself: accuracy of its convention over all ordered pairs of agents.

Agents report their leading and reading choices (`protocols.negotiation.convention`) with the environment steps at which they were read off.
No agent sees another's, so this figure is nobody's but the run server's:

    accuracy = mean over (i, j), i != j, of 1/|G| #{g : reading_j[leading_i[g]] = g}
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.negotiation.convention import UNKNOWN, Choices, accuracy

PENDING_REPORTS = 64
"""newest reports of an agent that may still wait for others"""


@dataclass(frozen=True)
class Understanding:
    """Accuracy of the convention among `agents` agents after so many environment steps and training episodes; `at`: when the last of them
    told its choices."""

    steps: int
    episodes: int
    accuracy: float
    agents: int
    at: float


@dataclass(frozen=True)
class _Report:
    steps: int
    episodes: int
    at: float
    leading: Choices
    reading: Choices


@dataclass
class ConventionTracker:
    """Collects reports, and closes them when all living agents have one.

    Let T be the latest of the agents' oldest open reports: the newest report up to T of each counts. Under the logical clock all agents
    report at the same step, so that it does not depend on which report comes first; under the wall clock nobody waits for long.
    """

    _open: dict[str, deque[_Report]] = field(default_factory=dict)

    def add(self, agent: str, steps: int, episodes: int, leading: NDArray[Any], reading: NDArray[Any], at: float) -> None:
        """Take one report, made at the time `at` after so many steps and episodes of the environment: `leading[|G|]` and `reading[|M|]`,
        i4, -1 for none. `ValueError` where they don't fit each other or those of other agents. Repeated and older reports change nothing.
        """
        shapes = (leading.shape, reading.shape)
        if any(c.ndim != 1 or not len(c) or c.dtype != np.int32 for c in (leading, reading)):
            raise ValueError(f"choices are [|G|] and [|M|] of i4, not {shapes[0]} of {leading.dtype} and {shapes[1]} of {reading.dtype}")
        if any(c.min() < UNKNOWN or c.max() >= len(other) for c, other in ((leading, reading), (reading, leading))):
            raise ValueError(f"a choice outside of {len(reading)} messages or {len(leading)} goals")
        for queue in self._open.values():
            if queue and (queue[-1].leading.shape, queue[-1].reading.shape) != shapes:
                raise ValueError("another number of goals or messages than other agents have")
        queue = self._open.setdefault(agent, deque(maxlen=PENDING_REPORTS))
        if not queue or steps > queue[-1].steps:
            queue.append(_Report(steps, episodes, at, leading.copy(), reading.copy()))

    def complete(self, living: Collection[str]) -> list[Understanding]:
        """Accuracy wherever all living agents (at least two) have reported, oldest first; each is handed out once. Reports of agents that
        have left since count where they were made."""
        done: list[Understanding] = []
        while len(living) > 1 and all(self._open.get(agent) for agent in living):
            end = max(self._open[agent][0].steps for agent in living)
            reports = []
            for _, queue in sorted(self._open.items()):
                newest = None
                while queue and queue[0].steps <= end:
                    newest = queue.popleft()
                if newest is not None:
                    reports.append(newest)
            pairs = [accuracy(one.leading, other.reading) for one, other in permutations(reports, 2)]
            episodes, at = max(report.episodes for report in reports), max(report.at for report in reports)
            done.append(Understanding(end, episodes, float(np.mean(pairs)), len(reports), at))
        return done

    def forget(self, agent: str) -> None:
        """The agent starts anew: its open reports are withdrawn."""
        self._open.pop(agent, None)
