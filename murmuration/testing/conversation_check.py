"""Contract of conversations between agents."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from murmuration.testing.contract import Contract
from protocols.conversations.conversation import Conversation, EdgeConversation, Send
from protocols.runtime.errors import ConfigurationError
from protocols.wire.codec import decode, encode
from protocols.wire.message_registry import accepted
from protocols.wire.messages import Message

FORBIDDEN = {"socket", "zmq", "time", "datetime", "threading", "asyncio", "queue", "random", "multiprocessing", "subprocess"}
NAMES = ("agent-0", "agent-1", "agent-2")
TURNS = 40
MOST = 10_000
"""messages in a run of the check"""

Create = Callable[[str, Sequence[str]], Conversation[Any]]
Act = Callable[[Any, int, float], None]


def check_conversation(create: Create, act: Act) -> None:
    """Check the state machine of a conversation and its messages.

    Parameters:
        create: `create(name, neighbours)` returns the machine of one agent.
        act: `act(machine, turn, now)` lets the agent do what starts messages, in each of 40 turns; it may also do nothing.

    Three machines exchange messages over links that lose, repeat and reorder. Rules: all messages are registered with a route from agent
    to agent and listed in `message_types`; they pass the codec; equal inputs give equal outputs; `receive` raises nothing for messages of
    unknown senders, without frames or with frames of wrong types; `tick` before `wake()` sends nothing; no messages go to dead peers;
    the module imports no sockets, clocks, threads or random generators. Raises `ContractError`.
    """
    machine = create(NAMES[0], NAMES[1:])
    contract = Contract(f"conversation {type(machine).__name__}")
    fits = isinstance(machine, Conversation)
    contract.require(fits, "it is not a Conversation", "derive it from protocols.conversations.conversation.EdgeConversation")
    _messages(contract, machine)
    _imports(contract, type(machine))
    first, second = _Exchange(contract, create, act), _Exchange(contract, create, act)
    first.run()
    second.run()
    contract.require(first.sent, f"no machine sends anything in {TURNS} turns", "let `act` start messages")
    same = first.log == second.log
    contract.require(same, "equal inputs give different messages or events", "use the arguments `now`, and seeded generators only")
    _bad_messages(contract, create, first.sent)
    _dead_peers(contract, create, act)


def _messages(contract: Contract, machine: Conversation[Any]) -> None:
    types = getattr(machine, "message_types", ())
    contract.require(types, "message_types is empty", "list the messages that `receive` accepts")
    try:
        known = accepted("agent", "peer")
    except ConfigurationError as error:
        contract.broken(f"the registry of messages is broken: {error}", "correct the registration", error)
    for kind in types:
        fits = kind in known and "agent" in known[kind]
        cure = f'call register_conversation("name", route("peer", "agent", "agent", {kind.__name__}))'
        contract.require(fits, f"{kind.__name__} has no route from agent to agent on the channel peer", cure)


def _meet(contract: Contract, machine: Conversation[Any], peers: Sequence[str]) -> None:
    if isinstance(machine, EdgeConversation):
        for peer in peers:
            with contract.calling("peer_alive(peer, 1, now)"):
                machine.peer_alive(peer, 1, 0.0)


def _imports(contract: Contract, machine: type) -> None:
    source = inspect.getsource(sys.modules[machine.__module__])
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        found = FORBIDDEN & {name.partition(".")[0] for name in names}
        text = f"{machine.__module__} imports {', '.join(sorted(found))}"
        contract.require(not found, text, "take the time as an argument, and let the driver send and wait")


class _Exchange:
    """Three machines and the links between them, in virtual time."""

    def __init__(self, contract: Contract, create: Create, act: Act) -> None:
        self.contract, self.act = contract, act
        self.machines = {name: create(name, [other for other in NAMES if other != name]) for name in NAMES}
        self.random = np.random.default_rng(0)
        self.under_way: list[tuple[float, str, Send]] = []
        self.sent: list[tuple[str, Send]] = []
        self.log: list[tuple[float, str, str]] = []

    def run(self) -> None:
        for name, machine in self.machines.items():
            _meet(self.contract, machine, [other for other in NAMES if other != name])
        for turn in range(TURNS):
            now = float(turn)
            for name, machine in self.machines.items():
                with self.contract.calling("act(machine, turn, now)", "correct `act`, or the method that it calls"):
                    self.act(machine, turn, now)
                self.take(name, machine, now)
                self.waking(machine, now)
                with self.contract.calling("tick(now)"):
                    machine.tick(now)
                self.take(name, machine, now)
            self.arrivals(now)

    def waking(self, machine: Conversation[Any], now: float) -> None:
        """`tick` before `wake()` does nothing."""
        if machine.wake() > now:
            machine.tick(now)
            text = "tick sends or reports something before the time that wake() returns"
            self.contract.require(not machine.outgoing() and not machine.events(), text, "return the time of the next deadline from `wake`")

    def take(self, name: str, machine: Conversation[Any], now: float) -> None:
        for event in machine.events():
            self.log.append((now, name, repr(event)))
        for send in machine.outgoing():
            self.sent.append((name, send))
            fits = len(self.sent) < MOST
            self.contract.require(fits, f"more than {MOST} messages in {TURNS} turns", "limit answers and retries")
            text = f"a message goes to {send.dst!r}"
            self.contract.require(send.dst in NAMES and send.dst != name, text, "send to the neighbours that the machine was created with")
            with self.contract.calling(f"encoding {type(send.message).__name__}", "keep within the bounds of its fields"):
                decode([bytes(part) for part in encode(send.message, send.arrays)])
            self.log.append((now, name, repr((send.dst, send.message, {key: array.tobytes() for key, array in send.arrays.items()}))))
            for _ in range(1 + (self.random.random() < 0.2)):
                if self.random.random() > 0.2:
                    self.under_way.append((now + float(self.random.uniform(0, 3)), name, send))

    def arrivals(self, now: float) -> None:
        due = sorted((item for item in self.under_way if item[0] <= now), key=lambda item: item[0])
        self.under_way = [item for item in self.under_way if item[0] > now]
        for _, src, send in due:
            receive(self.contract, self.machines[send.dst], src, send.message, send.arrays, now)
            self.take(send.dst, self.machines[send.dst], now)


def receive(
    contract: Contract, machine: Conversation[Any], src: str, message: Message, arrays: Mapping[str, NDArray[Any]], now: float
) -> None:
    """Pass a message to `machine.receive`; `ContractError` where it raises, since a received message must never end a process."""
    with contract.calling(f"receive({src!r}, {type(message).__name__}, ...)", "check before changing anything and raise BadMessage"):
        machine.receive(src, message, {name: array.copy() for name, array in arrays.items()}, now)


def _bad_messages(contract: Contract, create: Create, sent: Sequence[tuple[str, Send]]) -> None:
    machine = create(NAMES[0], NAMES[1:])
    _meet(contract, machine, NAMES[1:])
    for _, send in sent[:50]:
        unknown = "agent-99"
        receive(contract, machine, unknown, send.message, send.arrays, 0.0)
        answered = [one for one in machine.outgoing() if one.dst == unknown]
        contract.require(not answered, "a message of an unknown sender is answered", "raise BadMessage for senders that are no neighbours")
        machine.events()
        for arrays in _damaged(send.arrays):
            receive(contract, machine, NAMES[1], send.message, arrays, 0.0)


def _damaged(arrays: Mapping[str, NDArray[Any]]) -> list[dict[str, NDArray[Any]]]:
    damaged: list[dict[str, NDArray[Any]]] = []
    for name, array in arrays.items():
        rest = {key: value for key, value in arrays.items() if key != name}
        shorter: NDArray[Any] = array[..., :-1] if array.ndim and array.shape[-1] else np.zeros(1, array.dtype)
        damaged += [rest, {**rest, name: array.astype(np.complex64).view(np.float32)}, {**rest, name: shorter}]
        if array.dtype.kind == "f":
            damaged.append({**rest, name: np.full_like(array, np.nan)})
    return damaged


def _dead_peers(contract: Contract, create: Create, act: Act) -> None:
    machine = create(NAMES[0], NAMES[1:])
    if not isinstance(machine, EdgeConversation):
        return
    _meet(contract, machine, NAMES[1:])
    with contract.calling("peer_dead(peer, now)"):
        machine.peer_dead(NAMES[2], 1.0)
    machine.outgoing()
    for turn in range(TURNS):
        with contract.calling("act(machine, turn, now)"):
            act(machine, turn, 2.0 + turn)
            machine.tick(2.0 + turn)
        late = [send for send in machine.outgoing() if send.dst == NAMES[2]]
        contract.require(not late, "messages go to a dead peer", "remove the peer in `peer_dead`")
