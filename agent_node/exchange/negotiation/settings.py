"""Negotiations: how goals are agreed on, before an episode or while it goes on."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agent_node.settings.value_types import Positive
from protocols.runtime.component_registry import register
from protocols.runtime.settings_types import Duration, Settings


class NegotiationSettings(Settings):
    """What every negotiation has in common."""

    swaps_teacher_goals: ClassVar[bool] = False
    """whether it is about goals that teachers set while an episode goes on; else about the environment's, before it begins"""
    kind: str
    deadline: Annotated[Duration, Field(gt=0)] = 1.0
    """after it both sides go on with goals of their own, and the episode does not count as negotiated"""


class CoordinationGameSettings(NegotiationSettings):
    """The leader draws a goal and sends one integer; the follower reads it by its own table (Nisioti et al., arXiv 2211.06082)."""

    kind: Literal["coordination_game"] = "coordination_game"
    messages: Annotated[int, Field(ge=1, le=65536)] = 30
    """vocabulary size; at least 1.4 times the number of goals learns fastest; 1: a message that says nothing, for comparison"""
    inverse_temperature: Positive = 30.0
    """kappa: both choices are drawn with probability proportional to exp(kappa * table value)"""
    step_size: Annotated[float, Field(gt=0, le=1)] = 0.1
    """alpha: how far a table value moves toward the episode's reward"""
    update: Literal["inhibition", "forgetting", "visited_cell"] = "inhibition"
    """inhibition (rule E): after a success other cells of the same row and column shrink by 1 - alpha; forgetting (rule A, as published):
    once every `batch` episodes, many times over, all cells move toward their mean reward in a part of the batch, or toward 0 where it has
    none; visited_cell (rule D): only the used cell moves"""
    batch: Annotated[int, Field(ge=1, le=1_000_000)] = 240
    """forgetting: negotiated episodes between two updates of the table; more goals need more"""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 30
    """forgetting: how often an update goes through the batch"""
    parts: Annotated[int, Field(ge=1, le=1000)] = 6
    """forgetting: random parts of equal size that each time it is cut into; the table moves after every part"""


register("negotiation", "coordination_game", CoordinationGameSettings, "agent_node.exchange.negotiation.coordination_game:CoordinationGame")
