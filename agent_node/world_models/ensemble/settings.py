"""Settings of ensemble."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agent_node.settings.value_types import Widths
from agent_node.world_models.settings import WorldModelSettings
from protocols.runtime.component_registry import register


class EnsembleSettings(WorldModelSettings):
    """Ensemble of networks that predict the change of the observation, the reward, the end, and what is touched."""

    capabilities: ClassVar[tuple[str, ...]] = ("rewards", "sampleable")
    architecture: ClassVar[tuple[str, ...]] = ("hidden", "members")
    kind: Literal["ensemble"] = "ensemble"
    members: Annotated[int, Field(ge=1, le=64)] = 5
    """networks, each with its own start and its own batches"""
    hidden: Widths = [128, 128]
    """widths of the hidden layers"""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-3
    """step size of Adam"""
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 128
    """transitions in one fit, per member"""
    learning_starts: Annotated[int, Field(ge=0)] = 1000
    """fits before the model is trusted to imagine"""


register("world_model", "ensemble", EnsembleSettings, "agent_node.world_models.ensemble.ensemble:Ensemble")
