"""Ray's driver for one run: a process of its own between the run server and Ray.

`ray.init` replaces signal handlers, and a driver whose cluster is gone is ended by Ray without a word. Neither may happen to the run
server. Orders come as lines of JSON on standard input, events go to standard output:

    order  {"do": "request", "bundles", "strategy", "wish", "least"}      wish and least: what a bundle should and must hold
           {"do": "start", "host", "bundle", "order"}                     order: for `RemoteHost.start`
           {"do": "end", "host", "now"}
           {"do": "release"}                                              so does the end of standard input
    event  {"is": "connected", "address", "head"}       {"is": "failed", "text"}
           {"is": "waiting", "text"}                    {"is": "granted", "memory", "machines": [{"name", "address", "labels"}, ...]}
           {"is": "output", "host", "output", "shared"}     {"is": "ended", "host", "code", "text"}    {"is": "lost", "host", "text"}
"""

from __future__ import annotations

import json
import logging
import os
import queue
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from orchestrator.launch.addresses import address_towards
from orchestrator.launch.ray import ray_actor as actor
from orchestrator.launch.ray.ray_engine import room
from protocols.runtime import logs
from protocols.runtime.errors import ExitCode, ResourceError
from protocols.runtime.node_start import is_loopback
from protocols.runtime.settings_types import format_size

logger = logging.getLogger(__name__)

PROBE = 5.0
"""seconds in which the head must take a connection; Ray itself waits for 40"""
_TURN = 0.1
_FIRST_LOOK, _LOOK = 0.05, 1.0
_GOODBYE = 3.0
_END = 10.0
"""seconds after the end of standard input after which this process ends whatever Ray does"""
_START = "start it: ray start --head here, and ray start --address=HEAD:6379 on the others"


@dataclass
class _Host:
    """One actor, its call that is not answered yet, and how much of the output was handed on."""

    actor: Any
    call: Any
    starting: bool = True
    offset: int = 0
    over: bool = False
    again: float = 0.0
    """when the next call may be made, after one that did not reach the actor"""


