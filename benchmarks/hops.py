"""Through how many files of the packages do one transition and one negotiated goal pass in the main configuration?

    python benchmarks/hops.py
    python benchmarks/hops.py exchange.consensus=null     # any override of configs/4agents_ring.yaml

The environment server and two agents run in one process, each in a thread, connected by their real transports. A profile function
(`sys.setprofile`) inspects the calls of functions of `protocols`, `env_server` and `agent_node`.

- A file is a hop of a datum if one of its functions has the datum in its arguments, in its local variables when it returns, or in its
  return value, or calls a function that returns it. Containers (dictionaries, sequences, dataclasses, messages) are searched to depth 3;
  attributes of other objects are not. Functions with an empty body do not count.
- A hand-over leads from file A to file B if a function of A passes the datum to a function of B as an argument (other than `self`; and not
  as a number that is the only argument), or returns it to one. What a file stores and hands over later is the same datum; it leads from A
  to B too if a method in A and later one in B, of the same object, have the datum (a class and its base class in two files).
- A hop is on the path if hand-overs lead from the origin to it and from it to an end. The other hops are beside the path: they use the
  datum for something of their own (sums of rewards, counts), or for a computation of which they return something else.

The number of hops is the number of files that a reader meets who follows the datum; that of the path is a lower bound for it.

The data:

- Transition: the reward 0.123457, written into the outcome of one step of one body, as a number, in an array or tensor, or as four bytes of
  an encoded message. Its end is the learner's update.
- Negotiated goal: from the return of `GoalSource.propose` at the leader. Its ends are the marks from which episodes are relabelled, once
  the partners' traces are attached to the episode, and the metrics of agreement. The datum is the episode's number (above 2**53, in an
  array, or as eight bytes of an encoded message); an array that shares memory with the recorded episode; and, in a function that a function
  with the number calls, the number of the goal itself or of its message (above those of copies, so that it is no other number).
"""

from __future__ import annotations

import argparse
import json
import signal
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, is_dataclass
from inspect import CO_VARARGS, CO_VARKEYWORDS
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import msgspec
import networkx as nx
import numpy as np
import torch
import zmq

from agent_node.memory.episode import Episode
from agent_node.process.agent_main import agent_node
from env_server.serving.server_main import environment_server
from orchestrator.config.loader import load
from orchestrator.config.resolved_configuration import canonical_json
from protocols.conversations.control.control_messages import Command
from protocols.conversations.membership.membership_messages import Hello, Roster, RosterEntry, Welcome
from protocols.runtime.node_start import RUN_SERVER, NodeStart
from protocols.transport import Identity, Transport, TransportOptions

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = tuple(f"{REPOSITORY / package}/" for package in ("protocols", "env_server", "agent_node"))
DEPTH = 3
DEADLINE = 240.0
"""seconds for everything"""
INCARNATION = 2**14
"""of the environment server: numbers of episodes begin with (incarnation - 1) 2**40"""
REWARD, OTHER_REWARD = np.float32(0.123457), np.float32(0.25)
"""the second one, of the step before, makes the sum of the episode's rewards another number"""
COPIES = 4
SMALL = (
    "agents.count=2", "network.topology.kind=path", f"environment.copies={COPIES}", "environment.options.horizon=12",
    "environment.deadline=60s", "environment.goal_deadline=60s", "exchange.negotiation.deadline=30s", "exchange.negotiation.messages=1000",
    "evaluation.episodes=0", "evaluation.aligned=false", "agents.learner.hidden=[8]", "agents.learner.learning_starts=100",
    "agents.learner.batch_size=2048", "agents.world_model.hidden=[8]", "agents.world_model.held_out=0", "metrics.every=500ms",
)  # fmt: skip
"""small networks, short episodes, no deadline that tracing would miss; no episodes are held out, and batches contain every transition"""
_EMPTY = 6
"""bytes of the code of a function that only returns a constant"""


