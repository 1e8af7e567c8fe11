"""What the configuration's faults are for one node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from protocols.faults.executor import KINDS, Deed, Moment, Unit
from protocols.faults.settings import At, FaultEvent, FaultsSettings, Membership, Span

_UNITS: dict[str, Unit] = {
    "time": "time", "step": "step", "episode": "episode", "round": "round", "steps": "step", "episodes": "episode", "rounds": "round",
}  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """One event of the schedule with its targets by name; `deed` is None where the links do it."""

    id: str
    kind: str
    targets: tuple[str, ...]
    start: Moment
    lasts: Moment | None
    deed: Deed | None


def moment(where: At | Span | None) -> Moment | None:
    """A place or length of the settings."""
    return None if where is None else Moment(_UNITS[where.chosen], float(getattr(where, where.chosen)))


def fault(event: FaultEvent, nodes: Sequence[str], start: Moment) -> Fault:
    """An event with its targets among `nodes`."""
    lasts = moment(event.duration)
    if event.chosen not in KINDS:
        return Fault(event.id, event.chosen, (), start, lasts, None)
    what = getattr(event, event.chosen)
    pattern = what.leave if isinstance(what, Membership) else what.target
    deed = Deed(event.id, what, start, lasts)
    return Fault(event.id, deed.kind, tuple(node for node in nodes if fnmatchcase(node, pattern)), start, lasts, deed)


def faults_of(settings: FaultsSettings | None, nodes: Sequence[str]) -> list[Fault]:
    """All faults of a run."""
    return [fault(event, nodes, moment(event.at) or Moment("time", 0.0)) for event in (settings.events if settings else [])]


def node_deeds(configuration: Mapping[str, Any], node: str) -> tuple[list[Deed], int]:
    """The deeds of a node, and the seed of the faults."""
    if not configuration.get("faults"):
        return [], 0
    settings = FaultsSettings.model_validate(configuration["faults"])
    nodes = ["env-0", *(f"agent-{i}" for i in range(int(configuration["agents"]["count"])))]
    return [f.deed for f in faults_of(settings, nodes) if f.deed is not None and node in f.targets], settings.seed
