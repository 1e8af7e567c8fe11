"""Settings of goal swap."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agent_node.exchange.negotiation.settings import NegotiationSettings
from agent_node.settings.value_types import NotNegative
from protocols.runtime.component_registry import register
from protocols.runtime.settings_types import Duration


class ContractNetSettings(NegotiationSettings):
    """Neighbours bid for the goals that an agent's teacher proposes, and give their own for them (Smith 1980)."""

    capabilities: ClassVar[tuple[str, ...]] = ("teacher_goals",)
    kind: Literal["contract_net"] = "contract_net"
    deadline: Annotated[Duration, Field(gt=0)] = 0.2
    """bids, and the answer to an award, are waited for no longer; everybody pursues its own goal meanwhile"""
    margin: NotNegative = 0.0
    """two goals change hands where that raises the sum of what the two policies expect of them by more than this"""


register("negotiation", "contract_net", ContractNetSettings, "agent_node.exchange.goal_swap.goal_swap:GoalSwap")