@dataclass
class Trace:
    """Functions that had contact with a datum, and its hand-overs between files."""

    name: str
    on: bool = False
    complete: bool = False
    origin: str = ""
    ends: set[str] = field(default_factory=set)
    contacts: dict[str, list[str]] = field(default_factory=dict)
    """functions by file, in the order of first contact"""
    handovers: set[tuple[str, str]] = field(default_factory=set)
    holders: dict[tuple[type, int], CodeType] = field(default_factory=dict)
    """the first method with contact of each object"""

    def touch(self, code: CodeType) -> None:
        """A function has contact."""
        functions = self.contacts.setdefault(_file(code), [])
        if (name := code.co_qualname.split(".<locals>")[0]) not in functions:
            functions.append(name)

    def hand_over(self, source: CodeType | None, target: CodeType | None) -> None:
        """A function passes or returns the datum to another."""
        for code in (source, target):
            if code is not None:
                self.touch(code)
        if source is not None and target is not None and _file(source) != _file(target):
            self.handovers.add((_file(source), _file(target)))

    def hold(self, holder: object, code: CodeType) -> None:
        """A method of `holder` has contact: an earlier one may have stored the datum for it."""
        self.hand_over(self.holders.setdefault((type(holder), id(holder)), code), code)

    @property
    def path(self) -> list[str]:
        """Hops between the origin and the ends, both included, in the order of first contact."""
        graph = nx.DiGraph(self.handovers)
        graph.add_nodes_from([self.origin, *self.contacts, *self.ends])
        after = {self.origin} | nx.descendants(graph, self.origin)
        before = self.ends.union(*(nx.ancestors(graph, end) for end in self.ends))
        return [file for file in self.contacts if file in after & before]

    def report(self) -> str:
        """The counts and the files, one a line."""
        path = self.path
        lines = [f"{self.name}: {len(self.contacts)} hops, {len(path)} of them on the path"]
        for place, (file, functions) in enumerate(self.contacts.items(), start=1):
            lines.append(f"  {place:2} {'path  ' if file in path else 'beside'} {file}: {', '.join(functions)}")
        return "\n".join(lines)


def _file(code: CodeType) -> str:
    return str(Path(code.co_filename).relative_to(REPOSITORY))


