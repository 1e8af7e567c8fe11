"""Settings of learners that learn from the steps of all members of a team."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agent_node.learners.settings import ReplaySettings
from agent_node.settings.value_types import NotNegative, Positive, Widths
from protocols.runtime.component_registry import register
from protocols.runtime.settings_types import Probability


class TeamSettings(ReplaySettings):
    """Replay learners with the capability "joint": their batches hold what all members observed and did (`exchange.joint_experience`)."""

    groups: ClassVar[tuple[str, ...]] = ("policy", "critic")
    capabilities: ClassVar[tuple[str, ...]] = ("replay", "joint", "discrete")
    default_copies: ClassVar[int] = 8
    discount: Annotated[float, Field(ge=0, le=1)] = 0.95
    """gamma: weight of the next step's value"""
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 512
    """joint transitions in one gradient update"""
    replay_ratio: Annotated[float, Field(ge=0, le=64)] = 0.1
    """gradient updates for each step of an environment copy: with K copies, K times as many for each step message; 0.25 is one in four"""
    learning_starts: Annotated[int, Field(ge=0)] = 1024
    """joint transitions in the memory before the first update"""


class CentralisedCriticSettings(TeamSettings):
    """Actor-critics whose critic sees the observations and actions of all members."""

    capabilities: ClassVar[tuple[str, ...]] = ("replay", "joint", "discrete", "continuous")
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """step size of Adam, of the critic"""
    actor_learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """step size of Adam, of the actor"""
    reward: Literal["team", "own"] = "team"
    """what the critic values: the mean of all members' rewards, for cooperative tasks, or the agent's own, where interests differ"""


class MADDPGSettings(CentralisedCriticSettings):
    """Multi-agent deep deterministic policy gradient (Lowe et al., arXiv 1706.02275)."""

    kind: Literal["maddpg"] = "maddpg"
    hidden: Widths = [64, 64]
    """widths of the hidden layers (ReLU) of all networks"""
    max_grad_norm: Positive = 0.5
    """gradients of each network are scaled down to this norm"""
    noise_theta: Probability = 0.15
    """continuous actions: share of the noise that is lost with each step"""
    noise_sigma: NotNegative = 0.2
    """continuous actions: standard deviation of what each step adds to the noise"""
    noise_scale: NotNegative = 1.0
    """continuous actions, in [-1, 1]: factor of the noise in the first episode"""
    noise_episodes: Annotated[int, Field(ge=1)] = 25_000
    """own training episodes within which `noise_scale` falls to 0, linearly"""
    output_penalty: NotNegative = 1e-3
    """weight of the mean square of the actor's outputs, before tanh or softmax, in its loss"""


class MASACSettings(CentralisedCriticSettings):
    """Soft actor-critic with centralised twin critics and automatic temperature (Haarnoja et al., arXiv 1812.05905; critics as in
    arXiv 1706.02275)."""

    kind: Literal["masac"] = "masac"
    hidden: Widths = [64, 64]
    """widths of the hidden layers (ReLU) of all networks"""
    temperature: Positive = 0.1
    """alpha at the start: weight of the entropy"""
    target_entropy: Probability = 0.3
    """discrete actions: wanted entropy as a share of the uniform policy's; continuous actions: it is minus their number, in nats"""


class ValueMixingSettings(TeamSettings):
    """Utilities of all members, mixed into the value of the team; rewards are the mean over all members."""

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """step size of Adam"""
    hidden: Widths = [64, 64]
    """widths of the hidden layers (ReLU) of the utility network"""
    exploration: Probability = 0.05
    """probability of a random action, from `exploration_steps` on"""
    exploration_steps: Annotated[int, Field(ge=1)] = 20_000
    """own training steps within which the probability of random actions falls from 1 to `exploration`, linearly"""


class VDNSettings(ValueMixingSettings):
    """Value-decomposition networks (Sunehag et al., arXiv 1706.05296): the value of the team is the sum of the utilities."""

    groups: ClassVar[tuple[str, ...]] = ("policy",)
    kind: Literal["vdn"] = "vdn"


class MonotoneMixingSettings(ValueMixingSettings):
    """The value of the team is a monotone function of the utilities, which depends on the state."""

    architecture: ClassVar[tuple[str, ...]] = ("hidden", "mixing_width", "mixer_hidden")
    mixing_width: Annotated[int, Field(ge=1, le=1024)] = 32
    """units (ELU) of the mixing network"""
    mixer_hidden: Widths = [64]
    """widths of the hidden layers (ReLU) of the network that computes the mixing network's weights from the state"""


class QMIXSettings(MonotoneMixingSettings):
    """QMIX (Rashid et al., arXiv 1803.11485): the value of the team is a monotone function of the utilities, which depends on the
    state."""

    kind: Literal["qmix"] = "qmix"


class GUMSettings(MonotoneMixingSettings):
    """Greedy unmixing, GUM (Siu, Traish, Xu, arXiv 2109.09034): conservative QMIX, with individual and mixed values learnt together."""

    kind: Literal["gum"] = "gum"


register("learner", "maddpg", MADDPGSettings, "agent_node.learners.team.maddpg:MADDPG")
register("learner", "masac", MASACSettings, "agent_node.learners.team.masac:MASAC")
register("learner", "vdn", VDNSettings, "agent_node.learners.team.value_mixing:VDN")
register("learner", "qmix", QMIXSettings, "agent_node.learners.team.value_mixing:QMIX")
register("learner", "gum", GUMSettings, "agent_node.learners.team.gum:GUM")
