"""A real run whose nodes receive everything twice: `python -m tests.runs.replaying DIRECTORY`.

Agents, environment server and run server are the real ones. In each of them every so often a message that came before comes again: as
bytes, at the transport, where nothing may change; and behind the guard, at the node's own `_handle`, where answers may be sent
again, but no conversation may change. What changed all the same is written to `replay.json`.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import sys
from collections import Counter, defaultdict, deque
from pathlib import Path
from typing import Any

from agent_node.process.agent_process import AgentNode
from agent_node.session.roles import GOAL_NEGOTIATION
from env_server.serving.environment_server import EnvironmentServer
from env_server.serving.real_time_server import RealTimeServer
from orchestrator.launch.engine import PRELOAD
from orchestrator.run_server.run_server import serve
from protocols.conversations.stepping.stepping_messages import Offer
from protocols.runtime import logs
from protocols.runtime.errors import BadMessage, ExitCode
from protocols.runtime.node_control import enter
from protocols.runtime.node_start import NodeStart
from protocols.transport import ReceivedMessage
from protocols.transport.socket_loop import SocketLoop
from protocols.wire import codec

KEPT = 40
"""messages of each type and sender that are kept; a new one takes the place of any"""
RECENT = 6
"""messages of each type and sender that come again behind the guard: conversations forget episodes that are long over"""
EVERY = 7

_random = random.Random(os.getpid())
_arrived = SocketLoop._arrived
_report: dict[str, Any] = {"bytes": defaultdict(Counter), "handled": Counter(), "changed": []}
_tapes: dict[tuple[str, str, int], list[Any]] = defaultdict(list)


def _keep(tape: list[Any], item: Any) -> None:
    if len(tape) < KEPT:
        tape.append(item)
    else:
        tape[_random.randrange(KEPT)] = item


AT_MOST = 3
"""times that a message comes again until nothing else has happened meanwhile"""


def _transport_state(loop: SocketLoop) -> dict[str, Any]:
    guard = loop.guard
    speakers = {key: (s.incarnation, s.role, id(s.owner), s.highest, list(s.gaps)) for key, s in guard._speakers.items()}
    routes = {key: (destination.route, destination.endpoint) for key, destination in loop.destinations.items()}
    links = {key: (link.received_messages, link.received_bytes) for key, link in loop.link_counters.items()}
    return {
        "speakers": speakers, "incarnations": dict(guard._incarnations), "version": guard._version, "routes": routes, "links": links,
        "arrived": loop.inbox._arrived_bytes,
    }  # fmt: skip


def arrived(self: SocketLoop, socket: Any, channel: Any, route: bytes | None, parts: list[codec.Buffer], size: int, user: str = "") -> None:
    """As the real one; sometimes one of the earlier messages comes again."""
    parts = [bytes(part) for part in parts]
    _arrived(self, socket, channel, route, parts, size, user)
    try:
        message, _ = codec.decode(parts)
    except BadMessage:
        return
    _keep(_tapes[type(message).__name__, message.src, message.inc], (socket, channel, route, parts, size, user))
    if _random.randrange(EVERY):
        return
    (kind, src, _), tape = min(
        _random.sample(list(_tapes.items()), min(4, len(_tapes))), key=lambda item: _report["bytes"][item[0][0]].total()
    )
    again = _random.choice(tape)
    if again[0].closed:
        return
    # The node's own thread follows rosters and takes messages meanwhile; what a repetition changes, it changes every time.
    changed: list[list[str]] = []
    while len(changed) < AT_MOST and (found := _changed_by(self, kind, again)):
        changed.append(found)
    if len(changed) == AT_MOST:
        _report["changed"].append(f"bytes of {kind} from {src}: {changed}")


def _changed_by(loop: SocketLoop, kind: str, again: Any) -> list[str]:
    """What another arrival of a message changes of the transport, and what is counted besides one repetition."""
    before, counters = _transport_state(loop), Counter(loop.counters)
    _arrived(loop, *again)
    counted = +(Counter(loop.counters) - counters)
    # Another thread may count something of its own meanwhile (what it sends): only what is received concerns us.
    received = {name: count for name, count in counted.items() if name.startswith("rx.")}
    _report["bytes"][kind][next(iter(received), "nothing")] += 1
    after = _transport_state(loop)
    wrong = [f"{received}"] if received not in ({"rx.dup": 1}, {"rx.stale": 1}) else []
    return wrong + [part for part in before if before[part] != after[part]]


_NO_STATE = ("counters", "_sends", "_timers", "_acknowledgements", "_wake", "_round_deadline", "_early")
"""what was counted, pending messages, and when: repetitions are answered, may teach how long answers take, and what
came too early waits anew"""


def _state(name: str, thing: Any) -> dict[str, bytes]:
    """The whole state of a conversation, part by part, except its counters, and its pending messages."""
    state = {}
    for part, value in vars(thing).items():
        if part not in _NO_STATE:
            buffer = io.BytesIO()
            _Pickler(buffer).dump(value)
            state[f"{name}.{part}"] = buffer.getvalue()
    return state


class _Pickler(pickle._Pickler):  # the one in Python: the memo of the fast one cannot be controlled
    """Functions and caches are no state; nor is whether two equal texts are one object."""

    def memoize(self, obj: Any) -> None:
        if not isinstance(obj, str | bytes | tuple | frozenset):
            super().memoize(obj)

    def persistent_id(self, obj: Any) -> Any:
        return id(obj) if callable(obj) and not isinstance(obj, type) else None


class _Twice:
    """Hands messages to the node again, behind the guard's back."""

    def __init__(self) -> None:
        self.tapes: dict[tuple[str, str], deque[tuple[ReceivedMessage, Any]]] = defaultdict(lambda: deque(maxlen=RECENT))
        self.heard: Counter[str] = Counter()

    @staticmethod
    def _life(node: Any, src: str) -> Any:
        return node.neighbours._incarnations.get(src) if isinstance(node, AgentNode) else node._incarnations.get(src)

    def hear(self, node: Any, received: ReceivedMessage, handle: Any, state: Any) -> None:
        kind = type(received.message).__name__
        self.heard[kind] += 1
        # What is rare, as a roster is, is looked at whenever it comes: else a run may end before any of it was kept.
        if self.heard[kind] > RECENT and _random.randrange(EVERY):
            handle(received)
            return
        first, life = state(node), self._life(node, received.src)
        handle(received)
        if state(node) != first:  # what had no effect the first time (it came before its time) may have it now
            self.tapes[kind, received.src].append((received, life))
        if not self.tapes:
            return
        (kind, src), tape = min(
            _random.sample(list(self.tapes.items()), min(4, len(self.tapes))), key=lambda item: _report["handled"][item[0][0]]
        )
        again, life = _random.choice(tape)
        if life != self._life(node, src):
            return  # the conversations have taken leave of it, and met it anew
        entry = node.control.roster.get(src)
        if entry is not None and (entry.inc != again.message.inc or entry.state != "alive"):
            return  # an earlier incarnation, or one that is over: the guard handles it
        if isinstance(again.message, Offer) and not node.session.components[GOAL_NEGOTIATION]._agreements.keys() >= set(
            again.arrays["episode"].tolist()
        ):
            return  # an agent drops agreements when the episode is over
        before = state(node)
        handle(again)
        after = state(node)
        _report["handled"][kind] += 1
        if (what := [name for name in before if before[name] != after[name]]) != []:
            _report["changed"].append(f"{kind} from {src} changed {what}")


