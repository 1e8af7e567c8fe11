"""Contracts of an agent's components, one file for each kind of component. A third party's component derives from one of these classes."""

from __future__ import annotations

from agent_node.contracts.component import Component, ObservedTick, State, arrays, tensors, with_prefix
from agent_node.contracts.goal_contracts import EpisodeNegotiation, GoalSource
from agent_node.contracts.intrinsic_contracts import (
    Frame,
    GoalOutcome,
    Imitation,
    IntrinsicReward,
    ReplayReward,
    Teacher,
    TeacherOutput,
    TransitionBatch,
)
from agent_node.contracts.learner_contracts import Learner
from agent_node.contracts.training_data import Array, Batch, EntityGroup, JointSteps, Metrics, PolicyOutput, PolicySpec, Team
from agent_node.contracts.world_model_contracts import (
    AdditiveStatistics,
    AdditiveWorldModel,
    ModelData,
    Predict,
    Prediction,
    WorldModel,
)
from protocols.spaces.layout import Layout

__all__ = [
    "AdditiveStatistics",
    "AdditiveWorldModel",
    "Array",
    "Batch",
    "Component",
    "EntityGroup",
    "EpisodeNegotiation",
    "Frame",
    "GoalOutcome",
    "GoalSource",
    "Imitation",
    "IntrinsicReward",
    "JointSteps",
    "Layout",
    "Learner",
    "Metrics",
    "ModelData",
    "ObservedTick",
    "PolicyOutput",
    "PolicySpec",
    "Predict",
    "Prediction",
    "ReplayReward",
    "State",
    "Teacher",
    "TeacherOutput",
    "Team",
    "TransitionBatch",
    "WorldModel",
    "arrays",
    "tensors",
    "with_prefix",
]
