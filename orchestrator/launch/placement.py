"""Which node runs on which slot: one pure function for every engine.

Memory and GPUs are never given away twice. Cores are shared where there are too few of them (processes then run slower, which is no
reason to refuse a run), but a node that needs more cores than a whole slot has does not fit there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
) -> dict[str, str]:
    """Slot name of every node, by node name in the order of `nodes`.

    `pack` fills one slot after the other, `spread` takes the least loaded one. Pins bind a node (by its name, else by the first glob that
    matches) to a slot's name or to labels (`zone=west`, several joined by commas). Nodes stay where they were in `previous` as long as
    that slot is there and has room for them; they move only when another node cannot be placed otherwise, as few as a short search
    finds. The result depends on the arguments only, not on the order of `nodes`.
    `PlacementError` when a node fits nowhere.
    """
    for kind, names in (("nodes", [node.name for node in nodes]), ("slots", [slot.name for slot in slots])):
        if len(set(names)) != len(names):
            raise ValueError(f"two {kind} have one name")
    plan = _Plan(list(slots), policy, previous or {})
    order = sorted(nodes, key=lambda node: (len(plan.allowed(node)), -node.gpus, -node.memory, -node.cores, natural(node.name)))
    for node in order:
        if not plan.allowed(node):
            raise PlacementError(node.name, plan.why_not(node))
    stayed = [node for node in order if node.name in plan.previous and plan.stay(node)]
    rest = [node for node in order if node.name not in plan.where]
    if not plan.greedy(rest) and not plan.search(rest) and not plan.move(rest, stayed):
        node = next(node for node in rest if not plan.put(node))
        raise PlacementError(node.name, plan.why_not(node))
    return {node.name: plan.where[node.name] for node in nodes}


def natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sorting key by which agent-2 comes before agent-10."""
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name) if part)


class _Plan:
    def __init__(self, slots: list[Slot], policy: PlacementSettings, previous: Mapping[str, str]) -> None:
        self.slots, self.policy, self.previous = slots, policy, previous
        self.free = {slot.name: slot for slot in slots}
        """by name, what is left of each slot"""
        self.where: dict[str, str] = {}
        self.steps = 0

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
            if (pin is None or _pinned(slot, pin)) and node.cores <= slot.cores + _ROUNDING and _holds(slot, node)
        ]

    def preferred(self, node: NodeRequest) -> list[Slot]:
        """Slots with room, best first; of equal ones, the first."""

        def key(slot: Slot) -> tuple[bool, float]:
            load = (slot.cores - self.free[slot.name].cores + node.cores) / slot.cores if slot.cores else float("inf")
            full = self.policy.policy != "pack" or load > 1 + _ROUNDING
            return self.previous.get(node.name) != slot.name, round(load, 9) if full else 0.0

        return sorted((slot for slot in self.allowed(node) if _holds(self.free[slot.name], node)), key=key)

    def add(self, node: NodeRequest, slot: str) -> None:
        self._take(node, slot, 1)
        self.where[node.name] = slot

    def remove(self, node: NodeRequest) -> str:
        """The slot where it was."""
        slot = self.where.pop(node.name)
        self._take(node, slot, -1)
        return slot

    def _take(self, node: NodeRequest, slot: str, sign: int) -> None:
        free = self.free[slot]
        cores, memory, gpus = free.cores - sign * node.cores, free.memory - sign * node.memory, free.gpus - sign * node.gpus
        self.free[slot] = replace(free, cores=cores, memory=memory, gpus=gpus)

    def stay(self, node: NodeRequest) -> bool:
        """Put a node where it was, if that is possible."""
        slots = self.preferred(node)
        if not slots or slots[0].name != self.previous[node.name]:
            return False
        self.add(node, slots[0].name)
        return True

    def put(self, node: NodeRequest) -> bool:
        slots = self.preferred(node)
        if slots:
            self.add(node, slots[0].name)
        return bool(slots)

    def greedy(self, nodes: Sequence[NodeRequest]) -> bool:
        """Each node in turn on its best slot; on failure all is as before."""
        if all(self.put(node) for node in nodes):
            return True
        for node in nodes:
            if node.name in self.where:
                self.remove(node)
        return False

    def search(self, nodes: Sequence[NodeRequest]) -> bool:
        """Depth-first over all assignments, up to a number of steps."""
        self.steps = 0
        return self._search(list(nodes))

    def _search(self, nodes: list[NodeRequest]) -> bool:
        if not nodes:
            return True
        slots, node = min(((self.preferred(node), node) for node in nodes), key=lambda option: len(option[0]))
        rest = [other for other in nodes if other is not node]
        for slot in slots:
            self.steps += 1
            if self.steps > _MOST_STEPS // max(1, len(nodes)):
                return False
            self.add(node, slot.name)
            if self._search(rest):
                return True
            self.remove(node)
        return False

    def move(self, nodes: Sequence[NodeRequest], stayed: Sequence[NodeRequest]) -> bool:
        """Make room by moving one node that had stayed, or if that is not enough, any of them."""
        for node in stayed:
            slot = self.remove(node)
            if self.search([*nodes, node]):
                return True
            self.add(node, slot)
        kept = {node: self.remove(node) for node in stayed}
        if len(stayed) > 1 and self.search([*nodes, *stayed]):
            return True
        for node, slot in kept.items():
            self.add(node, slot)
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
        free, parts = self.free[slot.name], []
        if node.cores > slot.cores + _ROUNDING:
            parts.append(f"{node.cores - slot.cores:g} cores")
        if node.memory > free.memory:
            parts.append(f"{format_size(node.memory - free.memory)} of memory")
        if node.gpus > free.gpus:
            parts.append(f"{node.gpus - free.gpus} GPU")
        return parts or ["room beside the nodes that it must not move"]


def _holds(slot: Slot, node: NodeRequest) -> bool:
    """Whether it has the memory and the GPUs, which are never shared."""
    return node.memory <= slot.memory and node.gpus <= slot.gpus


def _pinned(slot: Slot, pin: str) -> bool:
    if "=" not in pin:
        return slot.name == pin
    wanted = (part.strip().partition("=") for part in pin.split(","))
    return all(slot.labels.get(label) == value for label, _, value in wanted)