class Datum:
    """A value that is recognised wherever it occurs."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.value: float | None = None
        self.memory: list[np.ndarray[Any, Any]] = []
        self._patterns: tuple[bytes, ...] = ()

    def set_value(self, value: np.float32) -> None:
        """A float32."""
        self.value = float(value)
        self._patterns = (struct.pack("<f", value),)

    def set_number(self, number: int) -> None:
        """A 64-bit integer."""
        self.number = number
        self._patterns = (struct.pack("<q", number), struct.pack(">q", number))

    def inside(self, found: Any, depth: int = DEPTH) -> bool:
        """Whether it occurs in a value, or in a container to that depth."""
        match found:
            case None | bool() | str() | type():
                return False
            case int() | float() | np.number():
                return self.number == found if isinstance(found, int | np.integer) else self.value == found
            case np.ndarray():
                return self._in_array(found)
            case torch.Tensor():
                return self.value is not None and found.is_floating_point() and bool((found.detach() == self.value).any())
            case bytes() | bytearray() | memoryview() | zmq.Frame():
                encoded = found.bytes if isinstance(found, zmq.Frame) else bytes(found)
                return any(pattern in encoded for pattern in self._patterns)
        return depth > 0 and any(self.inside(item, depth - 1) for item in _items(found))

    def _in_array(self, array: np.ndarray[Any, Any]) -> bool:
        if array.dtype == np.uint8 and any(pattern in array.tobytes() for pattern in self._patterns):
            return True
        if self.value is not None and array.dtype.kind == "f":
            return bool((array == self.value).any())
        if self.number is not None and array.dtype.kind in "iu" and array.dtype.itemsize == 8 and (array == self.number).any():
            return True
        return any(np.may_share_memory(array, other) for other in self.memory)


def _items(found: Any) -> Iterable[Any]:
    """The contents of a container; nothing of other objects."""
    if isinstance(found, dict):
        return [*found.keys(), *found.values()]
    if isinstance(found, list | tuple | set | frozenset):
        return list(found)
    if isinstance(found, msgspec.Struct):
        return [getattr(found, name) for name in found.__struct_fields__]
    if is_dataclass(found):
        return [value for name in found.__dataclass_fields__ if (value := getattr(found, name, None)) is not None]
    return ()


class Profiler:
    """Profile function of all threads."""

    def __init__(self) -> None:
        self.transition, self.goal = Trace("transition"), Trace("negotiated goal")
        self._reward, self._episode = Datum(), Datum()
        self._reward.set_value(REWARD)
        self._goals: set[int] = set()
        self._lock = threading.RLock()
        self._seen: set[tuple[str, CodeType, CodeType | None, bool]] = set()
        self._place: tuple[int, ...] | None = None
        """copy and body of the planted reward"""
        self._attached = False
        self.armed = False
        """whether the data may be chosen"""

    @property
    def complete(self) -> bool:
        """Whether both data have reached their ends."""
        return self.transition.complete and self.goal.complete

    def __call__(self, frame: FrameType, event: str, result: Any) -> None:
        """Look at a call or a return."""
        if not self.armed or event not in ("call", "return") or not _counts(frame.f_code):
            return
        with self._lock:
            returned = event == "return"
            if returned:
                self._choose(frame, result)
            if self.transition.on:
                self._record(self.transition, self._reward.inside, frame, returned, result)
                self._end_transition(frame, returned)
            if self.goal.on:
                self._learn_values(frame, returned, result)
                self._record(self.goal, self._episode.inside, frame, returned, result)
                self._end_goal(frame, returned, result)

    def _choose(self, frame: FrameType, result: Any) -> None:
        """Plant the reward at the first step of an acting body; take the first goal that a leader draws for a negotiation."""
        name = frame.f_code.co_name
        if name == "step_outcome" and not (self.transition.on or self.transition.complete):
            going = frame.f_locals["active"] & ~result.terminated & ~result.truncated
            if self._place is None and going.any():
                self._place = tuple(np.argwhere(going)[0])
                result.reward[self._place] = OTHER_REWARD
            elif self._place is not None and going[self._place]:
                result.reward[self._place] = REWARD
                self.transition.on, self.transition.origin = True, _file(frame.f_code)
            else:
                self._place = None
        caller = frame.f_back
        if self.goal.on or self.goal.complete:
            return
        if name == "propose" and result >= COPIES and caller is not None and caller.f_code.co_name == "_lead":
            self._episode.set_number(caller.f_locals["agreement"].episode)
            self._goals.add(result)
            self.goal.on, self.goal.origin = True, _file(frame.f_code)

    def _record(self, trace: Trace, has: Callable[[Any], bool], frame: FrameType, returned: bool, result: Any) -> None:
        """Contacts and hand-overs of a call or a return."""
        code, caller = frame.f_code, _caller(frame)
        key = (trace.name, code, caller and caller.f_code, returned)
        if key in self._seen:
            return
        numbered = trace is self.goal and caller is not None and self._has_number(caller)

        def found(value: Any) -> bool:
            return has(value) or (numbered and _is_goal(value, self._goals))

        arguments = [] if returned else [value for name, value in _arguments(frame) if name not in ("self", "cls")]
        if len(arguments) == 1 and type(arguments[0]) is int:
            arguments = []  # a question about the episode, without its goal
        if any(found(value) for value in arguments):
            trace.hand_over(caller and caller.f_code, code)
            self._seen.add(key)
        elif returned and found(result):
            trace.hand_over(code, caller and caller.f_code)
            self._seen.add(key)
        elif returned and any(has(value) for value in frame.f_locals.values()):
            trace.touch(code)
        else:
            return
        if (holder := frame.f_locals.get("self")) is not None:
            trace.hold(holder, code)

    def _has_number(self, frame: FrameType) -> bool:
        """Whether a function has the episode's number by itself or in a dataclass."""
        return any(not isinstance(value, np.ndarray) and self._episode.inside(value, 1) for value in frame.f_locals.values())

    def _learn_values(self, frame: FrameType, returned: bool, result: Any) -> None:
        """What stands for the goal: the leader's message, the followers' goals, and memory of the recorded episode."""
        if not returned:
            return
        caller = _caller(frame)
        is_choice = frame.f_code.co_name in ("lead", "follow") and type(result) is int and result >= COPIES
        if is_choice and caller is not None and self._has_number(caller):
            self._goals.add(result)
        if isinstance(result, Episode) and result.number == self._episode.number and result.achieved is not None:
            self._episode.memory.append(result.achieved)

    # --- ends -------------------------------------------------------------------------------------------------------------------------

    def _end_transition(self, frame: FrameType, returned: bool) -> None:
        code = frame.f_code
        if returned and code.co_name == "learn" and "/learners/" in code.co_filename and self._reward.inside(frame.f_locals, DEPTH + 1):
            self.transition.ends = {_file(code)}
            self.transition.on, self.transition.complete = False, True

    def _end_goal(self, frame: FrameType, returned: bool, result: Any) -> None:
        code = frame.f_code
        if not returned or not self._episode.inside(frame.f_locals, DEPTH + 1):
            return
        if code.co_name in ("marks", "followers_agreed"):
            self.goal.ends.add(_file(code))
        self._attached |= code.co_name == "attach_joint" and result is True
        if self._attached and len(self.goal.ends) == 2:
            self.goal.on, self.goal.complete = False, True


