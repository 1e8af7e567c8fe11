"""Settings of the learners from stored data."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agent_node.learners.settings import (
    DeterministicActorCriticSettings,
    DiscreteActorCriticSettings,
    DiscreteSoftActorCriticSettings,
    NetworkSettings,
    QLearningSettings,
    ReplaySettings,
)
from agent_node.settings.value_types import NotNegative, Positive
from protocols.runtime.component_registry import register
from protocols.runtime.settings_types import Probability

_DISCRETE = ("replay", "offline", "discrete", "probabilities", "td_errors")
_CONTINUOUS = ("replay", "offline", "continuous", "td_errors")


class BehaviourCloningSettings(NetworkSettings, ReplaySettings):
    """Behaviour cloning: the policy that is likeliest to have made the data (discrete actions), or nearest to its actions (continuous)."""

    groups: ClassVar[tuple[str, ...]] = ("policy",)
    capabilities: ClassVar[tuple[str, ...]] = ("replay", "offline", "discrete", "continuous")
    image_learning_rate: ClassVar[float] = 3e-4
    kind: Literal["bc"] = "bc"


class DiscreteCQLSettings(QLearningSettings):
    """Conservative double Q-learning (Kumar et al., arXiv 2006.04779): values of actions that the data has not are lowered."""

    capabilities: ClassVar[tuple[str, ...]] = _DISCRETE
    kind: Literal["discrete_cql"] = "discrete_cql"
    conservative_coef: NotNegative = 1.0
    """w: weight of logsumexp over a of Q(s, a), minus Q(s, a) of the data's action"""


class DiscreteBCQSettings(QLearningSettings):
    """Double Q-learning among the actions that a model of the behaviour finds likely (Fujimoto et al., arXiv 1910.01708)."""

    capabilities: ClassVar[tuple[str, ...]] = _DISCRETE
    groups: ClassVar[tuple[str, ...]] = ("critic", "behaviour")
    kind: Literal["discrete_bcq"] = "discrete_bcq"
    threshold: Probability = 0.4
    """actions whose probability in the data is below this share of the likeliest one's are not chosen; 0: all, 1: only the likeliest"""


class BehaviourSACSettings(DiscreteSoftActorCriticSettings):
    """Discrete soft actor-critics beside models of the behaviour in the data."""

    groups: ClassVar[tuple[str, ...]] = ("policy", "critic", "behaviour")
    capabilities: ClassVar[tuple[str, ...]] = _DISCRETE
    temperature: Positive = 0.01
    """alpha at the start: weight of the entropy"""
    learn_temperature: bool = False
    """whether alpha follows the entropy that is wanted"""


class DiscreteBRACSettings(BehaviourSACSettings):
    """Behaviour-regularised actor-critic, BRAC (Wu et al., arXiv 1911.11361), with exact sums over discrete actions."""

    kind: Literal["discrete_brac"] = "discrete_brac"
    penalty: Literal["policy", "value"] = "policy"
    """policy: only the policy is kept near the behaviour (BRAC-p); value: targets are lowered by the divergence too (BRAC-v)"""
    divergence: Literal["kl", "mmd"] = "kl"
    """kl: Kullback-Leibler, KL(pi || b); mmd: squared maximum mean discrepancy"""
    divergence_coef: NotNegative = 1.0
    """lambda: weight of the divergence"""
    kernel_width: Positive = 1.0
    """sigma of the kernel of `mmd`: exp(-1 / sigma) between two different actions"""


class DiscreteBEARSettings(BehaviourSACSettings):
    """Bootstrapping error accumulation reduction, BEAR (Kumar et al., arXiv 1906.00949), with exact sums over discrete actions."""

    kind: Literal["discrete_bear"] = "discrete_bear"
    kernel_width: Positive = 1.0
    """sigma: the kernel is exp(-1 / sigma) between two different actions"""
    max_discrepancy: Positive = 0.2
    """epsilon: the mean discrepancy that is allowed"""
    multiplier_rate: Positive = 0.05
    """step size of the logarithm of the multiplier"""
    backup: Literal["expectation", "support_max"] = "expectation"
    """expectation: targets follow the policy, and evaluations take its likeliest action; support_max: both take the action with the largest
    value among those with a probability of at least 0.05, as the published method does among samples"""


class DBRSettings(BehaviourSACSettings):
    """Dual behaviour regularisation, DBR (Siu, Traish, Xu, arXiv 2109.09037): towards the better part of the data, away from the rest."""

    capabilities: ClassVar[tuple[str, ...]] = (*_DISCRETE, "relative_return")
    kind: Literal["dbr"] = "dbr"
    divergence_coef: NotNegative = 0.3
    """lambda: weight of the divergence from the better behaviour; 1 suits data that can be trusted"""
    better_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """share of the transitions, those with the largest relative returns, from which the better behaviour is learnt"""


