"""The links of one node of a run, from the run's configuration (as sent in `Welcome`), and link faults requested by hand during a run
(`clock: wall`): the order, and its execution by a node.

What a process does to itself travels as a `ScheduledFault`; what the links do has to begin in every process that sends, whether or not the
run's configuration has faults for them.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protocols.faults.fault_schedule import LINK_KINDS, FaultSchedule, RunPosition
from protocols.faults.link_effects.faulty_links import FaultyLinks, ReplayedLinks
from protocols.faults.link_effects.link_trace import LinkTraceWriter, RecordedPast, read_past, recorded_changes
from protocols.faults.node_faults.scheduled_faults import faults_of, run_schedule
from protocols.faults.settings import FaultEvent
from protocols.runtime.clock import unix_time
from protocols.runtime.node_start import NodeStart

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from protocols.faults.link_effects.link_shim import Shim
    from protocols.runtime.node_control import Entrance
    from protocols.transport import Transport
    from protocols.transport.connections import Destination


def links_of(
    configuration: Mapping[str, Any], own: str, epoch: int = 1, past: RecordedPast = RecordedPast(), late: bool = False
) -> FaultyLinks | None:
    """The links of node `own`, or None without effects. `epoch` is the incarnation, or under the logical clock a number on which all
    agents agree since their messages were numbered anew; `past` is what earlier incarnations have written; `late`: the node receives the
    position of the run only gradually (under the logical clock completely at once)."""
    schedule, faults = run_schedule(configuration), faults_of(configuration)
    if faults is None and not schedule.events:
        return None
    seed = 0 if faults is None else faults.seed
    if faults is not None and faults.mode == "replay" and faults.trace is not None:
        changes = recorded_changes(Path(faults.trace), own, epoch, LINK_KINDS)
        return ReplayedLinks(schedule, seed, own, changes, epoch)
    return FaultyLinks(schedule, seed, own, epoch, past.begun, past.ended, late)


def recorder_of(configuration: Mapping[str, Any], start: NodeStart, wall: bool) -> LinkTraceWriter:
    """The writer of the link trace of this node."""
    faults = faults_of(configuration)
    full = faults is not None and faults.record == "full"
    return LinkTraceWriter(start.node_directory, start.node, start.incarnation, full, unix_time if wall else None)


def inject_late(transport: Transport, start: NodeStart, configuration: Mapping[str, Any], elapsed: float) -> Shim[Destination]:
    """Apply link faults to the messages of this process from now on, `elapsed` seconds after training began, though the configuration of
    the run has none. No fault is active at first: they begin by orders."""
    past, faults = _past(start), faults_of(configuration)
    seed = 0 if faults is None else faults.seed
    links = FaultyLinks(FaultSchedule(), seed, start.node, start.incarnation, past.begun, past.ended, late=True)
    return transport.inject(links, recorder_of(configuration, start, wall=True), time.monotonic() - elapsed)


def inject(
    transport: Transport, start: NodeStart, configuration: Mapping[str, Any], trained: float = 0.0, training: bool = False
) -> Shim[Destination] | None:
    """Under `clock: wall`, apply the run's link faults to the messages of this process; None without faults. `trained`: seconds of
    training so far, without those in which the run was interrupted; `training`: they go on, else they will with `Shim.start`."""
    if configuration["clock"] != "wall":
        return None
    links = links_of(configuration, start.node, start.incarnation, _past(start), late=start.incarnation > 1)
    if links is None:
        return None
    if run_schedule(configuration).damages:
        transport.guard.damage_expected = True
    origin = time.monotonic() - trained if training else None
    return transport.inject(links, recorder_of(configuration, start, wall=True), origin, trained)


def _past(start: NodeStart) -> RecordedPast:
    return read_past(start.node_directory, LINK_KINDS) if start.incarnation > 1 else RecordedPast()


@dataclass(frozen=True)
class ManualLinkFault:
    """An event of the kinds `link` or `partition`, and how far the run was when it began."""

    event: FaultEvent
    reached: RunPosition

    def to_json(self) -> str:
        """For `Command.fault`."""
        return json.dumps({"event": self.event.model_dump(mode="json"), "reached": asdict(self.reached)}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ManualLinkFault | None:
        """Read an order; None for one of another kind. `ValueError` for what is none."""
        fields = json.loads(text)
        if not isinstance(fields, dict) or "event" not in fields:
            return None
        try:
            return cls(FaultEvent.model_validate(fields["event"]), RunPosition(**fields["reached"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"no order of a fault: {error!r}") from None


def carry_out(
    entrance: Entrance, shim: Shim[Destination] | None, orders: Iterable[tuple[str, str]]
) -> tuple[Shim[Destination] | None, list[tuple[str, str]]]:
    """Do what orders of the run server want of this node's links. Returns what now happens to its messages (made with the first order, in a
    run whose configuration needs none), and the orders that the process itself has to carry out."""
    transport, start, configuration = entrance.transport, entrance.start, entrance.configuration
    rest = []
    for op, what in orders:
        if op == "heal":
            rest.append((op, what))
            if shim is not None:
                shim.heal() if what == "*" else shim.end(what, time.monotonic())
            continue
        try:
            order = ManualLinkFault.from_json(what)
        except ValueError as error:
            logger.error("%s", error)
            continue
        if order is None:
            rest.append((op, what))
            continue
        if shim is None:
            shim = inject_late(transport, start, configuration, order.reached.time)
        if order.event.link is not None and order.event.link.corrupt is not None:
            transport.guard.damage_expected = True
        event = run_schedule(configuration).compiled(order.event)
        shim.begin(event, time.monotonic(), int(order.reached.step), int(order.reached.episode))
    return shim, rest
