"""The fault schedule of a run, and the faults of one node, from the configuration; and how the run server orders a fault."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from protocols.faults.fault_schedule import FaultSchedule, RunMoment, ScheduledEvent, compile_schedule, ends_of, moment
from protocols.faults.settings import NODE_FAULTS, FaultsSettings, LinkRule, MembershipFault, NodeFault, ProcessFault
from protocols.runtime.settings_types import parse_duration

LETHAL = ("process.kill", "process.term", "process.exit", "process.oom", "membership.leave")
"""kinds after which the process is gone"""
MOMENTARY = (*LETHAL, "process.pause", "process.hang", "storage.corrupt_checkpoint", "storage.truncate", "storage.flip")
"""kinds that are over as soon as they have been done"""
NEVER = RunMoment("time", inf)
"""for faults that only an order begins"""
_KIND_FIELDS = {"process": "action", "straggler": "where", "byzantine": "attack", "storage": "action"}


@dataclass(frozen=True)
class ScheduledFault:
    """One fault of one node. `lasts` is counted from where it begins; None: until it is healed."""

    id: str
    what: NodeFault
    start: RunMoment
    lasts: RunMoment | None = None

    @property
    def key(self) -> str:
        """The key of such events in a configuration."""
        return next(key for key, kind in NODE_FAULTS.items() if isinstance(self.what, kind))

    @property
    def kind(self) -> str:
        """What it is, for logs: process.kill, straggler.update, byzantine.sign_flip, ..."""
        key = self.key
        fixed = {"membership": "leave", "clock": "skew"}.get(key)
        return f"{key}.{fixed or getattr(self.what, _KIND_FIELDS[key])}"

    def to_json(self) -> str:
        """For an order to the node that shall do it."""
        lasts = None if self.lasts is None else {"unit": self.lasts.unit, "value": self.lasts.value}
        return json.dumps({"id": self.id, "lasts": lasts, self.key: self.what.model_dump(mode="json")})

    @classmethod
    def from_json(cls, text: str) -> ScheduledFault:
        """Read an order; `ValueError` for what is none."""
        fields = json.loads(text)
        try:
            lasts = fields["lasts"]
            key = next(key for key in NODE_FAULTS if key in fields)
            what = NODE_FAULTS[key].model_validate(fields[key])
            return cls(str(fields["id"]), what, NEVER, None if lasts is None else RunMoment(lasts["unit"], float(lasts["value"])))
        except (KeyError, TypeError, StopIteration) as error:
            raise ValueError(f"no order of a fault: {error!r}") from None


@dataclass(frozen=True)
class NodeFaultPlan:
    """The faults of one node, the position in the run (by unit) at which all faults are healed, and the seed of the faults."""

    scheduled_faults: tuple[ScheduledFault, ...] = ()
    heal: Mapping[str, float] | None = None
    seed: int = 0


def scheduled_fault_of(event: ScheduledEvent) -> ScheduledFault | None:
    """The fault that the targets of an event execute; None for an event of the links."""
    return None if event.node_fault is None else ScheduledFault(event.id, event.node_fault, event.start, event.length)


def absence(what: NodeFault, restart: float) -> RunMoment | None:
    """How long a process is away that a fault ends; None: for ever. `restart`: seconds where the fault sets no duration."""
    if isinstance(what, MembershipFault):
        return None if what.return_after is None else moment(what.return_after)
    if isinstance(what, ProcessFault) and what.returns:
        return RunMoment("time", restart if what.restart_after is None else what.restart_after)
    return None


def node_faults(configuration: Mapping[str, Any], node: str) -> NodeFaultPlan:
    """From the configuration in `Welcome`."""
    settings = faults_of(configuration)
    if settings is None:
        return NodeFaultPlan()
    schedule = schedule_of(settings, _agents(configuration), configuration["until"])
    scheduled_faults = (scheduled_fault_of(event) for event in schedule.events if node in event.targets)
    return NodeFaultPlan(tuple(filter(None, scheduled_faults)), schedule.heal, settings.seed)


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
