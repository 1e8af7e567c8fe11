"""Which node runs on which slot: one pure function for every engine.

Memory and GPUs are never given away twice. Cores are shared where there are too few of them (processes then run slower, which is no
reason to refuse a run), but a node that needs more cores than a whole slot has does not fit there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from orchestrator.launch.launch_settings import PlacementSettings
from protocols.runtime.errors import ResourceError
from protocols.runtime.settings_types import format_size

if TYPE_CHECKING:
    from orchestrator.config.configuration import Configuration

_MOST_STEPS = 20_000
_ROUNDING = 1e-9


@dataclass(frozen=True)
class NodeRequest:
    """What one node needs: processor cores (fractions allowed), memory in bytes, whole GPUs."""

    name: str
    role: str
    cores: float
    memory: int
    gpus: int = 0


@dataclass(frozen=True)
class Slot:
    """What one host offers; `labels` are facts that pins can ask for."""

    name: str
    cores: float
    memory: int
    gpus: int = 0
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    bind: str = ""
    """address that nodes there are bound to, where one is configured"""
    advertise: str = ""
    """address by which others reach them, where one is configured"""


def node_requests(configuration: Configuration) -> list[NodeRequest]:
    """Every node of the run with what it needs: env-0, then the agents."""
    agent, env = configuration.launch.resources.agent, configuration.launch.resources.env
    return [
        NodeRequest("env-0", "env", env.cores, env.memory, env.gpus),
        *(NodeRequest(name, "agent", agent.cores, agent.memory, agent.gpus) for name in configuration.agent_names()),
    ]


class PlacementError(ResourceError):
    """A node that fits nowhere; the text names it and what each slot lacks."""

    def __init__(self, node: str, text: str) -> None:
        super().__init__(text)
        self.node = node


def place(
    nodes: Sequence[NodeRequest],
    slots: Sequence[Slot],
    policy: PlacementSettings,
    previous: Mapping[str, str] | None = None,
    share_cores: bool = True,
) -> dict[str, str]:
    """Slot name of every node, by node name in the order of `nodes`.

    `pack` fills one slot after the other, `spread` takes the least loaded one. Pins bind a node (by its name, else by the first glob that
    matches) to a slot's name or to labels (`zone=west`, several joined by commas). Nodes stay where they were in `previous` as long as
    that slot is there and has room for them; they move only when another node cannot be placed otherwise, as few as a short search
    finds. The result depends on the arguments only, not on the order of `nodes`. With `share_cores` false cores are as hard as memory.
    `PlacementError` when a node fits nowhere.
    """
    for kind, names in (("nodes", [node.name for node in nodes]), ("slots", [slot.name for slot in slots])):
        if len(set(names)) != len(names):
            raise ValueError(f"two {kind} have one name")
    plan = _Plan(list(slots), policy, share_cores, previous or {})
    order = sorted(nodes, key=lambda node: (len(plan.allowed(node)), -node.gpus, -node.memory, -node.cores, natural(node.name)))
    for node in order:
        if not plan.allowed(node):
            raise PlacementError(node.name, plan.why_not(node))
    stayed = [node for node in order if node.name in plan.previous and plan.stay(node)]
    rest = [node for node in order if node.name not in plan.where]
    if not plan.greedy(rest) and not plan.search(rest) and not plan.move(rest, stayed):
        node = next(node for node in rest if plan.preferred(node) is None or not plan.put(node))
        raise PlacementError(node.name, plan.why_not(node))
    return {node.name: plan.where[node.name] for node in nodes}


def natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sorting key by which agent-2 comes before agent-10."""
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name) if part)


