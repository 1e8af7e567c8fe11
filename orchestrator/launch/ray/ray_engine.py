"""The engine: hosts are actors of a Ray cluster that runs already. See the package."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import util
from math import ceil, floor
from pathlib import Path
from typing import Any

from orchestrator.config.configuration import Configuration
from orchestrator.launch.engine import Engine, HostHandle, HostPhase, HostState, Invitation, announced
from orchestrator.launch.placement import Slot, node_requests
from orchestrator.launch.process_control import MARK
from orchestrator.launch.ray.ray_actor import versions
from protocols.runtime.errors import ResourceError
from protocols.runtime.node_start import RUN_SERVER

INSTALL = "pip install 'murmuration-rl[ray]'"
_CONNECT = 14.0
"""seconds for Ray's driver to be there"""
_GIVE_BACK = 6.0
_REAP = 5.0
_WORDS = 4096
"""bytes of a host's output in which its key is looked for"""


@dataclass
class RayHost(HostHandle):
    """A host that an actor was ordered to start."""

    log: Path
    said: bytes = b""
    """the beginning of its output, with its key"""
    ended: HostState | None = None
    asked_to_end: bool = False


class RayEngine(Engine[RayHost]):
    """Starts hosts through a driver process (`driver`). What the run server asks is answered from what the driver has reported so far.

    Nothing needs to be noted in the run's directory: the driver ends with the run server, the actors and their hosts with the driver.
    """

    name = "ray"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._driver: subprocess.Popen[bytes] | None = None
        self._unread = b""
        self._failed = ""
        self._address = ""
        self._bundle = Bundle(0.0, 0)
        self._slots: list[Slot] | None = None

    def problems(self, configuration: Configuration) -> list[str]:
        """Ray is not installed, no cluster answers, or this machine is not part of it."""
        if util.find_spec("ray") is None:
            return [f"launch.engine is ray, and Ray is not installed here: {INSTALL}, the same version on every node of the cluster"]
        self._start_driver(configuration.launch.ray.address)
        deadline = time.monotonic() + _CONNECT
        while not self._address and not self._failed and time.monotonic() < deadline:
            self._read_events(0.1)
        if not self._address and not self._failed:
            self._failed = f"Ray did not take this run server as a driver within {_CONNECT:g} s; ray status shows whether the cluster works"
        return [self._failed] if self._failed else []

    def address(self, configuration: Configuration) -> str:
        """This node's address, as Ray has it: by it all nodes of the cluster reach each other."""
        return self._address

    def request(self, configuration: Configuration, nodes: int) -> None:
        """Order a placement group of one bundle per host from the driver process, without waiting; `granted` returns the slots, or
        raises `ResourceError`."""
        wish, self._bundle = bundles(configuration)
        launch = configuration.launch
        self._order(do="request", bundles=launch.hosts, strategy=launch.ray.strategy, wish=wish.amounts(), least=self._bundle.amounts())

    def granted(self) -> Sequence[Slot] | None:
        """Slots that are named after their machines; what Ray has of these is their labels."""
        self._read_events()
        if self._slots is None and self._failed:
            raise ResourceError(self._failed)
        return self._slots

    def start_host(self, slot: Slot, invitation: Invitation, log: Path) -> RayHost:
        """Have an actor started in the slot's bundle, which starts the host. Where host and run server share the run's directory, the host
        writes its log itself; else its output comes with the actor's answers."""
        host = RayHost(invitation.host, slot, log)
        self.hosts.append(host)
        order = {
            "versions": versions(),
            "invitation": invitation.to_json(),
            "mark": [MARK, invitation.directory],
            "log": str(log),
            "home": invitation.home,
        }
        bundle = next(index for index, other in enumerate(self._slots or ()) if other.name == slot.name)
        self._order(do="start", host=host.name, bundle=bundle, order=json.dumps(order))
        return host

    def poll(self, host: RayHost) -> HostState:
        """As the actor, or Ray for it, has reported last. Without a driver nothing is known of hosts that were up: the run server's own
        heartbeat judges."""
        self._read_events()
        key = announced(host.said)
        if host.ended is not None:
            return replace(host.ended, key=key)
        if self._failed and (host.asked_to_end or not host.said):
            return HostState(HostPhase.LOST, key=key, reason=self._failed)
        return HostState(HostPhase.RUNNING, key=key)

    def end(self, host: RayHost, now: bool) -> None:
        """Through its actor: SIGTERM, or SIGKILL to every process of its session."""
        if host.ended is None:
            host.asked_to_end = True
            self._order(do="end", host=host.name, now=now)

    def release(self) -> list[str]:
        """End the driver: it has the hosts killed and gives the placement group back; where it can't, Ray does as soon as it is gone."""
        driver = self._driver
        if driver is None:
            return []
        self._order(do="release")
        if driver.stdin is not None:
            with contextlib.suppress(OSError):
                driver.stdin.close()
        try:
            driver.wait(_GIVE_BACK)
        except subprocess.TimeoutExpired:
            driver.kill()
            driver.wait(_REAP)
        self._read_events()
        if driver.stdout is not None:
            driver.stdout.close()
        self._driver = None
        return []

    # --- the driver ---------------------------------------------------------------------------------------------------------------

    def _start_driver(self, address: str) -> None:
        if self._driver is not None:
            return
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._driver = subprocess.Popen(
                [sys.executable, "-m", "orchestrator.launch.ray.ray_driver", address],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                env={**os.environ, MARK: str(self.directory)},
            )
        if self._driver.stdout is not None:
            os.set_blocking(self._driver.stdout.fileno(), False)

    @property
    def _log(self) -> Path:
        return self.directory / "hosts" / "ray.log"

    def _order(self, **order: object) -> None:
        pipe = self._driver.stdin if self._driver is not None else None
        if pipe is not None:
            # Orders are far smaller than a pipe's buffer; that the driver is gone is seen when it is read.
            with contextlib.suppress(OSError, ValueError):
                pipe.write(json.dumps(order).encode() + b"\n")
                pipe.flush()

    def _read_events(self, timeout: float = 0.0) -> None:
        """Take the events that are there; wait that long for the first."""
        pipe = self._driver.stdout if self._driver is not None else None
        if pipe is None or self._failed:
            return
        if timeout and not select.select([pipe], [], [], timeout)[0]:
            return
        ended = False
        with contextlib.suppress(BlockingIOError):
            while said := os.read(pipe.fileno(), 65536):
                self._unread += said
            ended = True
        *lines, self._unread = self._unread.split(b"\n")
        for line in lines:
            self._handle_event(json.loads(line))
        if ended and not self._failed:
            self._failed = f"the driver of the Ray cluster has ended, its log is {self._log}"

    def _handle_event(self, event: dict[str, Any]) -> None:
        kind, host = event["is"], next((host for host in self.hosts if host.name == event.get("host")), None)
        if kind == "connected":
            self._address = event["address"]
        elif kind == "failed":
            self._failed = event["text"]
        elif kind == "waiting":
            self.waiting = event["text"]
        elif kind == "granted":
            self._slots = []
            for machine in event["machines"]:
                name = slot_name(machine["name"], [slot.name for slot in self._slots])
                labels, bundle = {**machine["labels"], "machine": machine["name"]}, self._bundle
                self._slots.append(Slot(name, bundle.cores, event["memory"], bundle.gpus, labels, bind=machine["address"]))
        elif host is not None and kind == "output":
            output = base64.b64decode(event["output"])
            host.said += output[: _WORDS - len(host.said)]
            if not event["shared"]:
                self._write(host.log, output)
        elif host is not None and kind == "ended":
            host.ended = HostState(HostPhase.ENDED, event["code"], reason=event["text"])
        elif host is not None and kind == "lost":
            host.ended = HostState(HostPhase.LOST, reason=event["text"])

    def _write(self, log: Path, output: bytes) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            file.write(output)


