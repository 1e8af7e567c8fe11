"""The processes of a run's nodes as the run server has them: where they were placed, what runs, what must be started or killed."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from orchestrator.launch.placement import NodeRequest, Slot, node_requests, place
from orchestrator.launch.process_control import ProcessRecord, identify, read_records, write_records
from orchestrator.results.run_files import write_json
from orchestrator.run_server.hosts.file_return import FileReturn
from orchestrator.run_server.hosts.node_commands import RETRY
from orchestrator.run_server.hosts.run_hosts import RunHosts
from orchestrator.run_server.lead.status_snapshot import RunView
from protocols.conversations.membership.membership import MemberState
from protocols.conversations.node_processes.node_process_messages import NodeEnded, NodeStarted, SignalNode, StartNode, StopNode
from protocols.transport import Transport
from protocols.wire.messages import Role

ENVIRONMENT = "env-0"
UP = (MemberState.ALIVE, MemberState.STUCK, MemberState.SUSPECT)
"""states of a node that takes part"""


@dataclass
class NodeProcess:
    """The process of a node's newest incarnation."""

    host: str
    start: StartNode
    pid: int | None = None
    ended: bool = False
    due: float = 0.0
    """when StartNode is sent again (until `pid` is known)"""
    kill_due: float | None = None
    """when StopNode is sent (again) to a process that was declared dead"""


