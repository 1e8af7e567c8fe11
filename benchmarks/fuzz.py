"""Hostile and mutated frames against every process of a real run, and an insider's against every averaging rule.

    python benchmarks/fuzz.py                      # 100,000 frames
    python benchmarks/fuzz.py --frames 1000000

Three attackers, each with its share of the frames:

- *token*: a process that has the run's token, against a run without keys: frames reach the guard of the run server, the environment server
  and all agents. It makes a new connection after every `BURST` frames, since a connection is put into quarantine after ten bad ones.
- *keys*: a process without a key, against a run with keys: its frames are refused with the connection, in the handshake.
- *insider*: mutated messages of every type of averaging, from a neighbour with a valid key, at an agent of each averaging rule. They pass
  the codec and the state machine as in a run; an agent that can't begin its next round counts as ended.

A frame is a message of a random type with a random sender and receiver of the run, in half of the cases with mutated bytes; every twentieth
is garbage. Printed: frames, processes that ended, refusals by their counters, and the largest growth of a process's resident memory.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import zmq

from protocols.averaging.averager import FixedNeighbourhood
from protocols.averaging.averaging_messages import Average, Compressed, Leave, Replica, ReplicaRequest, Share
from protocols.averaging.averaging_rules import AveragingContext, create_averager
from protocols.averaging.rule_settings import ROOM, rule_settings
from protocols.runtime.component_registry import kinds
from protocols.runtime.errors import BadMessage, MurmurationError
from protocols.wire import codec
from protocols.wire.message_registry import message_types

ROOT = Path(__file__).resolve().parents[1]
BURST = 200
NODES = ("run", "env-0", "agent-0", "agent-1", "agent-2", "agent-3")
SETTINGS = (
    "until={time: 60min}", "environment.copies=4", "agents.learner.hidden=[16]", "agents.world_model.hidden=[16]", "metrics.sinks=[csv]",
    "network.transport=tcp", "evaluation={episodes: 0, final_episodes: 4}",
)  # fmt: skip
SIZE = 40
SEND_TIMEOUT = 2000


class FrameSource:
    """Random frames: messages of all types, whole or mutated, and garbage."""

    def __init__(self, seed: int, run: str) -> None:
        self._random = random.Random(seed)
        self._run = run
        self._types = list(message_types())

    def mutated(self, frame: bytes) -> bytes:
        """The bytes with one to eight of them replaced, or cut off."""
        found = bytearray(frame)
        for _ in range(self._random.randint(1, 8)):
            if found:
                found[self._random.randrange(len(found))] = self._random.randrange(256)
        return bytes(found[: self._random.randint(0, len(found))] if self._random.random() < 0.1 else found)

    def message(self, receiver: str) -> list[bytes]:
        """One message as frames; `receiver`: the node whose socket it goes to."""
        pick = self._random
        if pick.random() < 0.05:
            return [pick.randbytes(pick.randint(0, 400)) for _ in range(pick.randint(1, 3))]
        kind = pick.choice(self._types)
        head = {
            "t": kind.__name__.lower(),
            "run": self._run if pick.random() < 0.9 else "other",
            "src": pick.choice(NODES),
            "dst": receiver if pick.random() < 0.9 else pick.choice(NODES),
            "inc": pick.choice((0, 1, 1, 1, 2, 2**31)),
            "seq": pick.randint(1, 2**40),
        }
        for field in msgspec.inspect.type_info(kind).fields:  # type: ignore[union-attr]
            if field.name not in head and field.required:
                head[field.name] = pick.choice((0, 1, -1, 1e30, "", "x", [], None, True))
        arrays = np.array([pick.choice((0.0, 1.0, 1e30, 3e38, float("nan"))) for _ in range(8)], np.float32)
        frames = [arrays.tobytes()] if pick.random() < 0.5 else []
        if frames:
            head["frames"] = [{"n": "vector", "d": "f4", "s": [8]}]
        parts = [msgspec.msgpack.encode(head), *frames]
        return [self.mutated(part) for part in parts] if pick.random() < 0.5 else parts


# --- against a real run ---------------------------------------------------------------------------------------------------------------


class AttackedRun:
    """A run of four agents in the background, in a temporary directory."""

    def __init__(self, runs: Path, name: str, *changes: str) -> None:
        self.runs, self.name, self.directory = runs, name, runs / name
        self._orchestrate("up", "-d", str(ROOT / "configs" / "4agents_ring.yaml"), "--name", name, *SETTINGS, *changes, "--timeout", "300s")
        self.control = json.loads((self.directory / "control.json").read_text())
        records = json.loads((self.directory / "processes.json").read_text())
        self.processes = {r["name"]: psutil.Process(r["pid"]) for r in records} | {"run": psutil.Process(self.control["pid"])}
        self.memory = {node: process.memory_info().rss for node, process in self.processes.items()}

    def _orchestrate(self, *arguments: str) -> None:
        environment = {**os.environ, "ORCHESTRATE_RUNS": str(self.runs), "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator", *arguments],
            env=environment,
            cwd=self.runs.parent,
            capture_output=True,
            text=True,
            timeout=400,
        )
        if done.returncode:
            raise SystemExit(f"orchestrate {arguments[0]} ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")

    def endpoints(self) -> dict[str, str]:
        """Where every process that binds listens; telemetry left out."""
        found = {"run": self.control["endpoint"]}
        for node in NODES[1:]:
            ports = [c.laddr.port for c in self.processes[node].net_connections("tcp") if c.status == psutil.CONN_LISTEN]
            found[node] = f"tcp://127.0.0.1:{ports[0]}"
        return found

    def ended(self) -> list[str]:
        """Nodes whose process is not the one that was attacked at first."""
        return [node for node, process in self.processes.items() if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE]

    def growth(self) -> float:
        """Largest growth of the resident memory of one process, in MB."""
        running = [node for node in self.processes if node not in self.ended()]
        return max((self.processes[node].memory_info().rss - self.memory[node]) / 1e6 for node in running)

    def close(self) -> Counter[str]:
        """End the run; what all its processes have refused."""
        self._orchestrate("down", self.name)
        refused: Counter[str] = Counter()
        for path in self.directory.glob("nodes/*/wire.json"):
            counted = json.loads(path.read_text())
            refused.update(
                {key: n for key, n in counted.items() if key.startswith(("rx.bad", "rx.refused", "rx.quarantin", "rx.stale", "rx.dup"))}
            )
        return refused


def attack_run(runs: Path, name: str, frames: int, *changes: str) -> None:
    """Send `frames` frames to all sockets of a run, and print the outcome."""
    run = AttackedRun(runs, name, *changes)
    token = run.control.get("token", "")
    source, context, sent, lost = FrameSource(7, name), zmq.Context(), 0, 0
    began = time.monotonic()
    try:
        endpoints = run.endpoints()
        while sent < frames:
            for node, endpoint in endpoints.items():
                socket = context.socket(zmq.DEALER)
                socket.LINGER, socket.SNDTIMEO = SEND_TIMEOUT, SEND_TIMEOUT
                if token:
                    socket.PLAIN_USERNAME, socket.PLAIN_PASSWORD = b"murmuration", token.encode()
                socket.connect(endpoint)
                for _ in range(BURST):
                    sent += 1
                    try:
                        socket.send_multipart(source.message(node), 0 if token else zmq.NOBLOCK)
                    except zmq.Again:  # the connection was refused
                        lost += 1
                socket.close(SEND_TIMEOUT if token else 100)
        spent = time.monotonic() - began
        ended, growth = run.ended(), run.growth()
    finally:
        context.destroy(0)
        refused = run.close()
    print(f"{name}: {sent:,} frames in {spent:.0f} s, {lost:,} over connections that were refused; ended: {', '.join(ended) or 'none'}")
    print(f"  largest growth of resident memory {growth:.1f} MB")
    print("  " + ", ".join(f"{key} {count:,}" for key, count in sorted(refused.items())))


# --- an insider -----------------------------------------------------------------------------------------------------------------------


def insider(rule: str, frames: int) -> None:
    """Mutated messages of a neighbour at one agent of that rule; a round in every hundred messages."""
    neighbours = [f"agent-{i}" for i in range(1, 6)]
    place = AveragingContext(FixedNeighbourhood(dict.fromkeys(neighbours, 1 / 6)), "layout", SIZE, 0.5)
    machine, pick, source = create_averager(rule_settings(rule, {}, {}), place), random.Random(5), FrameSource(9, "fuzz")
    vector, refused, ended, now = np.random.default_rng(1).normal(size=SIZE), Counter[str](), 0, 0.0
    for number in range(frames):
        now += 0.01
        try:
            if number % 100 == 0:
                machine.close(now)
                for event in machine.events():
                    vector = vector + event.delta
                machine.begin(max(machine.next_round, machine.round + 1), vector.astype(np.float32), now)
                machine.outgoing()
            machine.tick(now)
            parts = [bytes(part) for part in codec.encode(*_averaging_message(pick, machine.round))]
            if pick.random() < 0.5:
                parts[-1] = source.mutated(parts[-1])
            message, arrays = codec.decode(parts, bounded=True)
            if machine.concerns(message) and isinstance(message, machine.message_types):
                error = machine.receive(neighbours[0], message, arrays, now)
                refused.update([error.code] if error is not None else ["taken, old or repeated"])
        except BadMessage as error:
            refused[error.code] += 1
        except (MurmurationError, ValueError, ArithmeticError, LookupError) as error:
            ended += 1
            print(f"  {rule} ended at message {number}: {error!r}")
            break
    largest = float(np.abs(vector).max())
    print(
        f"insider, {rule}: {frames:,} messages, ended: {ended or 'none'}, largest own number {largest:.3g}; {dict(sorted(refused.items()))}"
    )


def _averaging_message(pick: random.Random, number: int) -> tuple[Any, dict[str, Any]]:
    size = SIZE if pick.random() < 0.9 else pick.randint(0, 100)
    scale = pick.choice((1.0, 1.0, 1e3, 1e9, 1e14, 1e30, 3e38))
    values = np.array([pick.uniform(-scale, scale) for _ in range(size)])
    at, layout = max(0, number + pick.choice((-1, 0, 0, 0, 1, 2, 10**8))), "layout" if pick.random() < 0.95 else "other"
    count = pick.choice((0, 1, 2, 3, 10, 2**40))
    kind = pick.randrange(6)
    if kind == 0:
        return Average(round=at, layout=layout), {"vector": values.astype(np.float32)}
    if kind == 1:
        share = Share(
            round=at,
            layout=layout,
            number=count,
            base=pick.choice((0, count)),
            weight=pick.choice((0.0, 0.1, 1.0, 1e12)),
            ack=pick.choice((0, 1, count)),
        )
        return share, {"offer": values}
    if kind == 2:
        top = pick.randint(1, SIZE)
        index = np.sort(np.array(pick.sample(range(SIZE), top), np.uint32))
        frames = {"index": index, "value": np.resize(values, top).astype(np.float32)}
        return Compressed(round=at, change=max(1, count), layout=layout, digest="0" * 16), frames
    if kind == 3:
        return Replica(request=count, round=at, change=count, layout=layout, digest="0" * 16), {"vector": values.astype(np.float32)}
    if kind == 4:
        return ReplicaRequest(request=count, round=at, change=count, digest="", layout=layout, shown=count), {}
    return Leave(layout=layout, ack=count), {}


def main() -> None:
    """Attack, and print the outcome."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100_000)
    frames: int = parser.parse_args().frames
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        runs = Path(directory) / "runs"
        runs.mkdir()
        attack_run(runs, "token", frames // 3)
        attack_run(runs, "keys", frames // 3, "security.mode=curve")
    rules = kinds(ROOM)
    for rule in rules:
        insider(rule, frames // 3 // len(rules))


if __name__ == "__main__":
    main()
