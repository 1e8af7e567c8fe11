"""The run server's side of its hosts: invited through the engine, admitted by `Hello`, watched by heartbeat and by the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.launch.engine import Engine, HostHandle, HostPhase, Invitation
from orchestrator.launch.placement import Slot
from orchestrator.launch.process_control import ProcessRecord
from orchestrator.run_server.hosts.restart_supervision import describe_exit
from orchestrator.run_server.lead.ordered_stop import OrderedStop, StopTimeouts
from protocols.conversations.membership.membership import Membership, MembershipTimeouts, MemberState

PATIENCE = 600.0
"""seconds for hosts that bring their files home before they end; without heartbeat they are lost long before"""


@dataclass
class HostRecord:
    """State of one host as the run server records it."""

    handle: HostHandle
    machine: str = ""
    """name of the machine, from its `Hello`"""
    pid: int = 0
    """its process there"""
    ended: bool = False
    lost: bool = False
    """it was reported as lost"""
    key: str = ""
    """its public key, as the engine has it from the host itself"""


class RunHosts:
    """All hosts of a run: capacity is asked for, hosts are invited when it is there, watched and ended. `admit(host, key)` is called once
    the engine has the public key of a host."""

    def __init__(
        self, engine: Engine[Any], timeouts: MembershipTimeouts, admit: Callable[[str, str], None] = lambda host, key: None
    ) -> None:
        self._engine = engine
        self._admit = admit
        self.membership = Membership(timeouts)
        self.records: dict[str, HostRecord] = {}
        self.slots: Sequence[Slot] = ()
        """the capacity, once it is there"""
        self.patience = StopTimeouts.stop
        """seconds that hosts have to end after the command"""
        self._stopping: OrderedStop | None = None

    @property
    def waiting(self) -> str:
        """For what capacity is waited, in the engine's words."""
        return self._engine.waiting

    def start(self, invitation: Invitation, logs: Path, now: float) -> bool:
        """Once the capacity is there, have the engine start one host per slot, named after it; False as long as it isn't."""
        slots = self._engine.granted()
        if slots is None:
            return False
        self.slots = slots
        for slot in slots:
            self.membership.expect(slot.name, "host", 1, now)
            own = replace(
                invitation,
                host=slot.name,
                bind=slot.bind or invitation.bind,
                advertise=slot.advertise or invitation.advertise,
            )
            handle = self._engine.start_host(slot, own, logs / f"{slot.name}.log")
            self.records[slot.name] = HostRecord(handle)
        return True

    def adopt(self, processes: Mapping[str, ProcessRecord], now: float) -> None:
        """Take over hosts that an earlier run server has started, by their processes; they will send `Hello` again."""
        self.slots = self._engine.granted() or ()
        for slot in self.slots:
            self.membership.expect(slot.name, "host", 1, now)
            self.records[slot.name] = HostRecord(self._engine.adopt(slot, processes[slot.name]))

    @property
    def all_in(self) -> bool:
        """Every host has sent `Hello`."""
        return bool(self.records) and all(self.membership[name].state == MemberState.ALIVE for name in self.records)

    @property
    def living(self) -> list[str]:
        """Hosts that take part."""
        return [name for name, record in self.records.items() if not record.ended and self.membership[name].state == MemberState.ALIVE]

    @property
    def running(self) -> list[str]:
        """Hosts whose process has not ended, as far as is known."""
        return [name for name, record in self.records.items() if not record.ended]

    def abandon(self, name: str) -> None:
        """The run goes on without this host: where its process still runs, it is killed."""
        self._engine.end(self.records[name].handle, now=True)

    def watch(self, now: float) -> list[tuple[str, int | None, str]]:
        """(host, exit code if known, reason) of each host that is newly lost."""
        lost = []
        for name, record in self.records.items():
            if record.ended:
                continue
            state = self._engine.poll(record.handle)
            if state.key and not record.key:
                record.key = state.key
                self._admit(name, state.key)
            if state.phase != HostPhase.RUNNING:
                record.ended = True
                how = state.reason or ("ended" if state.code is None else describe_exit(state.code))
                self.membership.ended(name, 1, left=state.code == 0, reason=how)
                if not record.lost:
                    lost.append((name, state.code, how))
        self.membership.tick(now, judge_progress=False)
        for change in self.membership.changes():
            if change.new == MemberState.DEAD and not self.records[change.node].ended:
                lost.append((change.node, None, change.reason))
        for name, _, _ in lost:
            self.records[name].lost = True
        return lost

    def end(self, now: float, at_once: bool = False) -> bool:
        """End hosts that received the stop command and did not: after `patience` the engine asks them, 5 s later it kills them. Those that
        are lost return no files, so that is not waited for; nor with `at_once`. True when no host is left to wait for."""
        if self._stopping is None:
            self._stopping = OrderedStop([list(self.records)], grace=StopTimeouts(stop=self.patience))
        remaining = self.running
        if at_once or all(self.records[name].lost for name in remaining):
            self._stopping.hurry()
        for name, measure in self._stopping.tick(now, remaining):
            # No message reaches a host yet that is joining.
            if measure != "stop" or self.membership[name].state == MemberState.JOINING:
                self._engine.end(self.records[name].handle, now=measure == "kill")
        return self._stopping.done
