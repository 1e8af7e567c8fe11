"""Lock-step under loss, repetition, reordering, deaths of agents and of the server: every transition once, in order, rewards as in the
ledger; and five ways to spoil the protocol, each of which is caught."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from protocols.conversations.conversation import Array, Send
from protocols.conversations.stepping.stepping import StepClient, StepServer
from protocols.conversations.stepping.stepping_messages import Act, Observation
from protocols.simulation.simulated_network import Network, Node
from protocols.simulation.simulated_stepping import SERVER, AgentScript, LedgerLine, ServerScript, reward
from protocols.wire.messages import Message
from tests.protocols.simulation.lockstep_world import World, catch

BLOCK = 100


@pytest.mark.parametrize("block", range(3))
def test_every_transition_counts_once(block: int) -> None:
    assert catch(range(BLOCK * block, BLOCK * (block + 1))) is None


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("block", range(20))
def test_every_transition_counts_once_in_ten_thousand_worlds(block: int) -> None:
    assert catch(range(500 * block, 500 * (block + 1))) is None


def test_the_worlds_are_bad_enough() -> None:
    """Faults of every kind do happen, and the agents still keep most of what they did."""
    lost = repeated = retries = faults = servers = kept = 0
    for seed in range(30):
        world = World(seed)
        world.run()
        counters = world.network.counters
        lost, repeated = lost + counters["lost.loss"], repeated + counters["duplicated"]
        faults, servers = faults + world.faults, servers + (world.ledger[-1].server > 1)
        kept += sum(len(memory.kept) for memory in world.memories)
        retries += sum(n.script.retries for n in world.network.nodes.values() if isinstance(n.script, AgentScript))
    assert min(lost, repeated, retries) > 200 and kept > 1500 and faults > 30 and servers > 5


def test_one_seed_is_one_world() -> None:
    first, second = World(7), World(7)
    first.run()
    second.run()
    assert first.ledger == second.ledger and first.memories == second.memories
    assert first.network.counters == second.network.counters and first.network.now == second.network.now


# --- the checker can fail -----------------------------------------------------------------------------------------------------------


class EchoesRequests(ServerScript):
    """Answers carry the id of the request that counted."""

    def join(self, network: Network, node: Node) -> None:
        super().join(network, node)
        self.requests: dict[tuple[str, int], str] = {}

    def _act(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        if isinstance(message, Act):
            self.requests.setdefault((src, message.tick), message.rid)
        super()._act(src, message, arrays, now)

    def send_observation(self, agent: str, tick: int, frames: Mapping[str, Array]) -> None:
        rid = self.requests.get((agent, tick - 1), "")
        self.network.send(self.node, Send(agent, Observation(tick=tick, rid=rid), frames))


class FreshRequests(AgentScript):
    """Every retry is a request of its own, and only the answer to the newest is taken."""

    rid = ""

    def send_action(self) -> None:
        self.rid = f"{self.node.name}/{self.stepping.tick}/{self.retries}"
        self.network.send(self.node, Send(SERVER, Act(tick=self.stepping.tick, rid=self.rid), {"action": self._action}))

    def _observation(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        if message.rid in ("", self.rid):  # those that answer no request come when it joins, or after a substituted act
            super()._observation(src, message, arrays, now)


class NoDeduplication(StepServer):
    """A repeated act is a new one, for the tick that is open."""

    def receive(self, agent: str, tick: int, action: Any) -> Any:
        return super().receive(agent, max(tick, self.tick), action)


class CountsTwice(ServerScript):
    machine = NoDeduplication


class NoOrder(StepClient):
    """Whatever arrives is the newest."""

    def observed(self, server: str, tick: int, now: float) -> bool:
        if tick < self.tick:
            self.tick = tick - 1
        return super().observed(server, tick, now)


class TakesAnyOrder(AgentScript):
    machine = NoOrder


class NoIncarnations(ServerScript):
    """An agent that is present need not join again, even if it is another process; messages of a former one are not dropped either."""

    def _join(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        if src in self.stepping.present:
            self.incarnations[src] = self._answer_to()
        super()._join(src, message, arrays, now)


class AnswersFirst(ServerScript):
    """The ledger is written after the answers."""

    def _conclude(self, entry: LedgerLine, applied: Mapping[str, int]) -> None:
        self._answer(entry, applied)
        self.point()
        self.ledger.append(entry)


MUTATIONS = {
    "fresh id per retry": {"server": EchoesRequests, "agent": FreshRequests},
    "no deduplication": {"server": CountsTwice},
    "no order": {"agent": TakesAnyOrder},
    "no incarnation": {"server": NoIncarnations, "stale": False},
    "answer before ledger": {"server": AnswersFirst},
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_protocol_is_caught(name: str) -> None:
    found = catch(range(1000), **MUTATIONS[name])  # type: ignore[arg-type]
    assert found is not None


def test_answers_with_request_ids_alone_break_nothing() -> None:
    """What is caught above is the fresh id, not the echo."""
    assert catch(range(30), server=EchoesRequests) is None


def test_the_environment_pays_by_the_action() -> None:
    assert len({reward(1, 1, "agent-0", action) for action in range(100)}) > 50
    assert np.mean([reward(1, tick, "agent-0", 5) for tick in range(1000)]) == pytest.approx(127.5, abs=10)