def slot_name(machine: str, taken: Collection[str]) -> str:
    """The first part of the machine's name; with a number where it is taken, and marked as a host's where it could be a node's."""
    name = re.sub(r"[^a-z0-9-]", "-", machine.partition(".")[0].lower())[:40].strip("-") or "host"
    if name == RUN_SERVER or re.fullmatch(r"(agent|env)-\d+", name):
        name = f"host-{name}"
    return next(unique for number in itertools.count(1) if (unique := name if number == 1 else f"{name}-{number}") not in taken)


@dataclass(frozen=True)
class Bundle:
    """Capacity for one host: processor cores, bytes, GPUs, and resources that Ray only counts."""

    cores: float
    memory: int
    gpus: int = 0
    resources: Mapping[str, float] = field(default_factory=dict)

    def amounts(self) -> dict[str, float]:
        """As Ray writes it."""
        amounts = {"CPU": self.cores, "memory": float(self.memory), "GPU": float(self.gpus), **self.resources}
        return {name: amount for name, amount in amounts.items() if amount > 0}


def bundles(configuration: Configuration) -> tuple[Bundle, Bundle]:
    """The bundle that each of `launch.hosts` hosts should have, and the one that it must have.

    With n nodes on h hosts, cores are sum(cores of all nodes) / h, and not less than the most that one node needs; GPUs likewise. Memory is
    that of the ceil(n / h) nodes that need most of it, and in the bundle that should be of ceil(n / (h - 1)): so the nodes of one lost host
    fit on the others. What `launch.ray` names is taken as it is.
    """
    launch, needs = configuration.launch, node_requests(configuration)
    hosts = launch.hosts
    cores = launch.ray.cores or max(ceil(100 * sum(need.cores for need in needs) / hosts) / 100, *(need.cores for need in needs))
    gpus = launch.ray.gpus or ceil(sum(need.gpus for need in needs) / hosts)
    memory = sorted((need.memory for need in needs), reverse=True)

    def bundle(share: int) -> Bundle:
        wanted = sum(memory[: ceil(len(memory) / share)])
        return Bundle(cores, launch.ray.memory or wanted, gpus, launch.ray.resources)

    return bundle(max(1, hosts - 1)), bundle(hosts)


def room(bundle: Mapping[str, float], nodes: Sequence[Mapping[str, float]], strategy: str) -> int:
    """How many bundles Ray nodes with these resources could hold if they were empty."""
    each = [min(floor(node.get(name, 0.0) / amount + 1e-9) for name, amount in bundle.items()) for node in nodes] or [0]
    if strategy == "STRICT_SPREAD":
        return sum(count > 0 for count in each)
    return max(each) if strategy == "STRICT_PACK" else sum(each)
