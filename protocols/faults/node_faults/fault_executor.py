"""Carries out, inside a node, what the fault schedule has for it: at exactly its step, episode or round, and once.

A driver reports the position in the run (`advance`) whenever it changes and before it has consequences; faults that are due begin
at once. Faults that are due by time come as orders of the run server (`begin`, `heal`), unless the driver has a time of its own.
What has begun is in the node's log (`protocols.faults.node_faults.fault_log`), so that the next incarnation neither repeats it nor
drops a fault that lasts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path

from protocols.faults.fault_schedule import UNITS, RunMoment, RunPosition, Unit
from protocols.faults.node_faults import disk as disks
from protocols.faults.node_faults import process_faults as process
from protocols.faults.node_faults.fault_log import FaultLog
from protocols.faults.node_faults.process_faults import ActivitySlowdown, SkewedClock
from protocols.faults.node_faults.scheduled_faults import MOMENTARY, ScheduledFault
from protocols.faults.settings import ByzantineFault, ClockSkew, ProcessFault, StorageFault, Straggler
from protocols.runtime.clock import unix_time

logger = logging.getLogger(__name__)

LONGEST_HANG = 3600.0
"""seconds after which a hang ends by itself"""
SLOW_DISK = 10.0
"""how many times as long a slow disk takes"""


@dataclass
class ActiveFault:
    """A fault that lasts at present."""

    node_fault: ScheduledFault
    until: RunMoment | None
    """where it ends; the unit `time` counts in the unix seconds of this machine"""


@dataclass
class Hooks:
    """What only the node itself can do."""

    leave: Callable[[str], None] = lambda reason: None
    """go in order, with a checkpoint, and end with exit code 0"""
    checkpoint_files: Callable[[], Path | None] = lambda: None
    """the file that a storage fault damages: the arrays of the newest checkpoint"""
    note: Callable[[str], None] = field(default=lambda text: logger.warning("%s", text))
    """report what was done"""


class FaultExecutor:
    """The faults of one node. `heal`: by unit, from where on nothing is broken any more. All calls are made by the main thread."""

    def __init__(
        self,
        log: FaultLog,
        scheduled_faults: Sequence[ScheduledFault],
        pace: ActivitySlowdown,
        clock: SkewedClock,
        hooks: Hooks,
        incarnation: int = 1,
        heal: Mapping[str, float] | None = None,
    ) -> None:
        self.reached = RunPosition(-1, -1, -1, -1)
        self.byzantine_attacks: dict[str, ByzantineFault] = {}
        """active Byzantine faults of this node, by id"""
        self._log = log
        self._pending = [node_fault for node_fault in scheduled_faults if node_fault.id not in log.begun]
        self.active: dict[str, ActiveFault] = {}
        """what lasts at present, by id"""
        self._heal = dict(heal or {})
        self._pace = pace
        self._clock = clock
        self._hooks = hooks
        self._hang = process.Hang()
        self._looked: dict[str, bool] = dict.fromkeys(UNITS, incarnation == 1)
        for node_fault in scheduled_faults:
            if (line := log.unfinished.get(node_fault.id)) is not None and node_fault.kind not in MOMENTARY:
                until = line.get("until")
                ends = RunMoment(until["unit"], float(until["value"])) if isinstance(until, dict) else None
                self.active[node_fault.id] = ActiveFault(node_fault, ends)
                self._start(node_fault)
                self._hooks.note(f"fault {node_fault.id} goes on: {node_fault.kind}")

    # --- what drives it -----------------------------------------------------------------------------------------------------------

    def advance(self, **reached: float) -> None:
        """The run has come so far (`step=`, `episode=`, `round=`, `time=`): end what is over, begin what is due.

        Faults before the first position that a restarted node receives are past, and never begin.
        """
        for name, value in reached.items():
            setattr(self.reached, name, max(value, getattr(self.reached, name)))
            if not self._looked[name]:
                self._looked[name] = True
                self._pending = [d for d in self._pending if not (d.start.unit == name and d.start.value <= value)]
        for active in list(self.active.values()):
            if active.until is not None and self._now(active.until.unit) >= active.until.value:
                self.heal(active.node_fault.id)
        if any(self.reached.of(unit) >= value for unit, value in self._heal.items()):
            self._heal = {}
            self.heal()
        while due := [node_fault for node_fault in self._pending if self._due(node_fault)]:
            self.begin(min(due, key=lambda node_fault: node_fault.start.value))

    def begin(self, node_fault: ScheduledFault) -> None:
        """Do it now; nothing, if it has begun already. May not return."""
        self._pending = [other for other in self._pending if other.id != node_fault.id]
        if node_fault.id in self.active or (node_fault.id in self._log.begun and node_fault.kind in MOMENTARY):
            return
        until = self._end(node_fault)
        where = {} if until is None else {"until": {"unit": until.unit, "value": until.value}}
        self._hang.get_ready()
        self._log.write("begin", node_fault.id, node_fault.kind, **self.reached.known(), **where)
        self._hooks.note(f"fault {node_fault.id} begins: {node_fault.kind}")
        if node_fault.kind not in MOMENTARY:
            self.active[node_fault.id] = ActiveFault(node_fault, until)
        self._start(node_fault)

    def heal(self, fault: str = "*") -> None:
        """End what lasts: one fault, or all; what has not begun yet never will where all are healed."""
        if fault == "*":
            self._pending = []
        for name in [fault] if fault != "*" else list(self.active):
            active = self.active.pop(name, None)
            if active is not None:
                self._stop(active.node_fault)
                self._log.write("end", name, active.node_fault.kind, **self.reached.known())
                self._hooks.note(f"fault {name} ends: {active.node_fault.kind}")

    def apply_order(self, orders: Iterable[tuple[str, str]]) -> None:
        """Orders of the run server: (fault, `ScheduledFault.to_json`) or (heal, id)."""
        for op, what in orders:
            if op == "heal":
                self.heal(what)
                continue
            try:
                node_fault = ScheduledFault.from_json(what)
            except ValueError as error:
                logger.error("%s", error)
                continue
            self.begin(node_fault)

    # --- when ---------------------------------------------------------------------------------------------------------------------

    def _due(self, node_fault: ScheduledFault) -> bool:
        return self._looked[node_fault.start.unit] and 0 <= node_fault.start.value <= self.reached.of(node_fault.start.unit)

    def _now(self, unit: Unit) -> float:
        return unix_time() if unit == "time" and self.reached.time < 0 else self.reached.of(unit)

    def _end(self, node_fault: ScheduledFault) -> RunMoment | None:
        if node_fault.lasts is None:
            return None
        # In the unit of the beginning the length counts from the place that was asked for, not from where it was noticed.
        unit = node_fault.lasts.unit
        asked = unit == node_fault.start.unit and isfinite(node_fault.start.value) and (unit != "time" or self.reached.time >= 0)
        began = node_fault.start.value if asked else max(0.0, self._now(unit))
        return RunMoment(unit, began + node_fault.lasts.value)

    # --- what ---------------------------------------------------------------------------------------------------------------------

    def _start(self, node_fault: ScheduledFault) -> None:
        what = node_fault.what
        if isinstance(what, ProcessFault):
            self._process(node_fault, what)
        elif isinstance(what, Straggler):
            self._pace.slow(node_fault.id, what.where, what.factor)
        elif isinstance(what, ClockSkew):
            self._clock.skew(node_fault.id, what.offset, what.drift_ppm * 1e-6)
        elif isinstance(what, ByzantineFault):
            self.byzantine_attacks[node_fault.id] = what
        elif isinstance(what, StorageFault):
            self._storage(node_fault, what)
        else:
            self._hooks.leave(f"leaves by the fault schedule ({node_fault.id})")

    def _stop(self, node_fault: ScheduledFault) -> None:
        what = node_fault.what
        if isinstance(what, Straggler):
            self._pace.recover(node_fault.id)
        elif isinstance(what, ClockSkew):
            self._clock.recover(node_fault.id)
        elif isinstance(what, ByzantineFault):
            self.byzantine_attacks.pop(node_fault.id, None)
        elif isinstance(what, StorageFault):
            self._set_disk()

    def _process(self, node_fault: ScheduledFault, what: ProcessFault) -> None:
        if what.action == "exit":
            process.end(what.code)
        elif what.action == "oom":
            process.run_out_of_memory()
        elif what.action == "hang":
            lasts = node_fault.lasts
            seconds = self._hang.hang(lasts.value if lasts is not None and lasts.unit == "time" else LONGEST_HANG)
            self._log.write("end", node_fault.id, node_fault.kind, seconds=seconds, **self.reached.known())
        else:
            process.signal_itself(what.action)
            if what.action == "pause":
                self._log.write("end", node_fault.id, node_fault.kind, **self.reached.known())

    def _set_disk(self) -> None:
        """As everything that lasts has it: when one fault of the disk ends, another may go on."""
        actions = {active.node_fault.what.action for active in self.active.values() if isinstance(active.node_fault.what, StorageFault)}
        disks.disk.full = "full" in actions
        disks.disk.slowness = SLOW_DISK if "slow" in actions else 1.0

    def _storage(self, node_fault: ScheduledFault, what: StorageFault) -> None:
        if what.action in ("full", "slow"):
            self._set_disk()
        else:
            path = self._hooks.checkpoint_files()
            if path is None:
                self._hooks.note(f"fault {node_fault.id}: there is no checkpoint to damage yet")
            else:
                disks.damage(path, what.action, node_fault.id)
