"""Contracts of an agent's parts, a file a kind of part. A part is replaced in the YAML; whoever fulfils its contract fits."""

from __future__ import annotations

from agent_node.contracts.additive_contracts import AdditiveStatistics, AdditiveWorldModel
from agent_node.contracts.goal_source_contract import GoalSource
from agent_node.contracts.intrinsic_contracts import (
    Frame,
    GoalOutcome,
    IntrinsicReward,
    SwappingTeacher,
    Teacher,
    TeacherOutput,
    TransitionBatch,
)
from agent_node.contracts.learner_contracts import ActionProbabilities, GoalValues, Learner, TDErrors
from agent_node.contracts.training_data import Array, Batch, Metrics, PolicyOutput, PolicySpec
from agent_node.contracts.world_model_contracts import ModelData, PlanAwareModel, Predict, Prediction, SampleableModel, WorldModel
from protocols.spaces.layout import Layout

__all__ = [
    "ActionProbabilities",
    "AdditiveStatistics",
    "AdditiveWorldModel",
    "Array",
    "Batch",
    "Frame",
    "GoalOutcome",
    "GoalSource",
    "GoalValues",
    "IntrinsicReward",
    "Layout",
    "Learner",
    "Metrics",
    "ModelData",
    "PlanAwareModel",
    "PolicyOutput",
    "PolicySpec",
    "Predict",
    "Prediction",
    "SampleableModel",
    "SwappingTeacher",
    "TDErrors",
    "Teacher",
    "TeacherOutput",
    "TransitionBatch",
    "WorldModel",
]