@dataclass
class _Plan:
    slots: list[Slot]
    policy: PlacementSettings
    share_cores: bool
    previous: Mapping[str, str]
    where: dict[str, str] = field(default_factory=dict)
    steps: int = 0

    def __post_init__(self) -> None:
        self.by_name = {slot.name: slot for slot in self.slots}
        self.rank = {slot.name: index for index, slot in enumerate(self.slots)}
        self.cores = {slot.name: float(slot.cores) for slot in self.slots}
        self.memory = {slot.name: slot.memory for slot in self.slots}
        self.gpus = {slot.name: slot.gpus for slot in self.slots}

    def pin(self, node: NodeRequest) -> str | None:
        pins = self.policy.pins
        if node.name in pins:
            return pins[node.name]
        return next((slot for glob, slot in pins.items() if fnmatchcase(node.name, glob)), None)

    def allowed(self, node: NodeRequest) -> list[Slot]:
        """Slots on which the node could run if it were alone."""
        pin = self.pin(node)
        return [
            slot
            for slot in self.slots
            if (pin is None or _pinned(slot, pin))
            and node.cores <= slot.cores + _ROUNDING
            and node.memory <= slot.memory
            and node.gpus <= slot.gpus
        ]

    def fits(self, node: NodeRequest, slot: Slot) -> bool:
        enough = self.share_cores or node.cores <= self.cores[slot.name] + _ROUNDING
        return enough and node.memory <= self.memory[slot.name] and node.gpus <= self.gpus[slot.name]

    def preferred(self, node: NodeRequest) -> list[Slot] | None:
        """Slots with room, best first; None without any."""
        found = [slot for slot in self.allowed(node) if self.fits(node, slot)]

        def load(slot: Slot) -> float:
            return (slot.cores - self.cores[slot.name] + node.cores) / slot.cores if slot.cores else float("inf")

        def key(slot: Slot) -> tuple[bool, float, int]:
            stays = self.previous.get(node.name) != slot.name
            if self.policy.policy == "pack" and load(slot) <= 1 + _ROUNDING:
                return (stays, 0.0, self.rank[slot.name])
            return (stays, round(load(slot), 9), self.rank[slot.name])

        return sorted(found, key=key) or None

    def take(self, node: NodeRequest, slot: str, sign: int = 1) -> None:
        self.cores[slot] -= sign * node.cores
        self.memory[slot] -= sign * node.memory
        self.gpus[slot] -= sign * node.gpus
        if sign > 0:
            self.where[node.name] = slot
        else:
            del self.where[node.name]

    def stay(self, node: NodeRequest) -> bool:
        """Put a node where it was, if that is possible."""
        slot = self.by_name.get(self.previous[node.name])
        if slot is None or slot not in self.allowed(node) or not self.fits(node, slot):
            return False
        self.take(node, slot.name)
        return True

    def put(self, node: NodeRequest) -> bool:
        slots = self.preferred(node)
        if slots:
            self.take(node, slots[0].name)
        return bool(slots)

    def greedy(self, nodes: Sequence[NodeRequest]) -> bool:
        """Each node in turn on its best slot; on failure all is as before."""
        done: list[NodeRequest] = []
        for node in nodes:
            if not self.put(node):
                self.undo(done)
                return False
            done.append(node)
        return True

    def undo(self, nodes: Iterable[NodeRequest]) -> None:
        for node in nodes:
            self.take(node, self.where[node.name], -1)

    def search(self, nodes: Sequence[NodeRequest]) -> bool:
        """Depth-first over all assignments, up to a number of steps."""
        self.steps = 0
        return self._search(list(nodes))

    def _search(self, nodes: list[NodeRequest]) -> bool:
        if not nodes:
            return True
        options = [(self.preferred(node) or [], node) for node in nodes]
        slots, node = min(options, key=lambda option: len(option[0]))
        rest = [other for other in nodes if other is not node]
        for slot in slots:
            self.steps += 1
            if self.steps > _MOST_STEPS // max(1, len(nodes)):
                return False
            self.take(node, slot.name)
            if self._search(rest):
                return True
            self.take(node, slot.name, -1)
        return False

    def move(self, nodes: Sequence[NodeRequest], stayed: Sequence[NodeRequest]) -> bool:
        """Make room by moving one node that had stayed, or if that is not enough, any of them."""
        for node in stayed:
            slot = self.where[node.name]
            self.take(node, slot, -1)
            if self.search([*nodes, node]):
                return True
            self.take(node, slot)
        kept = [(node, self.where[node.name]) for node in stayed]
        self.undo(stayed)
        if len(stayed) > 1 and self.search([*nodes, *stayed]):
            return True
        for node, slot in kept:
            self.take(node, slot)
        return False

    def why_not(self, node: NodeRequest) -> str:
        pin = self.pin(node)
        needs = f"{node.cores:g} cores, {format_size(node.memory)}" + (f", {node.gpus} GPU" if node.gpus else "")
        text = f"{node.name} fits on no slot; it needs {needs}"
        slots = self.slots if pin is None else [slot for slot in self.slots if _pinned(slot, pin)]
        if pin is not None:
            text += f" and is pinned to {pin}"
            if not slots:
                return f"{text}, but the slots are {', '.join(slot.name for slot in self.slots) or 'none'}; change launch.placement.pins"
        lacks = "; ".join(f"{slot.name} lacks {', '.join(self.lacking(node, slot))}" for slot in slots)
        return f"{text}: {lacks}; lower launch.resources.{node.role}" if lacks else f"{text}: there are no slots"

    def lacking(self, node: NodeRequest, slot: Slot) -> list[str]:
        cores = slot.cores if self.share_cores else self.cores[slot.name]
        parts = []
        if node.cores > cores + _ROUNDING:
            parts.append(f"{node.cores - cores:g} cores")
        if node.memory > self.memory[slot.name]:
            parts.append(f"{format_size(node.memory - self.memory[slot.name])} of memory")
        if node.gpus > self.gpus[slot.name]:
            parts.append(f"{node.gpus - self.gpus[slot.name]} GPU")
        return parts or ["room beside the nodes that it must not move"]


def _pinned(slot: Slot, pin: str) -> bool:
    if "=" not in pin:
        return slot.name == pin
    wanted = (part.strip().partition("=") for part in pin.split(","))
    return all(slot.labels.get(label) == value for label, _, value in wanted)
