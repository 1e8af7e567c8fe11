"""The fault schedule of a run, and the faults of one node, from the configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from protocols.faults.node_faults.node_fault import ScheduledFault
from protocols.faults.schedule.fault_schedule import FaultSchedule, ScheduledEvent, compile_schedule, ends_of
from protocols.faults.schedule.run_moments import RunMoment
from protocols.faults.settings import FaultsSettings, LinkRule
from protocols.runtime.settings_types import parse_duration


@dataclass(frozen=True)
class NodeFaultPlan:
    """The faults of one node, the position in the run (by unit) at which all faults are healed, and the seed of the faults."""

    scheduled_faults: tuple[ScheduledFault, ...] = ()
    heal: Mapping[str, float] | None = None
    seed: int = 0


def scheduled_fault_of(event: ScheduledEvent) -> ScheduledFault | None:
    """The fault that the targets of an event execute; None for an event of the links."""
    return None if event.node_fault is None else ScheduledFault(event.id, event.node_fault, event.start, event.length)


def node_faults(configuration: Mapping[str, Any], node: str) -> NodeFaultPlan:
    """From the configuration in `Welcome`."""
    settings = faults_of(configuration)
    if settings is None:
        return NodeFaultPlan()
    schedule = schedule_of(settings, _agents(configuration), configuration["until"])
    scheduled_faults = [scheduled_fault_of(event) for event in schedule.events if node in event.targets]
    return NodeFaultPlan(tuple(node_fault for node_fault in scheduled_faults if node_fault is not None), schedule.heal, settings.seed)


def schedule_of(
    settings: FaultsSettings | None, agents: Sequence[str], until: Mapping[str, Any], network_links: Sequence[LinkRule] = ()
) -> FaultSchedule:
    """The schedule of a run. `until`: the section of that name, its time as text or in seconds; `network_links`: the rules that hold for
    the whole run."""
    time = until.get("time")
    ends = ends_of({**until, "time": parse_duration(time) if isinstance(time, str) else time})
    return compile_schedule(settings, network_links, agents, ends)


def run_schedule(configuration: Mapping[str, Any]) -> FaultSchedule:
    """The schedule of a run with all rules of links, from its configuration: equal in all of its processes."""
    rules = [LinkRule.model_validate(rule) for rule in configuration["network"].get("links", ())]
    return schedule_of(faults_of(configuration), _agents(configuration), configuration["until"], rules)


def faults_of(configuration: Mapping[str, Any]) -> FaultsSettings | None:
    """The section `faults` of a resolved configuration; None where it has none. pydantic's `ValidationError` for one that breaks its
    rules."""
    given = configuration.get("faults")
    return None if given is None else FaultsSettings.model_validate(given)


def _agents(configuration: Mapping[str, Any]) -> list[str]:
    return [f"agent-{number}" for number in range(int(configuration["agents"]["count"]))]


def length(moment: RunMoment | None) -> str:
    """Duration of a fault as text, for example `30 s` or `3 episodes`; `until it is healed` for None."""
    if moment is None:
        return "until it is healed"
    return f"{moment.value:g} s" if moment.unit == "time" else f"{moment.value:g} {moment.unit}s"
