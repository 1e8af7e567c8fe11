"""What the configuration's faults are for one node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protocols.faults.node_faults.node_fault import ScheduledFault
from protocols.faults.schedule.fault_schedule import FaultSchedule, ScheduledEvent, compile_schedule, ends_of
from protocols.faults.schedule.run_moments import RunMoment
from protocols.faults.settings import FaultsSettings
from protocols.runtime.settings_types import parse_duration


@dataclass(frozen=True)
class NodeFaultPlan:
    """What a node needs to know: its deeds, where in the run everything is healed (by unit), and the seed of the faults."""

    scheduled_faults: tuple[ScheduledFault, ...] = ()
    heal: Mapping[str, float] | None = None
    seed: int = 0


def scheduled_fault_of(event: ScheduledEvent) -> ScheduledFault | None:
    """An event as its targets carry it out; None where the links do."""
    return None if event.node_fault is None else ScheduledFault(event.id, event.node_fault, event.start, event.length)


def node_faults(configuration: Mapping[str, Any], node: str) -> NodeFaultPlan:
    """From the run's configuration as `Welcome` brings it."""
    if not configuration.get("faults"):
        return NodeFaultPlan()
    settings = FaultsSettings.model_validate(configuration["faults"])
    schedule = schedule_of(settings, [f"agent-{i}" for i in range(int(configuration["agents"]["count"]))], configuration["until"])
    scheduled_faults = [scheduled_fault_of(event) for event in schedule.events if node in event.targets]
    return NodeFaultPlan(tuple(node_fault for node_fault in scheduled_faults if node_fault is not None), schedule.heal, settings.seed)


def schedule_of(settings: FaultsSettings, agents: list[str], until: Mapping[str, Any]) -> FaultSchedule:
    """The schedule without the network's own properties. `until`: the section of that name, its time as text or in seconds."""
    time = until.get("time")
    return compile_schedule(settings, [], agents, ends_of({**until, "time": parse_duration(time) if isinstance(time, str) else time}))


def length(moment: RunMoment | None) -> str:
    """`3 episodes`, for people."""
    if moment is None:
        return "until it is healed"
    return f"{moment.value:g} s" if moment.unit == "time" else f"{moment.value:g} {moment.unit}s"