class RunNodes:
    """Starts and kills through the hosts. Start and kill are repeated until the host has confirmed them."""

    def __init__(self, view: RunView, transport: Transport, hosts: RunHosts) -> None:
        self.processes: dict[str, NodeProcess] = {}
        self._view = view
        self._transport = transport
        self._hosts = hosts
        self.returned: set[str] = set()
        """nodes that come back into a run that went on without them"""
        self._records: list[ProcessRecord] = []
        self._requests: list[NodeRequest] = []
        self._slots: list[Slot] = []
        self._where: dict[str, str] = {}
        """the host on which each node runs, or will"""
        random = np.random.default_rng(view.configuration.seed)
        self.files = FileReturn(view.files.directory, self._where.get, random, time.time_ns())

    @property
    def living(self) -> list[str]:
        """Nodes whose process has not ended, as far as is known."""
        return [name for name, process in self.processes.items() if not process.ended]

    @property
    def agents_up(self) -> list[str]:
        """Agents that take part."""
        return self._view.membership.names(*UP, role="agent")

    def start_all(self, slots: Sequence[Slot], now: float) -> None:
        """Place all nodes and have each started; `placement.json` and `hosts.json` record where."""
        configuration, directory = self._view.configuration, self._view.files.directory
        self._requests = node_requests(configuration)
        self._place(slots)
        machines = {slot.name: self._hosts.records[slot.name].machine for slot in slots}
        hosts = [{"name": s.name, "machine": machines[s.name], "cores": s.cores, "memory": s.memory, "gpus": s.gpus} for s in slots]
        write_json(directory / "hosts.json", hosts)
        for request in self._requests:
            self._start(request.name, "env" if request.role == "env" else "agent", now)

    def adopt(self, slots: Sequence[Slot], placement: Mapping[str, str], incarnations: Mapping[str, int], now: float) -> None:
        """Take over the nodes that an earlier run server has had started. Their hosts answer the repeated `StartNode` with the process, or
        with its end; one that they did not receive any more is carried out now."""
        directory = self._view.files.directory
        self._requests = node_requests(self._view.configuration)
        self._records = [record for record in read_records(directory) if record.name in incarnations or record.name in self._hosts.records]
        self._where.update(placement)
        self._place(slots)
        for name, incarnation in incarnations.items():
            role: Role = "env" if name == ENVIRONMENT else "agent"
            self._view.membership.expect(name, role, incarnation, now, "its process goes on")
            host = self._where[name]
            start = StartNode(node=name, role=role, incarnation=incarnation, threads=self._threads(host))
            self.processes[name] = NodeProcess(host, start)
            self.returned.add(name)  # one that has not joined yet comes into a run that goes on

    def restart(self, name: str, now: float, cold: bool = False) -> None:
        """Have the next incarnation of a node started where it was placed, `cold` without its checkpoints."""
        self.returned.add(name)
        self._view.collector.forget(name)
        self._start(name, self.processes[name].start.role, now, cold)

    def relocate(self) -> dict[str, str]:
        """Place the nodes of hosts that are lost on those that live: the new host of each that moves. Running nodes stay where they are.
        `PlacementError` where there is no room."""
        before = dict(self._where)
        living = self._hosts.living
        self._place([slot for slot in self._slots if slot.name in living])
        return {name: host for name, host in self._where.items() if before[name] != host}

    def _place(self, slots: Sequence[Slot]) -> None:
        self._where.update(place(self._requests, slots, self._view.configuration.launch.placement, self._where))
        self._slots = list(slots)
        write_json(self._view.files.directory / "placement.json", self._where)

    def _threads(self, host: str) -> int:
        """Computing threads for each node there: those that were started before others came or went keep what they have."""
        threads = self._view.configuration.launch.threads
        if threads != "auto":
            return threads
        cores = next(slot.cores for slot in self._slots if slot.name == host)
        return max(1, int(cores / sum(other == host for other in self._where.values())))

    def started(self, host: str, message: NodeStarted) -> None:
        """A host reports that the process runs, and its key; reports of other hosts are ignored."""
        process = self.processes.get(message.node)
        if process is not None and process.host == host and process.start.incarnation == message.incarnation and process.pid is None:
            process.pid = self._view.pids[message.node] = message.pid
            self.record(message.node, message.pid)
            if message.key:
                self._view.membership.keyed(message.node, message.incarnation, message.key)

    def pid_here(self, name: str) -> int | None:
        """The process of a node or host, where it is on this machine."""
        node = self.processes.get(name)
        host = self._hosts.records.get(name if node is None else node.host)
        if host is None or host.machine != socket.gethostname():
            return None
        return host.pid if node is None else node.pid

    def ended(self, message: NodeEnded) -> int | None:
        """A host reports that the process ended: the exit code that counts, or None when that is no news."""
        process = self.processes.get(message.node)
        if process is None or process.start.incarnation != message.incarnation or process.ended:
            return None
        # Whatever its exit code: a node that was declared dead was ended by us.
        code = message.code if process.kill_due is None else -9
        process.ended, process.kill_due = True, None
        return code

    def host_lost(self, host: str, how: str) -> list[str]:
        """All processes of a host count as ended: those that had not."""
        self.files.lost(host, time.monotonic())
        lost = [name for name, process in self.processes.items() if process.host == host and not process.ended]
        for name in lost:
            process = self.processes[name]
            process.ended, process.kill_due = True, None
            self._view.membership.ended(name, process.start.incarnation, False, f"its host {host} {how}")
        return lost

    def declared_dead(self, name: str, incarnation: int, now: float) -> bool:
        """Have a process killed that is silent but may live; False when it has ended already."""
        process = self.processes[name]
        if process.ended or process.start.incarnation != incarnation:
            return False
        process.kill_due = now
        return True

    def end(self, name: str, now: bool) -> None:
        """SIGTERM, or `now` SIGKILL, to a node's process group."""
        self._transport.try_send("ctl", self.processes[name].host, StopNode(node=name, now=now))

    def signal(self, name: str, incarnation: int, number: Literal["stop", "cont", "term", "kill"]) -> None:
        """Have a signal sent to the process of that incarnation, once; nothing where another one runs."""
        process = self.processes[name]
        if not process.ended and process.start.incarnation == incarnation:
            self._transport.try_send("ctl", process.host, SignalNode(node=name, incarnation=incarnation, signal=number))

    def insist(self, now: float) -> None:
        """Send what is not confirmed, and a node its files before it starts."""
        for send in self.files.turn(now):
            self._transport.try_send("ctl", send.dst, send.message, send.arrays)
        for name, process in self.processes.items():
            if process.pid is None and not process.ended and process.due <= now and self.files.ready(name):
                process.due = now + RETRY
                self._transport.try_send("ctl", process.host, process.start)
            if process.kill_due is not None and process.kill_due <= now:
                process.kill_due = now + RETRY
                self.end(name, now=True)

    def record(self, name: str, pid: int) -> None:
        """Note a process of the run in `processes.json`, so that it can be found after a crash of the run server; on this machine only: the
        number of a process on another one is another process here."""
        record = identify(name, pid) if self._view.configuration.launch.one_machine else None
        if record is not None and record not in self._records:
            self._records.append(record)
            write_records(self._view.files.directory, self._records)

    def _start(self, name: str, role: Role, now: float, cold: bool = False) -> None:
        incarnation = self._view.files.next_incarnation(name)
        self._view.membership.expect(name, role, incarnation, now)
        self._view.troubles.pop(name, None)
        self._view.pids.pop(name, None)
        host, old = self._where[name], self.processes.get(name)
        if old is None or old.host != host:
            self.files.prepare(name, host)
        start = StartNode(node=name, role=role, incarnation=incarnation, threads=self._threads(host), cold=cold)
        self.processes[name] = NodeProcess(host, start)
