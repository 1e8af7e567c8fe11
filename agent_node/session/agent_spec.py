"""Specification of an agent, from the configuration of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent_node.settings.agent import AgentSettings
from agent_node.settings.exchange import ExchangeSettings
from protocols.averaging.averager import Neighbourhood
from protocols.runtime.node_start import NodeStart
from protocols.runtime.override_merging import merge_overrides
from protocols.topology import topology_settings
from protocols.topology.communication_graph import make_graph


@dataclass(frozen=True)
class AgentSpec:
    """Name, seed, settings and place in the graph of one agent."""

    name: str
    seed: int
    settings: AgentSettings
    exchange: ExchangeSettings
    neighbourhood: Neighbourhood
    """its place in the communication graph"""
    incarnation: int = 0
    rejoin: bool = False
    """whether it returns to a run that continued without it"""


def agent_spec_of(start: NodeStart, configuration: Mapping[str, Any], rejoin: bool) -> AgentSpec:
    """This agent's settings, its overrides laid over those of all agents, and its place in the graph."""
    names = [f"agent-{i}" for i in range(configuration["agents"]["count"])]
    graph = make_graph(topology_settings(configuration["network"]["topology"]), names, start.seed)
    return AgentSpec(
        start.node,
        start.seed,
        settings_of(start.node, configuration),
        ExchangeSettings.model_validate(configuration["exchange"]),
        graph.neighbourhood(start.node),
        start.incarnation,
        rejoin,
    )


def settings_of(name: str, configuration: Mapping[str, Any]) -> AgentSettings:
    """The settings of the agent of that name."""
    agents = dict(configuration["agents"])
    overrides = agents.pop("overrides")
    del agents["count"]
    return AgentSettings.model_validate(merge_overrides(agents, overrides.get(name, {})))
