"""Learners: what improves the policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from agent_node.learners.network_settings import (
    LEAST_SIDE,
    Network,
    RecurrentSettings,
    ReplaySequenceSettings,
    SequenceSettings,
    network_for,
)
from agent_node.memory.settings import PrioritizedReplaySettings
from agent_node.settings.value_types import Device, Interval, NotNegative, Positive, Widths
from protocols.runtime.component_registry import register
from protocols.runtime.settings_types import ComponentSettings, Probability, Settings


class LearnerSettings(ComponentSettings):
    """Fields of every learner.

    Capabilities: `replay` (learns from a buffer, imagined and imported transitions included) or `rollout` (learns from each own transition
    once, with the rewards of teachers and curiosity added); `discrete`, `continuous` (action spaces); `probabilities`
    (`contracts.Learner.log_probability`), `imitation` (`contracts.Learner.imitate`), `td_errors`, `values` (methods of the same
    names); `optimism` (uses the rewards and actions that an optimism component stores beside imagined transitions); `recurrent`
    (actions depend on earlier observations of the episode; with `replay` it learns from sequences, which its field `recurrent` describes
    as `ReplaySequenceSettings` do);
    `relative_return` (batches have the extra of this name, `memory.relative_returns`); `next_action` (batches have the extras
    `next_action`, the action at the next observation, and `followed`, 1 where there is one, 0 at the end of an episode); `offline` (made
    for stored data: such learners are not suggested where agents step an environment).
    """

    groups: ClassVar[tuple[str, ...]] = ("critic",)
    architecture: ClassVar[tuple[str, ...]] = ("hidden",)
    goal_defaults: ClassVar[Mapping[str, Any]] = {}
    """fields that take these values where they are not given and the returns of all goals are known to be between 0 and 1
    (`protocols.spaces.goal_space.GoalSpace.unit_returns`)"""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """step size of Adam"""
    discount: Annotated[float, Field(ge=0, le=1)] = 0.98
    """gamma: weight of the next step's value; where it is not given, at most 1 - 1/N if episodes are cut off after N steps"""
    hidden: Widths = [128, 128]
    """widths of the hidden layers"""
    max_grad_norm: Positive = 10.0
    """gradients are scaled down to this norm"""
    device: Device = "cpu"
    """where it computes: cpu, cuda (a GPU), auto (a GPU where there is one); networks as small as these are faster on the CPU"""

    placeholder: ClassVar[bool] = False
    """whether these settings stand for those of another learner, which is chosen when a configuration is loaded"""

    @property
    def needs_grid(self) -> bool:
        """Whether these settings ask for a network over the cells of a grid."""
        return False

    @property
    def needs_entities(self) -> bool:
        """Whether these settings ask for a network over entities."""
        return False

    @property
    def least_image_side(self) -> int:
        """Least height and width in pixels of the image that the network needs; 0: it needs no image."""
        return 0

    def observation_defaults(self, grid: bool, image: Sequence[int] | None) -> Mapping[str, Any]:
        """Fields that take these values where they are not given and a grid or an image `(height, width, channels)` is observed."""
        return {}

    def limit_defaults(self, steps: int) -> Mapping[str, Any]:
        """Fields that take these values where they are not given and episodes are cut off after `steps` steps: a discount whose horizon
        1 / (1 - discount) is no longer than an episode, 1 - 1 / `steps` where that is below the usual one."""
        least = round(1 - 1 / steps, 4)
        return {"discount": least} if least < self.discount else {}