class Driver:
    """The driver process of one run: executes the orders on standard input and reports events on standard output; see the module."""

    def __init__(self, say: int) -> None:
        self._say = say
        self._ray: Any = None
        self._group: Any = None
        self._request: dict[str, Any] = {}
        self._granted = False
        self._look_due = 0.0
        self._pause = _FIRST_LOOK
        self._hosts: dict[str, _Host] = {}
        self._orders: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def run(self, address: str) -> None:
        """Connect, then do what is ordered until the orders end."""
        try:
            head = resolve(address)
            self._connect(head)
        except ResourceError as error:
            self._event("failed", text=str(error))
            return
        try:
            while self._obey():
                if self._request and not self._granted and time.monotonic() >= self._look_due:
                    self._look()
                self._listen()
        finally:
            self._release()

    # --- Ray ----------------------------------------------------------------------------------------------------------------------

    def _connect(self, head: str) -> None:
        host, _, port = head.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), PROBE).close()
        except OSError as error:
            text = f"no Ray cluster answers at {head} ({error.strerror or error})"
            raise ResourceError(f"{text}; {_START}, and launch.ray.address is the head's") from None
        self._ray = ray = import_module("ray")
        own = address_towards(host.strip("[]"))
        options = {} if is_loopback(own) else {"_node_ip_address": own}
        try:
            ray.init(
                address=head,
                namespace="murmuration",
                log_to_driver=False,
                configure_logging=False,
                logging_level=logging.ERROR,
                **options,
            )
        except Exception as error:  # whatever Ray raises here means the same to the user
            text = " ".join(str(error).split())
            cure = f"this machine must be a node of it (ray start --address={head}), with the same versions of Ray and Python"
            raise ResourceError(f"can't join the Ray cluster at {head}: {text[:500]}; {cure}") from None
        # Workers that lack this package, or have another one, must be able to report that.
        import_module("ray.cloudpickle").register_pickle_by_value(actor)
        self._event("connected", address=str(ray.util.get_node_ip_address()), head=head)

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    def _look(self) -> None:
        """Ask for the placement group, once; then whether it is there."""
        ray, request = self._ray, self._request
        self._pause = min(_LOOK, 1.5 * self._pause)
        self._look_due = time.monotonic() + self._pause
        nodes = self._nodes()
        if self._group is None:
            fits = room(request["wish"], [node["Resources"] for node in nodes], request["strategy"]) >= request["bundles"]
            request["bundle"] = bundle = request["wish"] if fits else request["least"]
            self._group = ray.util.placement_group([bundle] * request["bundles"], strategy=request["strategy"])
        table = ray.util.placement_group_table(self._group)
        if table["state"] != "CREATED":
            if self._pause >= _LOOK:  # at first Ray is only thinking
                self._event("waiting", text=self._wait(nodes))
            return
        known = {node["NodeID"]: node for node in nodes}
        where = [known.get(table["bundles_to_node_id"][i]) for i in range(request["bundles"])]
        if None in where:
            return  # a node came up or went at this very moment
        self._granted = True
        machines = [
            {"name": n["NodeManagerHostname"], "address": n["NodeManagerAddress"], "labels": dict(n.get("Labels") or {})}
            for n in where
            if n is not None
        ]
        self._event("granted", machines=machines, memory=int(request["bundle"]["memory"]))

    def _wait(self, nodes: list[dict[str, Any]]) -> str:
        """For what, in words."""
        request, free = self._request, self._ray.available_resources()
        parts, there = [], []
        for name, amount in request["bundle"].items():
            total = sum(node["Resources"].get(name, 0.0) for node in nodes)
            parts.append(_amount(name, amount))
            there.append(f"{_amount(name, free.get(name, 0.0))} of {_amount(name, total)}")
        hosts, bundle = request["bundles"], request["bundle"]
        text = f"Ray has no room yet for {hosts} {'hosts' if hosts > 1 else 'host'} with {', '.join(parts)} each ({request['strategy']})"
        if room(bundle, [node["Resources"] for node in nodes], request["strategy"]) < hosts:
            text += ", and would not have it if all were free; more nodes or smaller launch.ray settings are the cure"
        return f"{text}. Free on {len(nodes)} nodes: {', '.join(there)}"

    def _start(self, host: str, bundle: int, order: str) -> None:
        ray, amounts = self._ray, dict(self._request["bundle"])
        strategy = import_module("ray.util.scheduling_strategies").PlacementGroupSchedulingStrategy(self._group, bundle)
        options = {
            "num_cpus": amounts.pop("CPU", 0),
            "memory": amounts.pop("memory", 0),
            "num_gpus": amounts.pop("GPU", 0),
            "resources": amounts,
            "max_restarts": 0,
            "scheduling_strategy": strategy,
        }
        remote = ray.remote(actor.RemoteHost).options(**options).remote()
        self._hosts[host] = _Host(remote, remote.start.remote(order))

    def _release(self) -> None:
        """Kill the hosts that still run, give everything back."""
        ray = self._ray
        stops = [host.actor.stop.remote(True) for host in self._hosts.values() if not host.over]
        if stops:
            ray.wait(stops, num_returns=len(stops), timeout=_GOODBYE)
        if self._group is not None:
            ray.util.remove_placement_group(self._group)
        ray.shutdown()

    # --- orders and events --------------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        """The thread that reads orders. Ray may wait for long where its head is gone, but this process ends with the run server."""
        for line in sys.stdin:
            self._orders.put(json.loads(line))
        self._orders.put(None)
        time.sleep(_END)
        os._exit(int(ExitCode.CRASH))

    def _obey(self) -> bool:
        """Do what was ordered; waits a moment where there are no calls to wait for. False when all is over."""
        for order in self._ordered():
            if order is None or order["do"] == "release":
                return False
            if order["do"] == "request":
                self._request = order
            elif order["do"] == "start":
                self._start(order["host"], order["bundle"], order["order"])
            elif order["do"] == "end" and (host := self._hosts.get(order["host"])) is not None and not host.over:
                host.actor.stop.remote(order["now"])
        return True

    def _ordered(self) -> Iterator[dict[str, Any] | None]:
        idle = all(host.call is None for host in self._hosts.values())
        try:
            yield self._orders.get(block=idle, timeout=_TURN)
            while True:
                yield self._orders.get_nowait()
        except queue.Empty:
            return

    def _listen(self) -> None:
        """Take answers of the actors, and ask again."""
        now = time.monotonic()
        for host in self._hosts.values():
            if host.call is None and not host.over and now >= host.again:
                host.call = host.actor.poll.remote(host.offset)
        calls = {host.call: name for name, host in self._hosts.items() if host.call is not None}
        for call in self._ray.wait(list(calls), timeout=_TURN)[0] if calls else []:
            self._answered(calls[call], call)

    def _answered(self, name: str, call: Any) -> None:
        host, errors = self._hosts[name], self._ray.exceptions
        try:
            answer = json.loads(self._ray.get(call))
        except errors.ActorUnavailableError:  # the way to it is broken; its host may live
            host.again, host.call = time.monotonic() + _LOOK, None
            return
        except errors.RayError as error:
            host.over, host.call = True, None
            self._event("lost", host=name, text=_cause(str(error)))
            return
        host.call = None
        if output := answer.get("output"):
            host.offset += len(output) // 4 * 3 - output.count("=")
            self._event("output", host=name, output=output, shared=answer["shared"])
        if answer.get("code") is not None:
            host.over = True
            self._event("ended", host=name, code=answer["code"], text=answer.get("text", ""))

    def _event(self, kind: str, **fields: object) -> None:
        line = json.dumps({"is": kind, **fields}).encode() + b"\n"
        while line:
            line = line[os.write(self._say, line) :]


def resolve(address: str) -> str:
    """host:port of the cluster's head; `auto`: of the cluster to which this machine belongs. `ResourceError` without one."""
    if address == "auto":
        try:
            found = import_module("ray._private.services").canonicalize_bootstrap_address("auto")
        except (ConnectionError, ValueError) as error:
            logger.info("%s", error)
            found = None
        if found is None:
            raise ResourceError(f"this machine belongs to no running Ray cluster; {_START}, or name the head in launch.ray.address")
        return str(found)
    host, _, port = address.rpartition(":")
    if "/" in address or not host or not port.isdecimal():
        raise ResourceError(f"launch.ray.address {address!r} is not auto or HOST:PORT of the head, as ray start prints it (192.0.2.1:6379)")
    return address


def _amount(name: str, amount: float) -> str:
    if name == "memory":
        return format_size(int(amount))
    return f"{amount:g} {'cores' if name == 'CPU' else name}"


def _cause(text: str) -> str:
    """The sentence of Ray's error with the cause."""
    text = " ".join(text.split())
    for beginning in ("The actor is dead because", "The actor died because", "The actor died unexpectedly"):
        if found := re.search(rf"{beginning}[^.]*\.", text):
            return f"Ray reports: {found[0]}"
    return f"Ray reports: {text[:300]}"


def main(address: str) -> int:
    """Be the driver for the cluster at this address."""
    say = os.dup(1)
    os.dup2(2, 1)  # what libraries print must not be taken for events
    logs.configure()
    Driver(say).run(address)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
