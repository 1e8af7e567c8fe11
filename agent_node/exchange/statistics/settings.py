"""Settings of statistics."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from protocols.runtime.settings_types import Duration, Settings


class StatisticsSettings(Settings):
    """Sums over all agents of the statistics of their world models, for models with additive statistics."""

    mode: Literal["ledger", "pushsum", "mh"] = "ledger"
    """ledger: every agent stores the newest statistics of all agents, and the sum is exact; pushsum: running sums, for more than 64 agents,
    large models, or where no agent may see the unmixed statistics of another; mh: synchronous averaging without loss (comparison)"""
    min_transitions: Annotated[int, Field(ge=1, le=100_000_000)] = 250
    """new transitions of its own before an agent publishes again: from the difference of two versions few transitions can be read back"""
    every: Annotated[Duration, Field(gt=0)] = 0.2
    """ledger: how often missing entries are offered to a neighbour; pushsum, mh: least time between two rounds"""
    deadline: Annotated[Duration, Field(gt=0)] = 2.0
    """pushsum, mh: a round closes without the neighbours that are later than this"""
    tolerance: Annotated[float, Field(gt=0, le=0.1)] = 1e-6
    """pushsum, mh: agents have agreed when projections of their sums differ by no more than this share (stop rule)"""
    check_every: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """mh: rounds between two checks of agreement, no less than the diameter of the graph; null: the number of agents less one"""
    rounds: Annotated[int, Field(ge=1, le=99_999)] = 2000
    """mh: rounds after which averaging ends though agents have not agreed"""
    report_every: Annotated[int, Field(ge=1, le=99_999)] | None = 10
    """mh: rounds between two from which the run's figure `statistics.disagreement` is made; null: it is not"""
    withdraw_after: Annotated[Duration, Field(gt=0)] | None = None
    """ledger: what an agent has published is withdrawn when it has been dead so long; null: what it saw stays true"""