class NetworkSettings(LearnerSettings):
    """Learners whose networks are chosen by what is observed. `hidden` are the widths of the layers behind convolutions."""

    architecture: ClassVar[tuple[str, ...]] = ("hidden", "network")
    image_learning_rate: ClassVar[float]
    """step size where images are observed and none is given"""
    network: Network = "auto"
    """mlp: layers on the vector of features; grid: convolutions over the cells of a grid; cnn: convolutions over an image of at least 36 x
    36 pixels (Mnih et al., Nature 2015); impala_cnn: residual blocks over an image of any size (Espeholt et al., arXiv 1802.01561);
    entities, entity_attention: one network for all entities of a kind (agents.entities), pooled by mean and maximum, or by attention;
    behind these encoders follow ReLU layers of the widths `hidden`. auto: entities where they are described, grid where a grid is
    observed, cnn where an image is (impala_cnn if it is smaller), else mlp"""

    @property
    def needs_grid(self) -> bool:
        """Whether `network` is `grid`."""
        return self.network == "grid"

    @property
    def needs_entities(self) -> bool:
        """Whether `network` is `entities` or `entity_attention`."""
        return self.network in ("entities", "entity_attention")

    @property
    def least_image_side(self) -> int:
        """36 for `cnn`, 1 for `impala_cnn`, else 0."""
        return {"cnn": LEAST_SIDE, "impala_cnn": 1}.get(self.network, 0)

    def observation_defaults(self, grid: bool, image: Sequence[int] | None) -> Mapping[str, Any]:
        """For convolutions over an image the published width of the layer behind them, and a step size; else none."""
        widths = {"cnn": [512], "impala_cnn": [256]}.get(network_for(self.network, grid, image))
        return {} if widths is None else {"hidden": widths, "learning_rate": self.image_learning_rate}


class RecurrentNetworkSettings(NetworkSettings):
    """Learners whose networks may be recurrent."""

    recurrent: RecurrentSettings | None = None
    """recurrent layers, for what the newest observation does not show; null: none"""

    @property
    def recurrent_layers(self) -> str:
        """Number and kind of the recurrent layers, which decide the shapes of parameters."""
        return "none" if self.recurrent is None else f"{self.recurrent.layers} {self.recurrent.cell}"

    def active_capabilities(self, declared: tuple[str, ...]) -> tuple[str, ...]:
        """With recurrent layers "recurrent", and none of the methods that are asked with single observations."""
        if self.recurrent is None:
            return declared
        return (*(name for name in declared if name not in ("probabilities", "td_errors", "values", "imitation")), "recurrent")


class AutoLearnerSettings(LearnerSettings):
    """The learner that suits the environment: `double_dqn` or `ppo` for discrete actions, `sac` or `ppo` for continuous ones; also what a
    configuration without a learner has. Keys of other learners may be given; one that has them is chosen."""

    model_config = ConfigDict(extra="allow")
    placeholder: ClassVar[bool] = True
    groups: ClassVar[tuple[str, ...]] = ("policy", "critic")
    capabilities: ClassVar[tuple[str, ...]] = (
        "replay", "rollout", "discrete", "continuous", "probabilities", "td_errors", "values", "imitation", "optimism",
    )  # fmt: skip
    kind: Literal["auto"] = "auto"


class ReplaySettings(LearnerSettings):
    """Learners that take transitions from the replay buffer."""

    capabilities: ClassVar[tuple[str, ...]] = ("replay",)
    default_copies: ClassVar[int] = 4
    """`environment.copies` where it is not given and there are no goals: episodes come to the buffer whole"""
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 256
    """transitions in one gradient update"""
    replay_ratio: Annotated[float, Field(ge=0, le=64)] = 0.5
    """gradient updates for each step of an environment copy: with K copies, K times as many for each step message; 0.25 is one in four"""
    learning_starts: Annotated[int, Field(ge=0)] = 1000
    """transitions of its own in the buffer before the first update"""
    tau: Annotated[float, Field(gt=0, le=1)] = 0.01
    """tau: target parameters move by this share of the difference at each update"""


class HeldExplorationSettings(ReplaySettings):
    """Replay learners that explore by random actions which they hold for a while."""

    exploration: Probability = 0.05
    """probability that a row acts at random instead of by the policy"""
    exploration_hold: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (1, 1)
    """a random action is held for a uniform number of steps from this range (ends included)"""


class RolloutSettings(LearnerSettings):
    """Learners that take each transition once, in order, soon after it happened."""

    capabilities: ClassVar[tuple[str, ...]] = ("rollout",)
    steps: Annotated[int, Field(ge=1, le=100_000)] = 128
    """step messages in one rollout; with K copies it holds up to K times as many transitions; while copies are evaluated it goes on until
    it has as many as without"""


