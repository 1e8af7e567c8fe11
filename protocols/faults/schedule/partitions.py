"""Which nodes a partition separates, from its shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from protocols.faults.schedule.keyed_draws import KeyedDraws
from protocols.faults.settings import AUTO, Partition
from protocols.wire.messages import Channel

SMALLEST_RING = 4
"""agents from which on an overlapping ring cuts anything: in a ring of three the majority of each agent consists of both neighbours"""


@dataclass(frozen=True)
class PartitionCut:
    """A partition of certain nodes. Messages from or to a node in no group are not touched."""

    channels: tuple[Channel, ...]
    group: Mapping[str, int]
    """number of each node's group; with `reach`, its place on the ring"""
    direction: str = "both"
    reach: int | None = None
    """overlapping ring: two nodes reach each other up to this distance"""

    def severs(self, src: str, dst: str, channel: Channel) -> bool:
        """Whether messages from `src` to `dst` are lost."""
        if channel not in self.channels:
            return False
        here, there = self.group.get(src), self.group.get(dst)
        if here is None or there is None or here == there:
            return False
        if self.reach is not None:
            distance = abs(here - there)
            return min(distance, len(self.group) - distance) > self.reach
        if self.direction == "both":
            return True
        return (here if self.direction == "from_first" else there) == 0

    def text(self) -> str:
        """`agent-0 | agent-1 agent-2`."""
        if self.reach is not None:
            order = sorted(self.group, key=lambda name: self.group[name])
            return f"ring of {' '.join(order)}, each reaches up to {self.reach} away"
        sides: dict[int, list[str]] = {}
        for name, number in self.group.items():
            sides.setdefault(number, []).append(name)
        return " | ".join(" ".join(sides[number]) for number in sorted(sides))


def cut(partition: Partition, agents: Sequence[str], nodes: Sequence[str], draws: KeyedDraws) -> PartitionCut:
    """The cut of a partition among `agents`; groups may name any of `nodes`. Draw 0 decides who is alone, the others the order."""
    channels = tuple(partition.channels)
    if partition.groups is not None:
        members = {
            name: number
            for number, globs in enumerate(partition.groups)
            for name in nodes
            if any(fnmatchcase(name, glob) for glob in globs)
        }
        return PartitionCut(channels, members, partition.direction)
    order = draws.shuffled(list(agents), 1)
    if partition.target != AUTO:
        chosen = next((name for name in order if fnmatchcase(name, partition.target)), order[0])
        order.remove(chosen)
        order.insert(0, chosen)
    count = len(order)
    if partition.shape == "overlapping_ring":
        majority = count // 2 + 1
        return PartitionCut(channels, {name: place for place, name in enumerate(order)}, reach=max(1, majority // 2))
    if partition.shape == "random":
        sides = {name: int(draws.uniform(2, index) < 0.5) for index, name in enumerate(sorted(order))}
        if len(set(sides.values())) == 1:
            sides[order[0]] = 1 - sides[order[0]]
        return PartitionCut(channels, sides, partition.direction)
    first = {"isolate_one": 1, "halves": count // 2, "majority_minority": max(1, (count - 1) // 2)}[str(partition.shape)]
    return PartitionCut(channels, {name: int(index >= first) for index, name in enumerate(order)}, partition.direction)
