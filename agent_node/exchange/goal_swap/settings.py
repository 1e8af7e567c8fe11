"""Settings of goal swap."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agent_node.exchange.negotiation.settings import NegotiationSettings
from agent_node.settings.value_types import NotNegative
from protocols.runtime.component_registry import register
from protocols.runtime.settings_types import Duration


class ContractNetSettings(NegotiationSettings):
    """Neighbours bid for the goals that an agent's teacher proposes, and exchange their own for them (Smith 1980)."""

    capabilities: ClassVar[tuple[str, ...]] = ("teacher_goals",)
    kind: Literal["contract_net"] = "contract_net"
    deadline: Annotated[Duration, Field(gt=0)] = 0.2
    """how long bids, and the answer to an award, are waited for; agents pursue their own goals meanwhile"""
    margin: NotNegative = 0.0
    """two goals are exchanged where that raises the sum of the returns that the two policies expect by more than this"""


register("negotiation", "contract_net", ContractNetSettings, "agent_node.exchange.goal_swap.goal_swap:GoalSwap")
