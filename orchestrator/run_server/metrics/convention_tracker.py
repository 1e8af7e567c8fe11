"""How far the population understands itself: accuracy of its convention over all ordered pairs of agents.

Agents report their leading and reading choices (`protocols.conversations.negotiation.signalling_convention`) with the environment steps at
which they were read off. No agent sees another's, so this figure is nobody's but the run server's:

    accuracy = mean over (i, j), i != j, of 1/|G| #{g : reading_j[leading_i[g]] = g}
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.run_server.metrics.simultaneous_reports import SimultaneousReports
from protocols.conversations.negotiation.signalling_convention import UNKNOWN, Choices, accuracy


@dataclass(frozen=True)
class ConventionAccuracy:
    """Accuracy of the convention among `agents` agents after so many environment steps and training episodes; `at`: when the last of them
    told its choices."""

    steps: int
    episodes: int
    accuracy: float
    agents: int
    at: float


@dataclass
class ConventionTracker:
    """Collects leading and reading choices, and tells the accuracy of every moment of which all living agents have reported."""

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
