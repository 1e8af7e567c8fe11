"""Averaging between real processes, without anything that is learnt: a ring of agents, each with a transport and an averaging machine.

`Ring` starts one process per agent and acts as their run server: it sends the roster, detects deaths and starts successors. Each process
writes one line per round into `NAME.INCARNATION.jsonl`: {"t", "round", "took", "w", "z", "awaited", "counters"} with z the first numbers
of its model, and the neighbours that the round has waited for.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from protocols.averaging.averager import FixedNeighbourhood
from protocols.averaging.averaging_rules import AveragingContext, create_averager
from protocols.averaging.rule_settings import AveragingRuleSettings, rule_settings
from protocols.faults.fault_schedule import FaultSchedule, compile_schedule
from protocols.faults.link_effects.faulty_links import FaultyLinks
from protocols.faults.node_faults.byzantine_messages import ByzantineSender
from protocols.faults.node_faults.fault_executor import FaultExecutor, Hooks
from protocols.faults.node_faults.fault_log import FaultLog
from protocols.faults.node_faults.process_faults import ActivitySlowdown, SkewedClock
from protocols.faults.node_faults.scheduled_faults import ScheduledFault
from protocols.faults.settings import FaultsSettings
from protocols.transport import Identity, Transport

ROOT = Path(__file__).resolve().parent.parent
SIZE = 64
SHOWN = 8
"""numbers of the model that are written down"""


@dataclass(frozen=True)
class Options:
    """The averaging rule, and how the processes behave."""

    mode: str = "pushsum"
    deadline: float = 2.0
    window: int = 4
    offer_dtype: str = "float64"
    num_byzantine: int = 0
    period: float = 0.02
    """least time from one round to the next: the work that an agent does between them"""

    @property
    def rule(self) -> AveragingRuleSettings:
        """Settings of the averaging rule."""
        return rule_settings(self.mode, vars(self))


class Ring:
    """`count` agents in a ring; use it as a context. `faults`: the section of a configuration, time counted from `start`."""

    def __init__(self, directory: Path, count: int, options: Options = Options(), faults: Mapping[str, Any] | None = None) -> None:
        self.names = [f"agent-{i}" for i in range(count)]
        self.directory = directory
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.incarnations = dict.fromkeys(self.names, 0)
        self.began = 0.0
        self._options = options
        self._faults = dict(faults or {})
        directory.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Ring:
        for name in self.names:
            self.start(name)
        wait("all agents are bound", lambda: all(self._endpoint(name).exists() for name in self.names), 60)
        self.began = time.time() + 0.3
        self.announce(self.names)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait(10)

    def start(self, name: str) -> None:
        """Start the (next) process of an agent; it takes part once it is announced."""
        self.incarnations[name] += 1
        spec = {
            "directory": str(self.directory),
            "name": name,
            "incarnation": self.incarnations[name],
            "names": self.names,
            "options": vars(self._options),
            "faults": self._faults,
        }
        log = (self.directory / f"{name}.log").open("ab")
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self.processes[name] = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.ring", json.dumps(spec)], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
        log.close()

    def announce(self, alive: list[str]) -> None:
        """Send the roster to all."""
        roster = {name: [self.incarnations[name], self._endpoint(name).read_text()] for name in alive}
        path = self.directory / "roster.json"
        path.with_suffix(".tmp").write_text(json.dumps({"began": self.began, "alive": roster}))
        path.with_suffix(".tmp").replace(path)

    def kill(self, name: str) -> float:
        """SIGKILL, and the news of it once the process is gone; when that was."""
        self.processes[name].kill()
        self.processes[name].wait(10)
        self._endpoint(name).unlink(missing_ok=True)
        self.announce([other for other in self.names if other != name])
        return time.time()

    def bring_back(self, name: str) -> None:
        """A successor, announced as soon as it is bound."""
        self.start(name)
        wait(f"{name} is bound again", lambda: self._endpoint(name).exists(), 60)
        self.announce(self.names)

    def rounds(self, name: str, incarnation: int | None = None) -> list[dict[str, Any]]:
        """What an agent has written so far."""
        number = self.incarnations[name] if incarnation is None else incarnation
        path = self.directory / f"{name}.{number}.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def _endpoint(self, name: str) -> Path:
        return self.directory / f"{name}.endpoint"


def wait(what: str, holds: Callable[[], Any], seconds: float) -> Any:
    """The first true value; `TimeoutError` after `seconds`."""
    end = time.monotonic() + seconds
    while not (value := holds()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)
    return value


def rate(lines: list[dict[str, Any]], begin: float, end: float) -> float:
    """Rounds per second of one agent between two unix times."""
    return sum(begin <= line["t"] < end for line in lines) / (end - begin)


def round_time(lines: list[dict[str, Any]], begin: float, end: float) -> float:
    """Mean time from one round to the next."""
    found = rate(lines, begin, end)
    return 1.0 / found if found else math.inf


def disagreement(models: list[list[float]]) -> float:
    """Largest distance of a model's shown numbers from their mean over the agents."""
    array = np.array(models)
    return float(np.abs(array - array.mean(axis=0)).max())


# --- the process of an agent --------------------------------------------------------------------------------------------------------


