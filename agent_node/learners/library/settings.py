"""Optimisers that several parts of an agent have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from agent_node.settings.value_types import Positive
from protocols.runtime.settings_types import Settings


class RMSPropSettings(Settings):
    """Of what learns by RMSProp, as the IMPALA family does."""

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """step size of RMSProp"""
    decay_steps: Annotated[int, Field(ge=1)] | None = None
    """own training steps within which the step size falls to 0, linearly; null: it stays"""
    max_grad_norm: Positive = 40.0
    """gradients are scaled down to this norm"""
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """of RMSProp's mean square"""
    epsilon: Positive = 0.01
    """RMSProp divides by the root of the mean square plus this"""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """of RMSProp"""
