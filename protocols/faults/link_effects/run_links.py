"""The links of one node of a run, from the run's configuration (as sent in `Welcome`)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protocols.faults.link_effects.faulty_links import FaultyLinks
from protocols.faults.link_effects.link_trace import LinkTraceWriter, RecordedPast, read_past, recorded_changes
from protocols.faults.link_effects.replayed_links import ReplayedLinks
from protocols.faults.node_faults.scheduled_faults import faults_of, run_schedule
from protocols.faults.schedule.fault_schedule import LINK_KINDS, FaultSchedule
from protocols.runtime.node_start import NodeStart

if TYPE_CHECKING:
    from protocols.faults.link_effects.link_shim import Shim
    from protocols.transport import Transport
    from protocols.transport.connections import Destination


def links_of(
    configuration: Mapping[str, Any], own: str, epoch: int = 1, past: RecordedPast | None = None, late: bool = False
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
    past = past or RecordedPast()
    return FaultyLinks(schedule, seed, own, epoch, past.begun, past.ended, late)


def recorder_of(configuration: Mapping[str, Any], start: NodeStart, wall: bool) -> LinkTraceWriter:
    """The writer of the link trace of this node."""
    faults = faults_of(configuration)
    full = faults is not None and faults.record == "full"
    return LinkTraceWriter(start.node_directory, start.node, start.incarnation, full, time.time if wall else None)


def inject_late(transport: Transport, start: NodeStart, configuration: Mapping[str, Any], elapsed: float) -> Shim[Destination]:
    """Apply link faults to the messages of this process from now on, `elapsed` seconds after training began, though the configuration of
    the run has none. No fault is active at first: they begin by orders."""
    past = read_past(start.node_directory, LINK_KINDS) if start.incarnation > 1 else RecordedPast()
    faults = faults_of(configuration)
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
    past = read_past(start.node_directory, LINK_KINDS) if start.incarnation > 1 else RecordedPast()
    links = links_of(configuration, start.node, start.incarnation, past, late=start.incarnation > 1)
    if links is None:
        return None
    if run_schedule(configuration).damages:
        transport.guard.expect_damage()
    origin = time.monotonic() - trained if training else None
    return transport.inject(links, recorder_of(configuration, start, wall=True), origin, trained)