def _counts(code: CodeType) -> bool:
    return code.co_filename.startswith(PACKAGES) and len(code.co_code) > _EMPTY


def _caller(frame: FrameType) -> FrameType | None:
    """The nearest caller of the packages."""
    caller = frame.f_back
    while caller is not None and not _counts(caller.f_code):
        caller = caller.f_back
    return caller


def _arguments(frame: FrameType) -> list[tuple[str, Any]]:
    """Names and values; of variable arguments all."""
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & CO_VARARGS) + bool(code.co_flags & CO_VARKEYWORDS)
    return [(name, frame.f_locals[name]) for name in code.co_varnames[:count] if name in frame.f_locals]


def _is_goal(value: Any, goals: set[int], depth: int = 2) -> bool:
    if isinstance(value, list | tuple) and depth:
        return any(_is_goal(item, goals, depth - 1) for item in value)
    return type(value) is int and value in goals


# --- the run ------------------------------------------------------------------------------------------------------------------------


class RunServer(threading.Thread):
    """Welcomes the nodes, sends the roster and the commands."""

    def __init__(self, configuration: str, nodes: int) -> None:
        super().__init__(daemon=True)
        self._configuration = np.frombuffer(configuration.encode(), np.uint8)
        self._nodes = nodes
        self._transport = Transport(Identity("hops", RUN_SERVER), TransportOptions(token="hops"))
        self.control, self.telemetry = self._transport.bind("ctl"), self._transport.bind("tele")
        self._entries: dict[str, RosterEntry] = {}
        self.stopped = threading.Event()

    def run(self) -> None:
        """Until stopped; then the nodes receive the command to stop."""
        sys.setprofile(None)
        while not self.stopped.is_set():
            for received in self._transport.receive(0.05):
                if isinstance(received.message, Hello):
                    self._welcome(received.src, received.message)
        self._all(Command(id=2, op="stop"))
        for _ in range(20):
            self._transport.receive(0.05)
        self._transport.close(0)

    def _welcome(self, name: str, hello: Hello) -> None:
        self._entries[name] = RosterEntry(name=name, role=hello.role, state="alive", endpoint=hello.endpoint, inc=hello.inc)
        self._transport.send("ctl", name, Welcome(), {"config": self._configuration})
        if len(self._entries) == self._nodes:
            self._all(Roster(version=1, entries=list(self._entries.values())))
            self._all(Command(id=1, op="start"))

    def _all(self, message: Any) -> None:
        for name in self._entries:
            self._transport.try_send("ctl", name, msgspec.structs.replace(message))


def trace(overrides: list[str], directory: Path) -> Profiler:
    """Play until both data have reached their ends, for `DEADLINE` at most."""
    configuration = load(REPOSITORY / "configs" / "4agents_ring.yaml", [*SMALL, *overrides]).configuration
    names = [f"agent-{i}" for i in range(configuration.agents.count)]
    profiler = Profiler()
    threading.setprofile(profiler)
    server = RunServer(canonical_json(configuration), 1 + len(names))
    server.start()
    token = directory / "control.json"
    token.touch(0o600)
    token.write_text(json.dumps({"token": "hops"}))

    def start(name: str, role: Any, incarnation: int) -> NodeStart:
        return NodeStart("hops", name, role, incarnation, str(directory), server.control, server.telemetry, str(token))

    before = signal.getsignal(signal.SIGTERM)
    nodes: list[Any] = [environment_server(start("env-0", "env", INCARNATION))]
    nodes += [agent_node(start(name, "agent", 1)) for name in names]
    signal.signal(signal.SIGTERM, before)
    threads = [threading.Thread(target=node.run, daemon=True) for node in nodes]
    for thread in threads:
        thread.start()
    until = time.monotonic() + DEADLINE
    while not profiler.complete and time.monotonic() < until and all(thread.is_alive() for thread in threads):
        profiler.armed = all(node.session is not None and node.session.trainer.updates for node in nodes[1:])
        time.sleep(0.1)
    profiler.armed = False
    threading.setprofile(None)
    server.stopped.set()
    for thread in [*threads, server]:
        thread.join(10)
    return profiler


def main() -> int:
    """Print both lists."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    overrides = parser.parse_args().overrides
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="hops-") as directory:
        profiler = trace(overrides, Path(directory))
    for found in (profiler.transition, profiler.goal):
        print(found.report() + ("" if found.complete else "\n  incomplete: the end was not reached"), end="\n\n")
    return 0 if profiler.complete else 1


if __name__ == "__main__":
    sys.exit(main())