class RMSPropSettings(Settings):
    """Of what learns by RMSProp, as the IMPALA family does."""

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """step size of RMSProp"""
    decay_steps: Annotated[int, Field(ge=1)] | None = None
    """own training steps within which the step size falls to 0, linearly; null: it stays"""
    max_grad_norm: Positive = 40.0
    """gradients are scaled down to this norm"""
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """of RMSProp's mean square"""
    epsilon: Positive = 0.01
    """RMSProp divides by the root of the mean square plus this"""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """of RMSProp"""


class QLearningSettings(NetworkSettings, HeldExplorationSettings):
    """Double Q-learning over the joint discrete action, and what builds on it."""

    capabilities: ClassVar[tuple[str, ...]] = ("replay", "discrete", "probabilities", "td_errors")
    goal_defaults: ClassVar[Mapping[str, Any]] = {
        "value_range": [0.0, 1.0],
        "exploration": 0.15,
        "exploration_hold": [3, 11],
    }
    image_learning_rate: ClassVar[float] = 1e-4
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2.5e-4
    """step size of Adam"""
    replay_ratio: Annotated[float, Field(ge=0, le=64)] = 1.0
    """gradient updates for each step of an environment copy: with K copies, K times as many for each step message; 0.25 is one in four"""
    discount: Annotated[float, Field(ge=0, le=1)] = 0.99
    """gamma: weight of the next step's value; where it is not given, at most 1 - 1/N if episodes are cut off after N steps"""
    architecture: ClassVar[tuple[str, ...]] = ("hidden", "network", "dueling")
    dueling: bool = False
    """Q(s, a) = V(s) + A(s, a) - mean of A(s, .), with outputs V and A of one network (Wang et al., arXiv 1511.06581)"""
    prioritized_replay: PrioritizedReplaySettings | None = None
    """own transitions with large errors are learnt from more often; null: all equally often"""
    n_step: Annotated[int, Field(ge=1, le=100)] = 1
    """rewards in one target, fewer at the end of an episode; transitions that are relabelled or imagined have one"""
    value_range: Interval | None = None
    """targets are clamped to this range, that of the possible discounted returns; null: they are not clamped. Where nothing is given it is
    [0, 1] in environments whose goals pay once, and at most 1, and null in all others"""


class DoubleDQNSettings(QLearningSettings, RecurrentNetworkSettings):
    """Goal-conditioned double Q-learning over the joint discrete action (van Hasselt et al., arXiv 1509.06461)."""

    architecture: ClassVar[tuple[str, ...]] = ("hidden", "network", "recurrent_layers", "dueling")
    kind: Literal["double_dqn"] = "double_dqn"
    recurrent: ReplaySequenceSettings | None = None
    """recurrent layers, for what the newest observation does not show; null: none"""


class DiscreteActorCriticSettings(NetworkSettings, HeldExplorationSettings):
    """A policy over the joint discrete action, with twin critics."""

    groups: ClassVar[tuple[str, ...]] = ("policy", "critic")
    capabilities: ClassVar[tuple[str, ...]] = ("replay", "discrete", "probabilities", "td_errors")
    image_learning_rate: ClassVar[float] = 3e-4
    exploration: Probability = 0.0
    """random actions besides those of the stochastic policy"""


class DiscreteSoftActorCriticSettings(DiscreteActorCriticSettings):
    """Soft actor-critic over the joint discrete action, and what builds on it."""

    target_entropy: Probability = 0.3
    """wanted entropy as a share of the uniform policy's, ln(number of actions)"""
    temperature: Positive = 0.1
    """alpha at the start: weight of the entropy"""
    learn_temperature: bool = True
    """whether alpha follows the entropy that is wanted"""


class DiscreteSACSettings(DiscreteSoftActorCriticSettings):
    """Soft actor-critic over the joint discrete action, with automatic temperature (Haarnoja et al., arXiv 1812.05905; discrete form:
    Christodoulou, arXiv 1910.07207)."""

    kind: Literal["discrete_sac"] = "discrete_sac"


