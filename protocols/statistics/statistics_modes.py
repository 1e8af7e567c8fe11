"""Settings of statistics."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

import numpy as np

from protocols.averaging.averager import Neighbourhood
from protocols.statistics.averaged_statistics import AveragedStatistics
from protocols.statistics.ledger import Ledger, Validate
from protocols.statistics.push_sum_statistics import PushSumStatistics
from protocols.statistics.statistics_consensus import StatisticsConsensus


class StatisticsOptions(Protocol):
    """The settings that the modes of summing statistics read."""

    @property
    def mode(self) -> str:
        """Name of the mode."""
        ...

    @property
    def every(self) -> float:
        """Seconds between digests or rounds."""
        ...

    @property
    def deadline(self) -> float:
        """Longest wait of a round in seconds."""
        ...

    @property
    def tolerance(self) -> float:
        """Of the stop rule."""
        ...

    @property
    def check_every(self) -> int | None:
        """mh: rounds between two checks of agreement."""
        ...

    @property
    def rounds(self) -> int:
        """mh: most rounds of a session."""
        ...

    @property
    def report_every(self) -> int | None:
        """mh: rounds between two reports of the distance from the total."""
        ...

    @property
    def withdraw_after(self) -> float | None:
        """ledger: seconds after which the statistics of the dead are withdrawn."""
        ...


def create_statistics(
    options: StatisticsOptions,
    name: str,
    members: Collection[str],
    neighbourhood: Neighbourhood,
    basis: str,
    size: int,
    random: np.random.Generator,
    incarnation: int = 1,
    validate: Validate | None = None,
) -> StatisticsConsensus:
    """The machine of `options.mode` that sums vectors of `size` numbers in this basis over all `members`.

    `random`: jitter of repetitions. `incarnation`: of this agent's process. `validate`: what every origin's statistics must hold; only a
    ledger can ask, since the others never see them unmixed. `ValueError` for an unknown mode, or what a mode can't hold.
    """
    if options.mode == "ledger":
        neighbours = neighbourhood.all_neighbours
        return Ledger(
            name, members, neighbours, basis, size, random, max(1, incarnation), validate, options.every, 10.0 * options.every,
            forget_after=options.withdraw_after,
        )  # fmt: skip
    if options.mode == "pushsum":
        return PushSumStatistics(
            name, members, neighbourhood, basis, size, random, max(1, incarnation), options.every, options.deadline, options.tolerance
        )
    if options.mode == "mh":
        return AveragedStatistics(
            name, members, neighbourhood, basis, size, options.every, options.deadline, options.tolerance,
            options.check_every, options.rounds,
            options.report_every,
        )  # fmt: skip
    raise ValueError(f"there is no mode of summing statistics called {options.mode!r}")
