"""Negotiations: how goals are agreed on, before an episode or while it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agent_node.settings.value_types import Positive
from protocols.runtime.component_registry import register
from protocols.runtime.settings_types import ComponentSettings, Duration


class NegotiationSettings(ComponentSettings):
    """Settings of every negotiation.

    Capabilities: `episode_goals` (the goals of the environment are agreed on before an episode) or `teacher_goals` (goals that teachers
    propose are exchanged during an episode).
    """

    capabilities: ClassVar[tuple[str, ...]] = ("episode_goals",)
    deadline: Annotated[Duration, Field(gt=0)] = 1.0
    """after it each member draws a goal of its own, and the episode does not count as negotiated"""

    def advice(self, goals: int) -> Iterator[tuple[str, str]]:
        """(key, text) of each value that is allowed and of little use in an environment with so many goals."""
        yield from ()


class CoordinationGameSettings(NegotiationSettings):
    """The leader draws a goal and sends one integer; the follower reads it by its own table (Nisioti et al., arXiv 2211.06082)."""

    kind: Literal["coordination_game"] = "coordination_game"
    messages: Annotated[int, Field(ge=1, le=65536)] = 30
    """vocabulary size; at least 1.4 times the number of goals learns fastest; 1: a message without information, for comparison"""
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

    def advice(self, goals: int) -> Iterator[tuple[str, str]]:
        """Small vocabularies, and keys that `update` does not use."""
        if self.messages < 1.4 * goals:
            fewer = f"fewer than the {goals} goals" if self.messages < goals else f"less than 1.4 times the {goals} goals"
            yield "messages", f"{self.messages} is {fewer}, and learns slowly; write {-(-14 * goals // 10)} or more"
        for key in ("batch", "epochs", "parts"):
            if self.update != "forgetting" and getattr(self, key) != type(self).model_fields[key].default:
                yield key, f"is read only with update: forgetting, and update is {self.update}"
        if self.update == "forgetting" and self.parts > self.batch:
            yield "parts", f"a batch of {self.batch} episodes can't be cut into {self.parts} parts; write {self.batch} or fewer"


register("negotiation", "coordination_game", CoordinationGameSettings, "agent_node.exchange.negotiation.coordination_game:CoordinationGame")