class ContinuousReplaySettings(NetworkSettings, ReplaySettings):
    """Replay learners of a policy for continuous actions, with twin critics."""

    groups: ClassVar[tuple[str, ...]] = ("policy", "critic")
    image_learning_rate: ClassVar[float] = 3e-4
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """step size of Adam, of all networks"""
    discount: Annotated[float, Field(ge=0, le=1)] = 0.99
    """gamma: weight of the next step's value; where it is not given, at most 1 - 1/N if episodes are cut off after N steps"""
    hidden: Widths = [256, 256]
    """widths of the hidden layers of all networks"""
    tau: Annotated[float, Field(gt=0, le=1)] = 0.005
    """tau: target parameters move by this share of the difference at each update"""
    random_steps: Annotated[int, Field(ge=0)] = 1000
    """own steps with uniformly random actions before the policy acts"""


class SACSettings(ContinuousReplaySettings):
    """Soft actor-critic for continuous actions, with automatic temperature (Haarnoja et al., arXiv 1812.05905)."""

    capabilities: ClassVar[tuple[str, ...]] = ("replay", "continuous", "optimism")
    kind: Literal["sac"] = "sac"
    temperature: Positive = 1.0
    """alpha at the start: weight of the entropy"""
    learn_temperature: bool = True
    """whether alpha follows the entropy that is wanted, minus the number of action components, in nats"""
    exploit: bool = False
    """a second policy that is paid the reward alone, for evaluations; the first is paid the optimism too, and explores"""


class DeterministicActorCriticSettings(ContinuousReplaySettings):
    """Deterministic policies for continuous actions with twin critics: TD3, and what builds on it."""

    capabilities: ClassVar[tuple[str, ...]] = ("replay", "continuous", "td_errors")
    exploration_noise: NotNegative = 0.1
    """standard deviation of the normal noise on actions in training; actions are in [-1, 1]"""
    target_noise: NotNegative = 0.2
    """standard deviation of the normal noise on the target policy's actions"""
    target_noise_clip: NotNegative = 0.5
    """the noise on the target policy's actions is clipped to plus or minus this"""
    policy_delay: Annotated[int, Field(ge=1, le=100)] = 2
    """updates of the critics for one of the policy and of the targets"""


class TD3Settings(DeterministicActorCriticSettings):
    """Twin delayed deep deterministic policy gradient, for continuous actions (Fujimoto et al., arXiv 1802.09477)."""

    kind: Literal["td3"] = "td3"


class IMPALASettings(RMSPropSettings, RecurrentNetworkSettings, RolloutSettings):
    """Actor-critic with V-trace (Espeholt et al., arXiv 1802.01561): one gradient update for every few copies' rollouts, each of which
    is used once."""

    groups: ClassVar[tuple[str, ...]] = ("policy",)
    capabilities: ClassVar[tuple[str, ...]] = ("rollout", "discrete", "continuous", "values")
    architecture: ClassVar[tuple[str, ...]] = ("hidden", "network", "recurrent_layers", "normalize_values")
    image_learning_rate: ClassVar[float] = 6e-4
    kind: Literal["impala"] = "impala"
    steps: Annotated[int, Field(ge=1, le=100_000)] = 20
    """T: step messages in one rollout"""
    max_grad_norm: Positive = 1.0
    """gradients are scaled down to this norm"""
    epsilon: Positive = 1e-5
    """RMSProp divides by the root of the mean square plus this"""
    rollouts: Annotated[int, Field(ge=1, le=65536)] = 8
    """B: copies in one gradient update, about: the rollout of K copies is cut into K / B equal parts, learnt from one after the other"""
    discount: Annotated[float, Field(ge=0, le=1)] = 0.99
    """gamma: weight of the next step's value; where it is not given, at most 1 - 1/N if episodes are cut off after N steps"""
    hidden: Widths = [256, 256]
    """widths of the hidden layers (ReLU), behind the convolutions of a grid or an image"""
    entropy_coef: NotNegative = 0.0005
    """weight of the policy's entropy"""
    value_coef: NotNegative = 0.5
    """weight of the value function's loss"""
    normalize_values: bool = True
    """whether value targets and advantages are divided by the running standard deviation of the targets"""
    importance_clip: Positive = 1.0
    """ratios of new to old probability, in returns, traces and advantages, count no more than this"""
    evaluation: Literal["sample", "mode"] = "sample"
    """actions in evaluations: drawn from the policy, as published, or the likeliest ones"""


