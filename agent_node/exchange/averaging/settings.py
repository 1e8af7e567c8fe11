"""Settings of averaging."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from protocols.averaging.rule_settings import ROOM, SHARED, AveragingRuleSettings, CompressionSettings, rule_settings
from protocols.runtime.component_registry import RegisteredKind
from protocols.runtime.settings_types import Duration, Period, Settings

Group = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
"""a parameter group, by the name that its component gives it"""


class ConsensusSettings(Settings):
    """Averaging of named parameter groups with the graph's neighbours."""

    mode: Annotated[str, RegisteredKind(ROOM)] = "pushsum"
    """pushsum: exact in spite of lost messages and restarts (push-sum with running sums); mh: synchronous gossip with Metropolis-Hastings
    weights, exact only without losses; clip, trim, median, geomedian, krum: robust against Byzantine neighbours; choco: gossip with
    compressed changes; or a rule that a plugin registers"""
    num_byzantine: int = Field(default=1, ge=0, le=64)
    """number of Byzantine neighbours that robust rules tolerate"""
    compression: CompressionSettings = CompressionSettings()
    """of choco"""
    step_size: float | None = Field(default=None, gt=0.0, le=1.0)
    """gamma of choco; null: as large as the compression permits"""
    options: dict[str, Any] = {}
    """further keys of a rule that a plugin registers"""
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

    @model_validator(mode="after")
    def _rule_exists(self) -> Self:
        try:
            _ = self.rule
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise ValueError(f"options.{'.'.join(map(str, first['loc']))} of the rule {self.mode}: {first['msg']}") from None
        return self

    @property
    def rule(self) -> AveragingRuleSettings:
        """Settings of the rule `mode`, from the keys that it shares with this section and from `options`."""
        return rule_settings(self.mode, {name: getattr(self, name) for name in SHARED}, self.options)
