"""Learners: what improves the policy."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agent_node.settings.value_types import Device, Positive, Widths
from protocols.runtime.settings_types import Probability, Settings


class LearnerSettings(Settings):
    """What every learner has in common."""

    groups: ClassVar[tuple[str, ...]] = ("critic",)
    """names of the learner's parameter groups, which consensus may average"""
    capabilities: ClassVar[tuple[str, ...]] = ()
    """what it can do besides: probabilities (`contracts.ActionProbabilities`), surprise (`contracts.TDErrors`), values
    (`contracts.GoalValues`), optimism (it takes what `world_models.optimism` notes beside transitions)"""
    kind: str
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


class ReplaySettings(LearnerSettings):
    """Learners that take transitions from the replay buffer."""

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

    steps: Annotated[int, Field(ge=1, le=100_000)] = 128
    """step messages in one rollout; with K copies it holds up to K times as many transitions"""


Network = Literal["auto", "mlp", "grid"]
"""mlp: layers on the vector of features; grid: convolutions over the cells of a grid; auto: grid where a grid is seen"""