class PPOSettings(RecurrentNetworkSettings, RolloutSettings):
    """Proximal policy optimisation (Schulman et al., arXiv 1707.06347), with a policy and a value network (tanh)."""

    groups: ClassVar[tuple[str, ...]] = ("policy", "critic")
    capabilities: ClassVar[tuple[str, ...]] = ("rollout", "discrete", "continuous", "values", "imitation")
    image_learning_rate: ClassVar[float] = 2.5e-4
    architecture: ClassVar[tuple[str, ...]] = (
        "hidden",
        "network",
        "recurrent_layers",
        "centralised_critic",
        "state_dependent_std",
        "normalize_values",
    )
    recurrent: SequenceSettings | None = None
    """recurrent layers, for what the newest observation does not show; null: none"""
    kind: Literal["ppo"] = "ppo"
    centralised_critic: bool = False
    """whether V is a function of the observations of all agents of the run (MAPPO, Yu et al., arXiv 2103.01955), which these send to each
    other (`exchange.joint_experience`); it then learns from whole episodes"""
    discount: Annotated[float, Field(ge=0, le=1)] = 0.99
    """gamma: weight of the next step's value; where it is not given, at most 1 - 1/N if episodes are cut off after N steps"""
    hidden: Widths = [64, 64]
    """widths of the hidden layers of both networks"""
    max_grad_norm: Positive = 0.5
    """gradients of each network are scaled down to this norm"""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 8
    """how often a rollout is gone through"""
    minibatch_size: Annotated[int, Field(ge=2, le=1_000_000)] = 128
    """transitions in one gradient update, about: a rollout is cut into equal parts"""
    gae_lambda: Probability = 0.95
    """lambda: weight of the next step's error in an advantage, beside the discount"""
    clip: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """ratios of new to old probability gain nothing beyond 1 - clip and 1 + clip"""
    entropy_coef: Annotated[float, Field(ge=0, le=10)] | None = None
    """weight of the policy's entropy in its objective; null: 0.01 for discrete actions, 0 for continuous ones"""
    state_dependent_std: bool = False
    """continuous actions: whether the standard deviations are outputs of the policy network; else parameters, equal in all states, 1 at
    first"""
    normalize_values: bool = True
    """whether the value network learns targets that are normalised by their running mean and standard deviation"""
    kl_coef: Annotated[float, Field(ge=0, le=100)] = 0.0
    """beta: weight of the divergence of the new policy from the old one at the start, adapted after every rollout; 0: none"""
    adaptive_kl_target: Positive = 0.01
    """nats: where the adapted beta is to keep the divergence"""
    target_kl: Positive | None = None
    """nats: a rollout is left as soon as a minibatch finds the policy further from what it was; null: all epochs are made"""
    decay_steps: Annotated[int, Field(ge=1)] | None = None
    """own training steps within which the step size falls to 0, linearly; null: it stays"""
    evaluation: Literal["sample", "mode"] = "sample"
    """actions in evaluations: drawn from the policy, as published, or the likeliest ones"""

    def observation_defaults(self, grid: bool, image: Sequence[int] | None) -> Mapping[str, Any]:
        """As for others; for convolutions over a grid rollouts of 32 step messages, with which it learns from fewer of them."""
        chosen = {"steps": 32} if network_for(self.network, grid, image) == "grid" else {}
        return {**super().observation_defaults(grid, image), **chosen}

    def active_capabilities(self, declared: tuple[str, ...]) -> tuple[str, ...]:
        """With a centralised critic "joint", and no values of single observations."""
        active = super().active_capabilities(declared)
        return (*(name for name in active if name not in ("values", "imitation")), "joint") if self.centralised_critic else active


register("learner", "auto", AutoLearnerSettings, "agent_node.learners.automatic:automatic")
register("learner", "double_dqn", DoubleDQNSettings, "agent_node.learners.recurrent_double_dqn:double_dqn")
register("learner", "discrete_sac", DiscreteSACSettings, "agent_node.learners.discrete_sac:DiscreteSAC")
register("learner", "sac", SACSettings, "agent_node.learners.sac:SAC")
register("learner", "td3", TD3Settings, "agent_node.learners.td3:TD3")
register("learner", "impala", IMPALASettings, "agent_node.learners.impala:IMPALA")
register("learner", "ppo", PPOSettings, "agent_node.learners.recurrent_ppo:ppo")
