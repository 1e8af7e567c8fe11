"""Roles of an agent's components. A component finds others by role; components of third parties may add roles of their own.

The name of a role is also the prefix of its tensors in checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from agent_node.contracts import Component

if TYPE_CHECKING:
    from agent_node.contracts import EpisodeNegotiation, GoalSource, Imitation, IntrinsicReward, Learner, ReplayReward, Teacher
    from agent_node.exchange.experience_sharing import ExperienceSharing
    from agent_node.exchange.goal_negotiation import GoalNegotiation
    from agent_node.exchange.hindsight_exchange import HindsightExchange
    from agent_node.exchange.joint_experience import JointExperience
    from agent_node.exchange.parameter_averaging import ParameterAveraging
    from agent_node.exchange.plan_sharing import PlanSharing
    from agent_node.exchange.statistics_exchange import StatisticsExchange
    from agent_node.memory.episode_recording import EpisodeRecording
    from agent_node.memory.joint_replay import JointReplay, JointRollouts
    from agent_node.memory.replay_buffer import ImportedReplay, ReplayBuffer
    from agent_node.memory.rollout_buffer import RolloutBuffer
    from agent_node.session.reward_composition import RewardComposition
    from agent_node.world_models.imagination.optimism import Optimism
    from agent_node.world_models.imagination.world_model_component import WorldModelComponent

Kind = TypeVar("Kind", bound=Component)


@dataclass(frozen=True)
class Role(Generic[Kind]):
    """What a component is to the others."""

    name: str


GOAL_NEGOTIATION: Role[GoalNegotiation] = Role("goal_negotiation")
TEACHER: Role[Teacher] = Role("teacher")
OPTIMISM: Role[Optimism] = Role("optimism")
LEARNER: Role[Learner] = Role("learner")
REPLAY: Role[ReplayBuffer] = Role("replay")
ROLLOUT: Role[RolloutBuffer] = Role("rollout")
JOINT_REPLAY: Role[JointReplay] = Role("joint_replay")
JOINT_ROLLOUTS: Role[JointRollouts] = Role("joint_rollouts")
CURIOSITY: Role[IntrinsicReward] = Role("curiosity")
REWARDS: Role[RewardComposition] = Role("rewards")
REPLAY_REWARD: Role[ReplayReward] = Role("replay_reward")
IMITATION: Role[Imitation] = Role("imitation")
WORLD_MODEL: Role[WorldModelComponent] = Role("world_model")
GOAL_SOURCE: Role[GoalSource] = Role("goal_source")
NEGOTIATION: Role[EpisodeNegotiation] = Role("negotiation")
IMPORTED_REPLAY: Role[ImportedReplay] = Role("imported_replay")
HINDSIGHT: Role[HindsightExchange] = Role("hindsight")
EXPERIENCE: Role[ExperienceSharing] = Role("experience")
AVERAGING: Role[ParameterAveraging] = Role("averaging")
STATISTICS: Role[StatisticsExchange] = Role("statistics")
JOINT_EXPERIENCE: Role[JointExperience] = Role("joint_experience")
PLANS: Role[PlanSharing] = Role("plans")
GOAL_SWAP: Role[Component] = Role("goal_swap")
RECORDING: Role[EpisodeRecording] = Role("recording")

ORDER: tuple[Role[Any], ...] = (
    GOAL_NEGOTIATION, TEACHER, OPTIMISM, LEARNER, REPLAY, ROLLOUT, JOINT_REPLAY, JOINT_ROLLOUTS, CURIOSITY, REWARDS, REPLAY_REWARD,
    IMITATION, WORLD_MODEL, GOAL_SOURCE, NEGOTIATION, IMPORTED_REPLAY, HINDSIGHT, EXPERIENCE, JOINT_EXPERIENCE, AVERAGING, STATISTICS,
    PLANS, GOAL_SWAP, RECORDING,
)  # fmt: skip
"""Order in which components are called. Goal negotiation is first because it completes an ended episode with its agreement. Other roles
follow in the order in which they were added."""
_RANK = {role.name: rank for rank, role in enumerate(ORDER)}


def rank(name: str) -> int:
    """Place of a role in `ORDER`; behind all others for roles that are not in it."""
    return _RANK.get(name, len(_RANK))
