"""What the configuration's faults are for one node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protocols.faults.deed import Deed
from protocols.faults.moments import Moment
from protocols.faults.schedule import Event, Schedule, compile_schedule, ends_of
from protocols.faults.settings import FaultsSettings
from protocols.settings import parse_duration


@dataclass(frozen=True)
class NodeFaults:
    """What a node needs to know: its deeds, where in the run everything is healed (by unit), and the seed of the faults."""

    deeds: tuple[Deed, ...] = ()
    heal: Mapping[str, float] | None = None
    seed: int = 0


def deed_of(event: Event) -> Deed | None:
    """An event as its targets carry it out; None where the links do."""
    return None if event.deed is None else Deed(event.id, event.deed, event.start, event.length)


def node_faults(configuration: Mapping[str, Any], node: str) -> NodeFaults:
    """From the run's configuration as `Welcome` brings it."""
    if not configuration.get("faults"):
        return NodeFaults()
    settings = FaultsSettings.model_validate(configuration["faults"])
    schedule = schedule_of(settings, [f"agent-{i}" for i in range(int(configuration["agents"]["count"]))], configuration["until"])
    deeds = [deed_of(event) for event in schedule.events if node in event.targets]
    return NodeFaults(tuple(deed for deed in deeds if deed is not None), schedule.heal, settings.seed)


def schedule_of(settings: FaultsSettings, agents: list[str], until: Mapping[str, Any]) -> Schedule:
    """The schedule without the network's own properties. `until`: the section of that name, its time as text or in seconds."""
    time = until.get("time")
    return compile_schedule(settings, [], agents, ends_of({**until, "time": parse_duration(time) if isinstance(time, str) else time}))


def length(moment: Moment | None) -> str:
    """`3 episodes`, for people."""
    if moment is None:
        return "until it is healed"
    return f"{moment.value:g} s" if moment.unit == "time" else f"{moment.value:g} {moment.unit}s"
