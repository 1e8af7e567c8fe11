"""Contracts of an agent's parts, a file a kind of part. A part is replaced in the YAML; whoever fulfils its contract fits."""

from __future__ import annotations

from protocols.messages import Layout

from .data import Array, Batch, Choice, Interface, Metrics
from .goals import GoalSource
from .learners import Learner, Probabilities, Surprise, Valuing
from .motivation import Curiosity, Frame, Lender, Outcome, Setting, Teacher, Transitions
from .sums import Additive, AdditiveModel
from .world_models import Believing, Drawable, ModelData, Predict, Prediction, WorldModel

__all__ = [
    "Additive",
    "AdditiveModel",
    "Array",
    "Batch",
    "Believing",
    "Choice",
    "Curiosity",
    "Drawable",
    "Frame",
    "GoalSource",
    "Interface",
    "Layout",
    "Learner",
    "Lender",
    "Metrics",
    "ModelData",
    "Outcome",
    "Predict",
    "Prediction",
    "Probabilities",
    "Setting",
    "Surprise",
    "Teacher",
    "Transitions",
    "Valuing",
    "WorldModel",
]
