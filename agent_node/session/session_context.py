"""What a session offers its components once the agent has joined an environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from agent_node.contracts import PolicySpec
from agent_node.session.observation_features import Features
from agent_node.session.roles import Kind, Role
from agent_node.session.training_batches import GoalEncodings
from protocols.averaging.averager import Neighbourhood
from protocols.conversations.conversation import Conversation
from protocols.runtime.clock import Clock
from protocols.runtime.seeds import Stream, generator, named_generator
from protocols.spaces.goal_space import GoalSpace

if TYPE_CHECKING:
    from agent_node.exchange.peer_conversations import PeerConversations
    from agent_node.session.agent_components import AgentComponents
    from agent_node.session.agent_spec import AgentSpec


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
    def copies(self) -> int:
        """K, the number of environment copies."""
        return self.components.copies

    @property
    def features(self) -> Features:
        """How observations become the inputs of networks."""
        return self.components.features

    @property
    def goal_space(self) -> GoalSpace | None:
        """The environment's goals; None without goals."""
        return self.components.space

    @property
    def policy_spec(self) -> PolicySpec:
        """Shapes of the policy's inputs and actions."""
        return self.components.policy_spec

    @property
    def encodings(self) -> GoalEncodings:
        """`[|G| + 1, L]`: the encoding of each goal; the last row is that of no goal."""
        return self.components.encodings

    @property
    def episodes_remembered(self) -> int:
        """Number of episodes of which conversations keep state."""
        return max(4096, 4 * self.copies)

    def get(self, role: Role[Kind]) -> Kind | None:
        """The component of a role; None where the agent has none."""
        return self.components.get(role)

    def random(self, name: str) -> np.random.Generator:
        """A generator of the agent's own for any name, which differs after each restart from a checkpoint."""
        return named_generator(self.agent_spec.seed, self.name, name, self.components.stream_epoch)

    def converse(self, machine: Conversation[Any]) -> None:
        """Exchange messages with peers by this state machine from now on."""
        self.peers.add(machine, self.clock.now())
