"""Settings of averaging."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from protocols.runtime.settings_types import Duration, Period, Settings


class CompressionSettings(Settings):
    """How compressed averaging makes a change small."""

    kind: Literal["top_k", "quantise"] = "top_k"
    """top_k: the largest numbers; quantise: all numbers, in few bits"""
    share: float = Field(default=0.1, gt=0.0, le=1.0)
    """of the numbers, for top_k"""
    bits: Literal[2, 4, 8] = 4
    """per number, for quantise"""


Group = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
"""a parameter group, by the name that its component gives it"""


class ConsensusSettings(Settings):
    """Averaging of named parameter groups with the graph's neighbours."""

    mode: Literal["pushsum", "mh", "clip", "trim", "median", "geomedian", "krum", "choco"] = "pushsum"
    """pushsum: exact in spite of lost messages and restarts (push-sum with running sums); mh: synchronous gossip with Metropolis-Hastings
    weights, exact only where nothing is lost; clip, trim, median, geomedian, krum: the same rounds, safe from some neighbours that lie;
    choco: the same rounds with compressed changes"""
    num_byzantine: int = Field(default=1, ge=0, le=64)
    """how many of its neighbours an agent protects itself against, in clip, trim, median, geomedian and krum"""
    compression: CompressionSettings = CompressionSettings()
    """of choco"""
    step_size: float | None = Field(default=None, gt=0.0, le=1.0)
    """gamma of choco; null: what the compression bears"""
    groups: Annotated[list[Group], Field(min_length=1)] = ["policy", "critic", "world_model"]
    """what is averaged; groups that the components do not have are refused"""
    every: Period = Period(updates=50)
    """how often"""
    deadline: Annotated[Duration, Field(gt=0)] = 2.0
    """a round closes without the neighbours that are later than this, and sooner without those that are regularly late"""
    window: Annotated[int, Field(ge=1, le=32)] = 4
    """pushsum: offers to a neighbour that it has not acknowledged, before it is given nothing more"""
    offer_dtype: Literal["float64", "float32"] = "float64"
    """pushsum: what offers travel in; float32 halves the traffic, and agents then agree to six digits"""
