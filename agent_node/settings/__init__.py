"""What the configuration says of an agent, and the built-in components by name: a file a room, all of them imported here.

Importing the package registers every component. Torch-free: a configuration is checked in milliseconds.
"""

from __future__ import annotations

from .gaussian_processes import ExactGPSettings, GaussianProcessSettings, GPSettings
from .goals import BanditGoalSettings, GoalSourceSettings, JointLearningProgressSettings, LearningProgressSettings, UniformGoalSettings
from .learners import (
    DiscreteSACSettings,
    DoubleDQNSettings,
    HeldExplorationSettings,
    LearnerSettings,
    PPOSettings,
    ReplaySettings,
    RolloutSettings,
    SACSettings,
)
from .negotiation import CoordinationGameSettings, NegotiationSettings
from .optimism import BonusSettings, HallucinationSettings, OptimismSettings, ThompsonSettings
from .types import Device
from .world_models import EnsembleSettings, ImaginarySettings, WorldModelSettings

# isort: split
# Last: whichever component an agent may be made of, ours and third parties' (who import the names above), is looked up as these are made.
from .agent import AgentSettings, BufferSettings
from .exchange import (
    CompressionSettings,
    ConsensusSettings,
    ExchangeSettings,
    ExperienceSettings,
    HindsightSettings,
    PartnerCorrection,
    PlanSettings,
    SegmentSettings,
    StatisticsSettings,
    Strategy,
    TargetWeighting,
)

__all__ = [
    "AgentSettings",
    "BanditGoalSettings",
    "BonusSettings",
    "BufferSettings",
    "CompressionSettings",
    "ConsensusSettings",
    "CoordinationGameSettings",
    "Device",
    "DiscreteSACSettings",
    "DoubleDQNSettings",
    "EnsembleSettings",
    "ExactGPSettings",
    "ExchangeSettings",
    "ExperienceSettings",
    "GPSettings",
    "GaussianProcessSettings",
    "GoalSourceSettings",
    "HallucinationSettings",
    "HeldExplorationSettings",
    "HindsightSettings",
    "ImaginarySettings",
    "JointLearningProgressSettings",
    "LearnerSettings",
    "LearningProgressSettings",
    "NegotiationSettings",
    "OptimismSettings",
    "PPOSettings",
    "PartnerCorrection",
    "PlanSettings",
    "ReplaySettings",
    "RolloutSettings",
    "SACSettings",
    "SegmentSettings",
    "StatisticsSettings",
    "Strategy",
    "TargetWeighting",
    "ThompsonSettings",
    "UniformGoalSettings",
    "WorldModelSettings",
]
