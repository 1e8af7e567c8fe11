"""Learners: what improves the policy."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agent_node.settings.value_types import Device, Positive, Widths
from protocols.runtime.settings_types import ComponentSettings, Probability


class LearnerSettings(ComponentSettings):
    """Fields of every learner.

    Capabilities: `replay` (learns from a buffer, imagined and imported transitions included) or `rollout` (learns from each own transition
    once, with the rewards of teachers and curiosity added); `discrete`, `continuous` (action spaces); `probabilities`
    (`contracts.Learner.log_probability`), `td_errors`, `values` (methods of the same names); `optimism` (uses the rewards
    and actions that an optimism component stores beside imagined transitions).
    """

    groups: ClassVar[tuple[str, ...]] = ("critic",)
    architecture: ClassVar[tuple[str, ...]] = ("hidden",)
    goal_defaults: ClassVar[tuple[str, ...]] = ()
    """fields whose default suits the rewards of goals only (0 or 1): null in environments without goals, unless a value is given"""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """step size of Adam"""
    discount: Annotated[float, Field(ge=0, le=1)] = 0.98
    """gamma: weight of the next step's value"""
    hidden: Widths = [128, 128]
    """widths of the hidden layers"""
    max_grad_norm: Positive = 10.0
    """gradients are scaled down to this norm"""
    device: Device = "cpu"
    """where it computes: cpu, cuda (a GPU), auto (a GPU where there is one); networks as small as these are faster on the CPU"""

    @property
    def needs_grid(self) -> bool:
        """Whether these settings ask for a network over the cells of a grid."""
        return False

    @property
    def recurrent(self) -> bool:
        """Whether the policy depends on more than the newest observation."""
        return False


class ReplaySettings(LearnerSettings):
    """Learners that take transitions from the replay buffer."""

    capabilities: ClassVar[tuple[str, ...]] = ("replay",)
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 256
    """transitions in one gradient update"""
    updates_per_tick: Annotated[float, Field(ge=0, le=64)] = 1.0
    """gradient updates for each step message; 0.25 is one in four"""
    learning_starts: Annotated[int, Field(ge=0)] = 2000
    """transitions of its own in the buffer before the first update"""
    tau: Annotated[float, Field(gt=0, le=1)] = 0.01
    """tau: target parameters move by this share of the difference at each update"""


class HeldExplorationSettings(ReplaySettings):
    """Replay learners that explore by random actions which they hold for a while."""

    exploration: Probability = 0.15
    """probability that a row acts at random instead of by the policy"""
    exploration_hold: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (3, 11)
    """a random action is held for a uniform number of steps from this range (ends included)"""


class RolloutSettings(LearnerSettings):
    """Learners that take each transition once, in order, soon after it happened."""

    capabilities: ClassVar[tuple[str, ...]] = ("rollout",)
    steps: Annotated[int, Field(ge=1, le=100_000)] = 128
    """step messages in one rollout; with K copies it holds up to K times as many transitions"""


Network = Literal["auto", "mlp", "grid"]
"""mlp: layers on the vector of features; grid: convolutions over the cells of a grid; auto: grid where a grid is seen"""