@dataclass
class Agent:
    """One process of the ring."""

    spec: dict[str, Any]
    transport: Transport = field(init=False)

    def __post_init__(self) -> None:
        spec = self.spec
        self.directory, self.name, self.names = Path(spec["directory"]), str(spec["name"]), list(spec["names"])
        self.incarnation, self.options = int(spec["incarnation"]), Options(**spec["options"])
        self.transport = Transport(Identity("ring", self.name, self.incarnation))
        endpoint = self.transport.bind("peer")
        path = self.directory / f"{self.name}.endpoint"
        path.with_suffix(".new").write_text(endpoint)
        path.with_suffix(".new").replace(path)
        own = self.names.index(self.name)
        neighbours = {self.names[own - 1], self.names[(own + 1) % len(self.names)]}
        weights = FixedNeighbourhood(dict.fromkeys(sorted(neighbours), 1 / 3))
        self.machine = create_averager(
            self.options.rule, AveragingContext(weights, "ring", SIZE, self.options.deadline, self.incarnation, self.incarnation > 1)
        )
        self.peers: dict[str, int] = {}
        for name in neighbours:
            self.machine.peer_dead(name, time.monotonic())
        self.vector = np.random.default_rng(own).normal(size=SIZE)
        self.roster_seen = 0
        faults = FaultsSettings.model_validate(spec["faults"])
        self.schedule: FaultSchedule = compile_schedule(faults, [], self.names)
        scheduled_faults = [
            ScheduledFault(e.id, e.node_fault, e.start, e.length)
            for e in self.schedule.events
            if e.node_fault is not None and self.name in e.targets
        ]
        log = FaultLog(self.directory / self.name, self.name, self.incarnation)
        self.executor = FaultExecutor(log, scheduled_faults, ActivitySlowdown(), SkewedClock(), Hooks(), self.incarnation)
        self.byzantine = ByzantineSender(self.name, faults.seed)

    def run(self) -> None:
        """Until killed; never longer than two minutes."""
        end = time.monotonic() + 120
        due, awaited = 0.0, set[str]()
        out = (self.directory / f"{self.name}.{self.incarnation}.jsonl").open("a", buffering=1)
        while time.monotonic() < end:
            now = time.monotonic()
            self.follow(now)
            ready = self.peers and not self.machine.open
            if ready and now >= due:
                due = now + self.options.period * self.slowness
                number = max(self.machine.newest_round, self.machine.round + 1)
                self.machine.begin(number, self.vector, now)
                self.begun = now
                awaited = {peer for wait in self.machine.waits() for peer in wait.peers}
            self.flush()
            patience = min(due if ready else self.machine.wake(), now + 0.05) - now
            for received in self.transport.receive(max(0.0005, patience)):
                self.byzantine.observe(received.src, received.message, received.arrays)
                self.machine.receive(received.src, received.message, received.arrays, time.monotonic())
            now = time.monotonic()
            self.machine.tick(now)
            for event in self.machine.events():
                self.vector = self.vector + event.delta
                counters = {**self.transport.counters, **self.machine.counters}
                line = {
                    "t": time.time(),
                    "round": event.round,
                    "took": now - self.begun,
                    "w": self.machine.mass,
                    "awaited": sorted(awaited),
                }
                out.write(json.dumps({**line, "z": self.vector[:SHOWN].tolist(), "counters": counters}) + "\n")

    @property
    def slowness(self) -> float:
        """What stragglers make of the period."""
        factor = 1.0
        for active in self.executor.active.values():
            factor *= getattr(active.node_fault.what, "factor", 1.0)
        return factor

    def follow(self, now: float) -> None:
        """Read the roster when it has changed."""
        path = self.directory / "roster.json"
        changed = path.stat().st_mtime_ns if path.exists() else 0
        if changed == self.roster_seen:
            if self.roster_seen:
                self.executor.advance(time=max(0.0, time.time() - self.began))
            return
        self.roster_seen = changed
        contents = json.loads(path.read_text())
        self.began = contents["began"]
        if not self.peers and any(event.link is not None or event.cut is not None for event in self.schedule.events):
            origin = now - (time.time() - self.began)
            self.transport.inject(FaultyLinks(self.schedule, 1, self.name, self.incarnation), None, origin)
        alive = contents["alive"]
        for name in set(self.machine_peers()):
            incarnation, endpoint = alive.get(name, [0, ""])
            if name in self.peers and self.peers[name] != incarnation:
                del self.peers[name]
                self.transport.disconnect("peer", name)
                self.machine.peer_dead(name, now)
            if incarnation and name not in self.peers:
                self.transport.connect("peer", name, endpoint)
                self.machine.peer_alive(name, incarnation, now)
                self.peers[name] = incarnation

    def machine_peers(self) -> list[str]:
        """The neighbours on the ring."""
        own = self.names.index(self.name)
        return [self.names[own - 1], self.names[(own + 1) % len(self.names)]]

    def flush(self) -> None:
        """Send the messages of the machine, or those of a Byzantine sender."""
        self.executor.advance(round=self.machine.round)
        for send in self.machine.outgoing():
            sent = self.byzantine.corrupt(send, self.executor.byzantine_attacks)
            self.transport.try_send("peer", sent.dst, sent.message, sent.arrays)


if __name__ == "__main__":
    Agent(json.loads(sys.argv[1])).run()
