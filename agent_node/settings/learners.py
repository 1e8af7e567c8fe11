"""Learners: what improves the policy."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from protocols.registry import register
from protocols.settings import Probability, Settings

from .optimisers import RMSPropSettings
from .types import Device, NotNegative, Positive, Widths


class LearnerSettings(Settings):
    """What every learner has in common."""

    groups: ClassVar[tuple[str, ...]] = ("critic",)
    """names of the learner's parameter groups, which consensus may average"""
    abilities: ClassVar[tuple[str, ...]] = ()
    """what it can do besides: probabilities (`contracts.Probabilities`), surprise (`contracts.Surprise`), values (`contracts.Valuing`),
    optimism (it takes what `world_models.optimism` notes beside transitions)"""
    kind: str
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """step size of Adam"""
    discount: Annotated[float, Field(ge=0, le=1)] = 0.98
    """gamma: weight of the next step's value"""
    hidden: Widths = [128, 128]
    """widths of the hidden layers"""
    gradient_norm: Positive = 10.0
    """gradients are scaled down to this norm"""
    device: Device = "cpu"
    """where it computes: cpu, cuda (a GPU), auto (a GPU where there is one); networks as small as these are faster on the CPU"""


class ReplaySettings(LearnerSettings):
    """Learners that take transitions from the replay buffer."""

    batch_size: Annotated[int, Field(ge=1, le=65536)] = 256
    """transitions in one gradient update"""
    updates_per_tick: Annotated[float, Field(ge=0, le=64)] = 1.0
    """gradient updates for each step message; 0.25 is one in four"""
    warmup: Annotated[int, Field(ge=0)] = 2000
    """transitions of its own in the buffer before the first update"""
    target_rate: Annotated[float, Field(gt=0, le=1)] = 0.01
    """tau: target parameters move by this share of the difference at each update"""


class HeldExplorationSettings(ReplaySettings):
    """Replay learners that explore by random actions which they hold for a while."""

    exploration: Probability = 0.15
    """probability that a row acts at random instead of by the policy"""
    exploration_hold: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (3, 11)
    """a random action is held for a uniform number of steps from this range (ends included)"""


class DoubleDQNSettings(HeldExplorationSettings):
    """Goal-conditioned double Q-learning over the joint discrete action."""

    abilities: ClassVar[tuple[str, ...]] = ("probabilities", "surprise")
    kind: Literal["double_dqn"] = "double_dqn"
    value_range: tuple[float, float] | None = (0.0, 1.0)
    """targets are clamped to this range: the returns that are possible; null for unknown ranges"""


class DiscreteSACSettings(HeldExplorationSettings):
    """Soft actor-critic over the joint discrete action, with automatic temperature."""

    groups: ClassVar[tuple[str, ...]] = ("policy", "critic")
    abilities: ClassVar[tuple[str, ...]] = ("probabilities", "surprise")
    kind: Literal["discrete_sac"] = "discrete_sac"
    exploration: Probability = 0.0
    """random actions besides those of the stochastic policy"""
    target_entropy: Probability = 0.3
    """wanted entropy as a share of the uniform policy's, ln(number of actions)"""
    temperature: Positive = 0.1
    """alpha at the start"""


class SACSettings(ReplaySettings):
    """Soft actor-critic for continuous actions, with automatic temperature."""

    groups: ClassVar[tuple[str, ...]] = ("policy", "critic")
    abilities: ClassVar[tuple[str, ...]] = ("optimism",)
    kind: Literal["sac"] = "sac"
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 3e-4
    """step size of Adam, of all networks"""
    discount: Annotated[float, Field(ge=0, le=1)] = 0.99
    """gamma: weight of the next step's value"""
    hidden: Widths = [256, 256]
    """widths of the hidden layers of all networks"""
    target_rate: Annotated[float, Field(gt=0, le=1)] = 0.005
    """tau: target parameters move by this share of the difference at each update"""
    temperature: Positive = 1.0
    """alpha at the start: weight of the entropy"""
    learn_temperature: bool = True
    """whether alpha follows the entropy that is wanted, minus the number of action components, in nats"""
    random_steps: Annotated[int, Field(ge=0)] = 5000
    """own steps with uniformly random actions before the policy acts"""
    exploit: bool = False
    """a second policy that is paid the reward alone, for evaluations; the first is paid the optimism too, and explores"""


