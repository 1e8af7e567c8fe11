"""The one place where the name of a mode of averaging, or of summing statistics, becomes the machine that does it."""

from __future__ import annotations

from typing import Protocol

from protocols.averaging.averager import Averager, Neighbourhood
from protocols.averaging.choco import ChocoAveraging
from protocols.averaging.compressors import Compressor, Quantise, TopK
from protocols.averaging.push_sum.push_sum import PushSum
from protocols.averaging.robust_averaging import RULES, RobustAveraging
from protocols.averaging.synchronous_gossip import SynchronousAveraging

CAPABILITIES: dict[str, tuple[str, ...]] = {
    "pushsum": ("directed",),
    "mh": (),
    **dict.fromkeys(RULES, ("robust",)),
    "choco": ("compressed", "needs_step_size"),
}
"""What the modes can do. directed: the graph may have directed edges; robust: protects against `num_byzantine` neighbours, which takes a
least degree; compressed: sends compressed changes; needs_step_size: diverges where `step_size` is too large for the compression."""


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
    def offer_dtype(self) -> str:
        """Push-sum: float64 or float32."""
        ...

    @property
    def num_byzantine(self) -> int:
        """Neighbours that may lie, for the robust rules."""
        ...

    @property
    def compression(self) -> CompressionOptions:
        """Of choco."""
        ...

    @property
    def step_size(self) -> float | None:
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
    options: AveragingOptions,
    neighbourhood: Neighbourhood,
    layout: str,
    size: int,
    incarnation: int = 0,
    rejoin: bool = False,
    seed: int = 0,
) -> Averager:
    """The machine of `options.mode` for vectors of `size` numbers whose layout has this digest.

    `incarnation`: of this agent's process (0: there is only one). `rejoin`: the others have gone on averaging without it. `seed`: of
    the draws of a compressor. `ValueError` for an unknown mode.
    """
    if options.mode == "pushsum":
        return PushSum(neighbourhood, layout, size, options.deadline, options.window, options.offer_dtype, incarnation, rejoin)
    if options.mode == "mh":
        return SynchronousAveraging(neighbourhood, layout, size, options.deadline)
    if options.mode in RULES:
        return RobustAveraging(neighbourhood, layout, size, options.mode, options.num_byzantine, options.deadline)
    if options.mode == "choco":
        compressor = create_compressor(options.compression)
        return ChocoAveraging(neighbourhood, layout, size, compressor, options.step_size, seed, options.deadline)
    raise ValueError(f"there is no mode of averaging called {options.mode!r}")