def _control(node: Any) -> bytes:
    control = node.control
    return pickle.dumps((control._version, sorted(control.roster), control._commands, control._done, sorted(control._events)))


def _agent_state(node: AgentNode) -> dict[str, bytes]:
    state = {"control": _control(node), **_state("stepping", node.stepping)}
    for conversation in node.neighbours._conversations:
        state |= _state(type(conversation).__name__, conversation)
    if node.session is not None:
        state["learnt"] = pickle.dumps((node.session.trainer.updates, node.metrics.episodes, node.metrics.steps))
    return state


def _server_state(node: EnvironmentServer) -> dict[str, bytes]:
    state = {"control": _control(node), **_state("stepping", node.stepping), "lives": pickle.dumps(sorted(node._incarnations.items()))}
    if node.goal_assignment is not None:
        state["goals"] = pickle.dumps(node.goal_assignment.offers.unanswered)
    return state


class Agent(AgentNode):
    """Receives everything twice."""

    twice = _Twice()

    def _handle(self, received: ReceivedMessage) -> None:
        self.twice.hear(self, received, super()._handle, _agent_state)


class Server(RealTimeServer):
    """Receives everything twice."""

    twice = _Twice()

    def _handle(self, received: ReceivedMessage) -> None:
        self.twice.hear(self, received, super()._handle, _server_state)


def _write(directory: Path) -> None:
    (directory / "replay.json").write_text(json.dumps(_report))


def main(start: NodeStart) -> int:
    """Entry point of every node."""
    SocketLoop._arrived = arrived  # type: ignore[method-assign]
    node = Agent(enter(start, "agent", "peer")) if start.role == "agent" else Server(enter(start, "env", "env"))
    try:
        node.run()
    finally:
        _write(start.node_directory)
    return ExitCode.OK


if __name__ == "__main__":
    logs.configure()
    SocketLoop._arrived = arrived  # type: ignore[method-assign]
    directory = Path(sys.argv[1])
    try:
        code = serve(directory, 60.0, {"agent": "tests.runs.replaying:main", "env": "tests.runs.replaying:main"}, PRELOAD)
    finally:
        _write(directory)
    sys.exit(code)
