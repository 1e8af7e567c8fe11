"""Settings of impala."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agent_node.learners.library.settings import RMSPropSettings
from agent_node.learners.settings import Network, RolloutSettings
from agent_node.settings.value_types import NotNegative, Positive, Widths
from protocols.runtime.component_registry import register


class IMPALASettings(RMSPropSettings, RolloutSettings):
    """Actor-critic with V-trace (Espeholt et al., arXiv 1802.01561): one gradient update for every few copies' rollouts, each of which
    is used once."""

    groups: ClassVar[tuple[str, ...]] = ("policy",)
    capabilities: ClassVar[tuple[str, ...]] = ("rollout", "discrete", "continuous", "values")
    architecture: ClassVar[tuple[str, ...]] = ("hidden", "network", "lstm_layers")
    kind: Literal["impala"] = "impala"
    steps: Annotated[int, Field(ge=1, le=100_000)] = 100
    """T: step messages in one rollout"""
    rollouts: Annotated[int, Field(ge=1, le=65536)] = 8
    """B: copies in one gradient update, about: the rollout of K copies is cut into K / B equal parts, learnt from one after the other"""
    discount: Annotated[float, Field(ge=0, le=1)] = 0.99
    """gamma: weight of the next step's value"""
    hidden: Widths = [256, 256]
    """widths of the hidden layers (ReLU), behind the convolutions of a grid"""
    entropy_coef: NotNegative = 0.0005
    """weight of the policy's entropy"""
    value_coef: NotNegative = 0.5
    """weight of the value function's loss"""
    importance_clip: Positive = 1.0
    """ratios of new to old probability, in returns, traces and advantages, count no more than this"""
    lstm_layers: Annotated[int, Field(ge=0, le=8)] = 0
    """LSTM layers behind the hidden ones, as wide as the last of these; 0: none"""
    network: Network = "auto"
    """mlp: layers on the vector of features; grid: convolutions over the cells of a grid; auto: grid where a grid is seen"""
    evaluation: Literal["sample", "mode"] = "sample"
    """actions in evaluations: drawn from the policy, as published, or the likeliest ones"""

    @property
    def needs_grid(self) -> bool:
        """Whether `network` is `grid`."""
        return self.network == "grid"

    @property
    def recurrent(self) -> bool:
        """Whether there are LSTM layers."""
        return self.lstm_layers > 0


register("learner", "impala", IMPALASettings, "agent_node.learners.impala.impala:IMPALA")