class RolloutSettings(LearnerSettings):
    """Learners that take each transition once, in order, soon after it happened."""

    steps: Annotated[int, Field(ge=1, le=100_000)] = 128
    """step messages in one rollout; with K copies it holds up to K times as many transitions"""


Network = Literal["auto", "mlp", "grid"]
"""mlp: layers on the vector of features; grid: convolutions over the cells of a grid; auto: grid where a grid is seen"""


class PPOSettings(RolloutSettings):
    """Proximal policy optimisation, with a policy and a value network (tanh)."""

    groups: ClassVar[tuple[str, ...]] = ("policy", "critic")
    abilities: ClassVar[tuple[str, ...]] = ("values",)
    kind: Literal["ppo"] = "ppo"
    discount: Annotated[float, Field(ge=0, le=1)] = 0.99
    """gamma: weight of the next step's value"""
    hidden: Widths = [64, 64]
    """widths of the hidden layers of both networks"""
    gradient_norm: Positive = 0.5
    """gradients of each network are scaled down to this norm"""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 8
    """how often a rollout is gone through"""
    minibatch: Annotated[int, Field(ge=2, le=1_000_000)] = 2048
    """transitions in one gradient update, about: a rollout is cut into equal parts"""
    trace_decay: Probability = 0.95
    """lambda: weight of the next step's error in an advantage, beside the discount"""
    clip: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """ratios of new to old probability gain nothing beyond 1 - clip and 1 + clip"""
    entropy: Annotated[float, Field(ge=0, le=10)] = 0.02
    """weight of the policy's entropy in its objective"""
    divergence_weight: Annotated[float, Field(ge=0, le=100)] = 0.0
    """beta: weight of the divergence of the new policy from the old one at the start, adapted after every rollout; 0: none"""
    divergence_target: Positive = 0.01
    """nats: where the adapted beta is to keep the divergence"""
    divergence_limit: Positive | None = None
    """nats: a rollout is left as soon as a minibatch finds the policy further from what it was; null: all epochs are made"""
    decay_steps: Annotated[int, Field(ge=1)] | None = None
    """own training steps within which the step size falls to 0, linearly; null: it stays"""
    evaluation: Literal["sample", "mode"] = "sample"
    """actions in evaluations: drawn from the policy, as published, or the likeliest ones"""
    network: Network = "auto"
    """mlp: tanh layers; grid: convolutions over the cells of a grid, and `hidden` behind them (ReLU); auto: grid where a grid is seen"""


class IMPALASettings(RMSPropSettings, RolloutSettings):
    """Actor-critic with V-trace: one gradient update for every few copies' rollouts, each of which is used once."""

    groups: ClassVar[tuple[str, ...]] = ("policy",)
    abilities: ClassVar[tuple[str, ...]] = ("values",)
    kind: Literal["impala"] = "impala"
    steps: Annotated[int, Field(ge=1, le=100_000)] = 100
    """T: step messages in one rollout"""
    rollouts: Annotated[int, Field(ge=1, le=65536)] = 8
    """B: copies in one gradient update, about: the rollout of K copies is cut into K / B equal parts, learnt from one after the other"""
    discount: Annotated[float, Field(ge=0, le=1)] = 0.99
    """gamma: weight of the next step's value"""
    hidden: Widths = [256, 256]
    """widths of the hidden layers (ReLU), behind the convolutions of a grid"""
    entropy: NotNegative = 0.0005
    """weight of the policy's entropy"""
    baseline: NotNegative = 0.5
    """weight of the value function's loss"""
    importance_clip: Positive = 1.0
    """ratios of new to old probability, in returns, traces and advantages, count no more than this"""
    memory: Annotated[int, Field(ge=0, le=8)] = 0
    """LSTM layers behind the hidden ones, as wide as the last of these; 0: none"""
    network: Network = "auto"
    """mlp: layers on the vector of features; grid: convolutions over the cells of a grid; auto: grid where a grid is seen"""
    evaluation: Literal["sample", "mode"] = "sample"
    """actions in evaluations: drawn from the policy, as published, or the likeliest ones"""


register("learner", "impala", IMPALASettings, "agent_node.learners.impala:IMPALA")
register("learner", "sac", SACSettings, "agent_node.learners.sac:SAC")
register("learner", "ppo", PPOSettings, "agent_node.learners.ppo:PPO")
register("learner", "double_dqn", DoubleDQNSettings, "agent_node.learners.double_dqn:DoubleDQN")
register("learner", "discrete_sac", DiscreteSACSettings, "agent_node.learners.discrete_sac:DiscreteSAC")
