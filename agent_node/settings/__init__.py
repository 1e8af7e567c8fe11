"""What the configuration says of an agent, and the built-in components by name: a file a room, all of them imported here.

Importing the package registers every component. Torch-free: a configuration is checked in milliseconds.
"""

from __future__ import annotations

from .curiosity import BeBoldSettings, CuriositySettings, NoveltySettings, RNDSettings
from .difficulty import DifficultySettings, TeacherSettings, ThresholdSettings, WindowSettings
from .gaussian_processes import ExactGPSettings, GaussianProcessSettings, GPSettings
from .goals import BanditGoalSettings, GoalSourceSettings, JointLearningProgressSettings, LearningProgressSettings, UniformGoalSettings
from .learners import (
    DiscreteSACSettings,
    DoubleDQNSettings,
    HeldExplorationSettings,
    IMPALASettings,
    LearnerSettings,
    PPOSettings,
    ReplaySettings,
    RolloutSettings,
    SACSettings,
)
from .negotiation import ContractNetSettings, CoordinationGameSettings, NegotiationSettings
from .optimisers import RMSPropSettings
from .optimism import BonusSettings, HallucinationSettings, OptimismSettings, ThompsonSettings
from .types import Device
from .world_models import EnsembleSettings, ImaginarySettings, WorldModelSettings

# isort: split
# After all rules by which a teacher's goals may become harder.
from .teacher import AmigoTeacherSettings

# isort: split
# Last: whichever component an agent may be made of, ours and third parties' (who import the names above), is looked up as these are made.
from .agent import AgentSettings, BufferSettings, ShapingSettings
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
    "AmigoTeacherSettings",
    "BanditGoalSettings",
    "BeBoldSettings",
    "BonusSettings",
    "BufferSettings",
    "CompressionSettings",
    "ConsensusSettings",
    "ContractNetSettings",
    "CoordinationGameSettings",
    "CuriositySettings",
    "Device",
    "DifficultySettings",
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
    "IMPALASettings",
    "ImaginarySettings",
    "JointLearningProgressSettings",
    "LearnerSettings",
    "LearningProgressSettings",
    "NegotiationSettings",
    "NoveltySettings",
    "OptimismSettings",
    "PPOSettings",
    "PartnerCorrection",
    "PlanSettings",
    "RMSPropSettings",
    "RNDSettings",
    "ReplaySettings",
    "RolloutSettings",
    "SACSettings",
    "SegmentSettings",
    "ShapingSettings",
    "StatisticsSettings",
    "Strategy",
    "TargetWeighting",
    "TeacherSettings",
    "ThompsonSettings",
    "ThresholdSettings",
    "UniformGoalSettings",
    "WindowSettings",
    "WorldModelSettings",
]
