"""The one place where the name of a mode of averaging becomes the machine that does it."""

from __future__ import annotations

from typing import Protocol

from protocols.consensus.averager import Averager, Surroundings
from protocols.consensus.pushsum import PushSum
from protocols.consensus.synchronous import SynchronousAveraging


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


def create_averager(
    options: AveragingOptions, surroundings: Surroundings, layout: str, size: int, incarnation: int = 0, rejoin: bool = False
) -> Averager:
    """The machine of `options.mode` for vectors of `size` numbers whose layout has this digest.

    `incarnation`: of this agent's process (0: there is only one). `rejoin`: the others have gone on averaging without it. `ValueError`
    for an unknown mode.
    """
    if options.mode == "pushsum":
        return PushSum(surroundings, layout, size, options.deadline, options.window, options.offers, incarnation, rejoin)
    if options.mode == "mh":
        return SynchronousAveraging(surroundings, layout, size, options.deadline)
    raise ValueError(f"there is no mode of averaging called {options.mode!r}")
