"""An agent begins with the learner of another run's checkpoint, and with nothing else of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from agent_node.learners.settings import DoubleDQNSettings
from agent_node.session import checkpoints
from agent_node.session.agent_components import AgentComponents
from agent_node.session.agent_session import AgentMetrics, AgentSession, PeerConversations
from agent_node.session.roles import LEARNER, REPLAY
from agent_node.session.session_context import AgentSpec, initial_checkpoints
from agent_node.settings.agent import AgentSettings
from agent_node.settings.exchange import ExchangeSettings
from protocols.averaging.averager import FixedNeighbourhood
from protocols.conversations.stepping.stepping_messages import Joined
from protocols.runtime.clock import LogicalClock
from protocols.runtime.errors import ResourceError
from protocols.runtime.telemetry import TimeShares
from protocols.spaces.layout import Layout
from protocols.transport import Identity, Transport

LAYOUT = Layout(shape=[3], actions=[4])
Join = Callable[..., AgentSession]


def settings(hidden: int = 8) -> AgentSettings:
    return AgentSettings(learner=DoubleDQNSettings(hidden=[hidden], batch_size=8), goals=None)


@pytest.fixture
def earlier(tmp_path: Path) -> AgentComponents:
    """Agent 1 of a run of two agents, with a checkpoint."""
    (tmp_path / "config.json").write_text('{"agents": {"count": 2}}')
    components = AgentComponents(settings(), ExchangeSettings(), LAYOUT, 1, "agent-1", 7)
    tensors, manifest = components.state()
    checkpoints.write(tmp_path / "nodes/agent-1/checkpoints", 5, tensors, {"updates": 5, **manifest}, keep=1)
    return components


@pytest.fixture
def join() -> Iterator[Join]:
    transports = []

    def made(init_from: Path | None, hidden: int = 8) -> AgentSession:
        transports.append(Transport(Identity("test", "agent-3")))
        place = FixedNeighbourhood({})  # type: ignore[arg-type]
        spec = AgentSpec("agent-3", 0, settings(hidden), ExchangeSettings(), place, init_from=init_from)
        peers = PeerConversations(transports[-1], "agent-3", [])
        joined = Joined(copies=1, layout=LAYOUT, members=["agent-3"], tick=0, party=1)
        return AgentSession(spec, joined, peers, AgentMetrics(), TimeShares(), LogicalClock(0.01))

    yield made
    for transport in transports:
        transport.close(0)


def test_the_learner_is_that_of_the_checkpoint(earlier: AgentComponents, join: Join, tmp_path: Path) -> None:
    """Agent 3 takes agent 3 mod 2."""
    directory = initial_checkpoints("agent-3", {"init_from": str(tmp_path)})
    assert directory == tmp_path / "nodes/agent-1/checkpoints"
    begun, anew = join(directory).components, join(None).components
    mine, other, plain = (components[LEARNER].state_dict() for components in (begun, earlier, anew))
    assert mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)
    assert any(not torch.equal(mine[name], plain[name]) for name in mine)
    assert len(begun[REPLAY]) == 0
    for key, random in begun.random.items():
        assert random.bit_generator.state == anew.random[key].bit_generator.state, "streams are those of the new run"


def test_what_does_not_fit_or_exist(earlier: AgentComponents, join: Join, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="does not fit this configuration"):
        join(tmp_path / "nodes/agent-1/checkpoints", hidden=16)
    with pytest.raises(ResourceError, match="has no checkpoint"):
        join(tmp_path / "nodes/agent-0/checkpoints")
    with pytest.raises(ResourceError, match="is no directory of a run"):
        initial_checkpoints("agent-3", {"init_from": str(tmp_path / "none")})