class DiscreteICQSettings(DiscreteActorCriticSettings):
    """Implicit constraint Q-learning, ICQ (Yang et al., arXiv 2106.03400): only actions of the data have a part in targets."""

    capabilities: ClassVar[tuple[str, ...]] = ("replay", "offline", "discrete", "probabilities", "next_action")
    kind: Literal["discrete_icq"] = "discrete_icq"
    advantage_temperature: Positive = 0.1
    """beta: the policy repeats the actions of a batch with weights softmax(A / beta); large: as behaviour cloning"""
    value_temperature: Positive = 1000.0
    """alpha: values of next actions have weights softmax(Q / alpha) over the batch; large: all equal"""


class ICQSettings(DeterministicActorCriticSettings):
    """Implicit constraint Q-learning, ICQ (Yang et al., arXiv 2106.03400), with a deterministic policy for continuous actions."""

    capabilities: ClassVar[tuple[str, ...]] = ("replay", "offline", "continuous", "next_action")
    kind: Literal["icq"] = "icq"
    policy_delay: Annotated[int, Field(ge=1, le=100)] = 1
    """updates of the critics for one of the policy and of the targets"""
    advantage_temperature: Positive = 0.1
    """beta: the policy repeats the actions of a batch with weights softmax(A / beta); large: as behaviour cloning"""
    value_temperature: Positive = 1000.0
    """alpha: values of next actions have weights softmax(Q / alpha) over the batch; large: all equal"""


class TD3BCSettings(DeterministicActorCriticSettings):
    """TD3 with behaviour cloning (Fujimoto & Gu, arXiv 2106.06860)."""

    capabilities: ClassVar[tuple[str, ...]] = _CONTINUOUS
    kind: Literal["td3_bc"] = "td3_bc"
    value_coef: Positive = 2.5
    """weight of the value, over the mean of |Q|, beside the squared distance from the data's action"""


class ConservativeSettings(DeterministicActorCriticSettings):
    """Conservative critics for continuous actions, with a deterministic policy, as in OMAR."""

    capabilities: ClassVar[tuple[str, ...]] = _CONTINUOUS
    target_noise: NotNegative = 0.0
    """standard deviation of the normal noise on the target policy's actions"""
    policy_delay: Annotated[int, Field(ge=1, le=100)] = 1
    """updates of the critics for one of the policy and of the targets"""
    conservative_coef: NotNegative = 1.0
    """w: weight of the logsumexp of the values of sampled actions, minus the value of the data's action"""
    sampled_actions: Annotated[int, Field(ge=1, le=1000)] = 10
    """uniform actions for each transition, out of the distribution of the data"""
    action_coef: NotNegative = 1e-3
    """weight of the mean square of the policy's actions in its loss"""


class CQLSettings(ConservativeSettings):
    """Conservative Q-learning for continuous actions (Kumar et al., arXiv 2006.04779), with a deterministic policy, as in OMAR."""

    kind: Literal["cql"] = "cql"


class OMARSettings(ConservativeSettings):
    """Offline multi-agent reinforcement learning with actor rectification (Pan et al., arXiv 2111.11188)."""

    kind: Literal["omar"] = "omar"
    rectification: Probability = 0.5
    """lambda: weight of the squared distance from the best action found by search; 1 - lambda is that of the value"""
    search_samples: Annotated[int, Field(ge=2, le=1000)] = 10
    """actions in each round of the search"""
    search_rounds: Annotated[int, Field(ge=1, le=100)] = 3
    """rounds of the search, each around the mean of the one before, weighted by the softmax of values"""
    search_deviation: Positive = 2.0
    """standard deviation of the actions of the first round, around 0; actions are in [-1, 1]"""


_HERE = "agent_node.learners.offline"
register("learner", "bc", BehaviourCloningSettings, f"{_HERE}.behaviour_cloning:BehaviourCloning")
register("learner", "discrete_cql", DiscreteCQLSettings, f"{_HERE}.discrete_cql:DiscreteCQL")
register("learner", "discrete_bcq", DiscreteBCQSettings, f"{_HERE}.discrete_bcq:DiscreteBCQ")
register("learner", "discrete_brac", DiscreteBRACSettings, f"{_HERE}.discrete_brac:DiscreteBRAC")
register("learner", "discrete_bear", DiscreteBEARSettings, f"{_HERE}.discrete_bear:DiscreteBEAR")
register("learner", "dbr", DBRSettings, f"{_HERE}.dbr:DBR")
register("learner", "discrete_icq", DiscreteICQSettings, f"{_HERE}.icq:DiscreteICQ")
register("learner", "icq", ICQSettings, f"{_HERE}.icq:ICQ")
register("learner", "td3_bc", TD3BCSettings, f"{_HERE}.td3_bc:TD3BC")
register("learner", "cql", CQLSettings, f"{_HERE}.cql:CQL")
register("learner", "omar", OMARSettings, f"{_HERE}.omar:OMAR")
