"""Which cell is started next: a state machine without a clock, a process or a file.

Seeds come first across the grid: every combination with the first seed, then every one with the second, so that a report made early covers
all of it. Cells that have failed come again after all others. As many run side by side as fit by cores and memory, at least one; a run of
several processes counts at least two cores, since its nodes compute at the same time whatever they were promised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil


@dataclass(frozen=True)
class CellTask:
    """A cell that is to be played. `order`: its place; `cores`, `memory`: what it needs; `failures`: attempts that have failed before."""

    identity: str
    order: tuple[int, int]
    """rank of its seed, position in the grid"""
    cores: float = 1.0
    nodes: int = 1
    memory: int = 0
    failures: int = 0

    @property
    def weight(self) -> int:
        """Whole cores that it is counted with."""
        return max(ceil(self.cores), min(2, self.nodes))


@dataclass(frozen=True)
class Capacity:
    """What cells may use together. `jobs`: so many side by side, whatever their cores; None: as many as fit."""

    cores: int
    memory: int
    jobs: int | None = None


@dataclass
class CellSchedule:
    """Cells that wait, run, are done, have failed, or are held (interrupted: they go on another time)."""

    tasks: Sequence[CellTask]
    capacity: Capacity
    retries: int = 1
    stop_after_failures: int = 5
    measured_memory: int | None = None
    """bytes that a cell of this experiment took, as soon as one was measured"""
    running: dict[str, CellTask] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    stopped: bool = False
    """no further cell is started"""

    def __post_init__(self) -> None:
        self._failures = {task.identity: task.failures for task in self.tasks}
        self._waiting = {task.identity: task for task in self.tasks}

    @property
    def waiting(self) -> int:
        """Cells that have yet to be started, or started again."""
        return len(self._waiting)

    @property
    def gave_up(self) -> bool:
        """Whether as many cells have failed as `stop_after_failures` permits; no more are started then."""
        return len(self.failed) >= self.stop_after_failures

    @property
    def over(self) -> bool:
        """Nothing runs, and nothing more will be started."""
        return not self.running and (self.stopped or self.gave_up or not self._waiting)

    def next(self) -> CellTask | None:
        """The cell to start now, which counts as running from then on; None without a waiting cell or without room."""
        if self.stopped or self.gave_up or not self._waiting:
            return None
        task = min(self._waiting.values(), key=lambda one: (self._failures[one.identity], one.order))
        if not self._fits(task):
            return None
        self.running[task.identity] = self._waiting.pop(task.identity)
        return task

    def side_by_side(self) -> int:
        """How many cells will run at once, if all are like the most demanding one."""
        count, room = 0, CellSchedule(list(self.tasks), self.capacity, measured_memory=self.measured_memory)
        if not self.tasks:
            return 0
        largest = max(self.tasks, key=lambda one: (one.weight, one.memory))
        while count < len(self.tasks) and room._fits(largest):
            room.running[str(count)] = largest
            count += 1
        return count

    def finished(self, identity: str) -> None:
        """The cell `identity` has ended successfully: release its cores and memory. `KeyError` for a cell that is not running."""
        del self.running[identity]
        self.done.add(identity)

    def failure(self, identity: str) -> bool:
        """A cell has failed; whether it is tried again."""
        task = self.running.pop(identity)
        self._failures[identity] += 1
        if self._failures[identity] > self.retries:
            self.failed.add(identity)
            return False
        self._waiting[identity] = task
        return True

    def hold(self, identity: str) -> None:
        """A cell was interrupted: it goes on another time."""
        del self.running[identity]
        self.held.add(identity)

    def _fits(self, task: CellTask) -> bool:
        if not self.running:
            return True
        others = list(self.running.values())
        if self.capacity.jobs is not None and len(others) >= self.capacity.jobs:
            return False
        if self.capacity.jobs is None and sum(one.weight for one in others) + task.weight > self.capacity.cores:
            return False
        return sum(self._memory(one) for one in [*others, task]) <= self.capacity.memory

    def _memory(self, task: CellTask) -> int:
        return task.memory if self.measured_memory is None else self.measured_memory
