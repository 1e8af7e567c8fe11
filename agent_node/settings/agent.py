"""The agent: what it is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from agent_node.goals.settings import GoalSourceSettings, UniformGoalSettings
from agent_node.intrinsic.settings import CuriositySettings, ImitationSettings, ReplayRewardSettings, TeacherSettings
from agent_node.learners.network_settings import EntityPart, entities_of
from agent_node.learners.settings import DoubleDQNSettings, LearnerSettings
from agent_node.memory.settings import BufferSettings
from agent_node.settings.builtin_components import register_builtin_components
from agent_node.settings.value_types import Positive
from agent_node.world_models.settings import OptimismSettings, WorldModelSettings
from protocols.runtime.component_registry import Registered
from protocols.runtime.settings_types import Settings

register_builtin_components()


class ShapingSettings(Settings):
    """r = clip(r_e + r_i, -clip, clip) + bonus [r_e > 0], from the environment's reward and the agent's own ones."""

    clip: Positive | None = 1.0
    """sums of rewards are clipped to -clip .. clip; null: not clipped"""
    bonus: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    """added wherever the environment's reward is positive"""


class AgentSettings(Settings):
    """Settings of all components of an agent: learner, memory, world model, goals, intrinsic rewards and exchanges."""

    learner: Annotated[LearnerSettings, Registered("learner", by_name_in_files=True)] = DoubleDQNSettings()
    """what improves the policy: {kind: NAME} with the keys of that learner, or its name. auto, and in a configuration without this key: the
    learner that suits the environment"""
    world_model: Annotated[WorldModelSettings, Registered("world_model")] | None = None
    """what predicts the next observation; null for a model-free agent"""
    optimism: Annotated[OptimismSettings, Registered("optimism")] | None = None
    """how the exploring policy is rewarded for model uncertainty; null: no optimism"""
    buffer: BufferSettings = BufferSettings()
    """what it remembers"""
    goals: Annotated[GoalSourceSettings, Registered("goals")] | None = UniformGoalSettings()
    """where its goals come from, in environments with goals; null for environments without"""
    teacher: Annotated[TeacherSettings, Registered("teacher")] | None = None
    """what sets the policy goals while an episode goes on, in environments that show a grid; null: no teacher"""
    curiosity: Annotated[CuriositySettings, Registered("curiosity")] | None = None
    """intrinsic reward for what is new to the agent; null: none"""
    replay_reward: Annotated[ReplayRewardSettings, Registered("replay_reward")] | None = None
    """what is added to the rewards of replay batches when they are drawn; null: nothing"""
    imitation: Annotated[ImitationSettings, Registered("imitation")] | None = None
    """what makes the policy repeat own earlier actions, beside its learner; null: nothing"""
    shaping: ShapingSettings | None = None
    """how the rewards of environment, teacher and curiosity are composed; null: they are added"""
    entities: Annotated[list[EntityPart], Field(min_length=1, max_length=64)] | None = None
    """the parts of the observation vector, in their order, for networks that treat entities of one kind alike (`learner.network`: entities,
    entity_attention, auto), e.g. [{name: own, size: 4}, {name: landmarks, count: 3, size: 2}]; null: it is not described"""
    history: Annotated[int, Field(ge=1, le=16)] = 1
    """observations that policy and model see: the newest, and its changes since those before it (2 shows speed)"""
    frequencies: Annotated[int, Field(ge=0, le=12)] = 0
    """F: the learner also sees sin(2^k pi x) and cos(2^k pi x), k < F, of each component x with known bounds, scaled to [-1, 1]: a
    network alone smooths over what is small"""

    def entity_components(self, observed: int) -> dict[str, list[tuple[int, ...]]]:
        """`entities_of` the parts that `entities` describes, among `observed` components; empty without a description. `ValueError` where
        it does not fit."""
        return {} if self.entities is None else entities_of(self.entities, observed)
