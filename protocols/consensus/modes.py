"""The one place where the name of a mode of averaging, or of summing statistics, becomes the machine that does it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

import numpy as np

from protocols.consensus.averager import Averager, Surroundings
from protocols.consensus.choco import ChocoAveraging
from protocols.consensus.compressors import Compressor, Quantise, TopK
from protocols.consensus.ledger import Ledger, Validate
from protocols.consensus.pushsum import PushSum
from protocols.consensus.robust import RULES, RobustAveraging
from protocols.consensus.rounds import AveragedStatistics
from protocols.consensus.statistics import StatisticsConsensus
from protocols.consensus.sums import SummedStatistics
from protocols.consensus.synchronous import SynchronousAveraging


class CompressionOptions(Protocol):
    """What compressed averaging reads of its settings."""

    @property
    def kind(self) -> str:
        """`top_k` or `quantise`."""
        ...

    @property
    def share(self) -> float:
        """Of the numbers, for top_k."""
        ...

    @property
    def bits(self) -> int:
        """Per number, for quantise."""
        ...


class AveragingOptions(Protocol):
    """What the modes read of their settings."""

    @property
    def mode(self) -> str:
        """Name of the mode."""
        ...

    @property
    def deadline(self) -> float:
        """Longest wait of a round in seconds."""
        ...

    @property
    def window(self) -> int:
        """Push-sum: unacknowledged offers per edge."""
        ...

    @property
    def offers(self) -> str:
        """Push-sum: float64 or float32."""
        ...

    @property
    def liars(self) -> int:
        """Neighbours that may lie, for the robust rules."""
        ...

    @property
    def compression(self) -> CompressionOptions:
        """Of choco."""
        ...

    @property
    def step(self) -> float | None:
        """gamma of choco; None: what the compression bears."""
        ...


def create_compressor(options: CompressionOptions) -> Compressor:
    """The compressor of these settings; `ValueError` for an unknown kind."""
    if options.kind == "top_k":
        return TopK(options.share)
    if options.kind == "quantise":
        return Quantise(options.bits)
    raise ValueError(f"there is no compression called {options.kind!r}")


def create_averager(
    options: AveragingOptions, surroundings: Surroundings, layout: str, size: int, incarnation: int = 0, rejoin: bool = False, seed: int = 0
) -> Averager:
    """The machine of `options.mode` for vectors of `size` numbers whose layout has this digest.

    `incarnation`: of this agent's process (0: there is only one). `rejoin`: the others have gone on averaging without it. `seed`: of
    the draws of a compressor. `ValueError` for an unknown mode.
    """
    if options.mode == "pushsum":
        return PushSum(surroundings, layout, size, options.deadline, options.window, options.offers, incarnation, rejoin)
    if options.mode == "mh":
        return SynchronousAveraging(surroundings, layout, size, options.deadline)
    if options.mode in RULES:
        return RobustAveraging(surroundings, layout, size, options.mode, options.liars, options.deadline)
    if options.mode == "choco":
        compressor = create_compressor(options.compression)
        return ChocoAveraging(surroundings, layout, size, compressor, options.step, seed, options.deadline)
    raise ValueError(f"there is no mode of averaging called {options.mode!r}")


class StatisticsOptions(Protocol):
    """What the modes of summing statistics read of their settings."""

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
    def check(self) -> int | None:
        """mh: rounds between two checks of agreement."""
        ...

    @property
    def rounds(self) -> int:
        """mh: most rounds of a session."""
        ...

    @property
    def report(self) -> int | None:
        """mh: rounds between two of which the distance from the total is told."""
        ...

    @property
    def forget(self) -> float | None:
        """ledger: seconds after which the statistics of the dead are withdrawn."""
        ...


def create_statistics(
    options: StatisticsOptions,
    name: str,
    members: Collection[str],
    surroundings: Surroundings,
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
        neighbours = surroundings.everybody
        return Ledger(
            name, members, neighbours, basis, size, random, max(1, incarnation), validate, options.every, 10.0 * options.every,
            forget_after=options.forget,
        )  # fmt: skip
    if options.mode == "pushsum":
        return SummedStatistics(
            name, members, surroundings, basis, size, random, max(1, incarnation), options.every, options.deadline, options.tolerance
        )
    if options.mode == "mh":
        return AveragedStatistics(
            name, members, surroundings, basis, size, options.every, options.deadline, options.tolerance, options.check, options.rounds,
            options.report,
        )  # fmt: skip
    raise ValueError(f"there is no mode of summing statistics called {options.mode!r}")
