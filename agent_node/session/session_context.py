"""Specification of an agent, and what its session offers its components once it has joined an environment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agent_node.settings.agent import AgentSettings
from agent_node.settings.exchange import ExchangeSettings
from protocols.averaging.averager import Neighbourhood
from protocols.conversations.conversation import Conversation
from protocols.datasets.settings import EPISODES, DatasetSettings
from protocols.runtime.clock import Clock
from protocols.runtime.errors import ResourceError
from protocols.runtime.node_start import NodeStart
from protocols.runtime.seeds import Stream, generator, named_generator
from protocols.runtime.settings_types import merge_overrides
from protocols.topology import topology_settings
from protocols.topology.communication_graph import make_graph

if TYPE_CHECKING:
    from agent_node.session.agent_components import AgentComponents
    from agent_node.session.agent_session import PeerConversations


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
    dataset: DatasetSettings | None = None
    """what it learns from instead of its own episodes"""
    init_from: Path | None = None
    """directory of the checkpoints of another run from which its learner and world model begin"""
    recording: Path | None = None
    """directory of its training episodes; None: they are not kept"""


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
        dataset_of(configuration),
        initial_checkpoints(start.node, configuration),
        start.node_directory / EPISODES if configuration.get("record_episodes") else None,
    )


def initial_checkpoints(name: str, configuration: Mapping[str, Any]) -> Path | None:
    """Directory of the checkpoints with whose parameters the agent begins: of agent i mod n of the run `init_from`, which has n agents;
    None without it."""
    given = configuration.get("init_from")
    if given is None:
        return None
    try:
        count = int(json.loads((Path(given) / "config.json").read_text())["agents"]["count"])
    except (OSError, ValueError, KeyError) as error:
        raise ResourceError(f"init_from: {given} is no directory of a run ({error}); name one with config.json and nodes/") from None
    return Path(given) / "nodes" / f"agent-{int(name.rpartition('-')[2]) % count}" / "checkpoints"


def dataset_of(configuration: Mapping[str, Any]) -> DatasetSettings | None:
    """The dataset that agents learn from; None where they learn from their own episodes."""
    given = configuration.get("dataset")
    return None if given is None else DatasetSettings.model_validate(given)


def settings_of(name: str, configuration: Mapping[str, Any]) -> AgentSettings:
    """The settings of the agent of that name."""
    agents = dict(configuration["agents"])
    overrides = agents.pop("overrides")
    del agents["count"]
    return AgentSettings.model_validate(merge_overrides(agents, overrides.get(name, {})))


@dataclass
class SessionProgress:
    """Counts of an agent, kept up to date by its session."""

    updates: int = 0
    """batches that the learner has learnt from"""
    episodes: int = 0
    """own training episodes"""
    ticks: int = 0
    """the environment's tick"""
    learning: bool = True
    """whether training goes on; false in the final evaluation"""


@dataclass
class SessionContext:
    """An agent in its environment: specification, spaces, the other components by role, random streams, and conversations with peers."""

    agent_spec: AgentSpec
    components: AgentComponents
    """by role, with the features, the goals and the policy's shapes for which they were built"""
    members: list[str]
    """names of all agents of the run"""
    peers: PeerConversations
    clock: Clock
    resumed: bool = False
    """whether all agents go on from the same checkpoint"""
    progress: SessionProgress = field(default_factory=SessionProgress)

    def __post_init__(self) -> None:
        self.retries: np.random.Generator = generator(self.agent_spec.seed, self.name, Stream.TRANSPORT, self.components.stream_epoch)
        """the generator of jitter in retries that negotiation, hindsight and statistics share"""

    @property
    def name(self) -> str:
        """The agent's name."""
        return self.agent_spec.name

    @property
    def neighbourhood(self) -> Neighbourhood:
        """The agent's place in the communication graph."""
        return self.agent_spec.neighbourhood

    @property
    def episodes_remembered(self) -> int:
        """Number of episodes of which conversations keep state."""
        return max(4096, 4 * self.components.copies)

    def random(self, name: str) -> np.random.Generator:
        """A generator of the agent's own for any name, which differs after each restart from a checkpoint."""
        return named_generator(self.agent_spec.seed, self.name, name, self.components.stream_epoch)

    def converse(self, machine: Conversation[Any]) -> None:
        """Exchange messages with peers by this state machine from now on."""
        self.peers.add(machine, self.clock.now())
