"""Consensus on named parameter groups: when a round begins, and what it does to the live parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Learner, Teacher, WorldModel
from agent_node.exchange.averaging.settings import ConsensusSettings
from protocols.averaging.averager import Neighbourhood
from protocols.averaging.averaging_rules import create_averager
from protocols.averaging.projection_sketch import Projection
from protocols.averaging.vector_layout import VectorLayout
from protocols.runtime.errors import ConfigurationError

SKETCH_EVERY = 5
"""rounds between two reports of the disagreement"""
LIGHT_EVERY = 0.05
"""least seconds between the rounds of an agent that waits for its model"""
SKETCH_SEED = 20221111
"""seed of the projection, the same for everybody"""


@dataclass(frozen=True)
class ProgressCounts:
    """What periods are counted in."""

    updates: int
    episodes: int
    steps: int
    time: float


@dataclass(frozen=True)
class RoundReport:
    """A closed round; `sketch[2, s]` is there in the first of every five: the projected vector before and after."""

    round: int
    used: int
    missing: int
    sketch: NDArray[np.float64] | None
    duration: float
    """seconds that it took"""

    @property
    def common_round(self) -> int:
        """The number by which its sketch is put beside those of others, who may have skipped some: that of the first of the five."""
        return self.round // SKETCH_EVERY * SKETCH_EVERY


class ParameterAveraging:
    """Averages one agent's groups with its neighbours.

    A round begins when the period is over, or, in modes with common rounds, when a neighbour has begun it: whoever is first takes the
    others along, so that agents that were restarted or run at another pace stay in step; but never while one is open, which ends as its
    pacing says. The agent goes on learning while a round is open; its result is added to whatever the parameters have become. An agent that
    is `mass_too_low` has not got its model yet: it must not learn, and its rounds follow each other until it has.
    """

    def __init__(
        self,
        settings: ConsensusSettings,
        neighbourhood: Neighbourhood,
        learner: Learner,
        model: WorldModel | None,
        incarnation: int = 0,
        rejoin: bool = False,
        seed: int = 0,
        teacher: Teacher | None = None,
    ) -> None:
        self.settings = settings
        self._parts = [part for part in (learner, model, teacher) if part is not None]
        there = {name: tensors for part in self._parts for name, tensors in part.parameter_groups().items()}
        absent = [name for name in settings.groups if name not in there]
        if absent:
            raise ConfigurationError(f"exchange.consensus.groups: no component has {', '.join(absent)}; there are {', '.join(there)}")
        self._tensors: dict[str, list[torch.Tensor]] = {name: list(there[name]) for name in settings.groups}
        self.layout = VectorLayout.of(self._arrays())
        self.machine = create_averager(settings, neighbourhood, self.layout.digest, self.layout.size, incarnation, rejoin, seed)
        self._projection = Projection(SKETCH_SEED)
        self._last: ProgressCounts | None = None
        self._began = 0.0
        self._former = -1
        """the round before the newest"""
        self._due: float | None = None
        self._reports: list[RoundReport] = []
        self._own: NDArray[np.float32] | None = None

    def consider(self, counts: ProgressCounts, now: float) -> None:
        """Begin a round if it is time."""
        self._take()
        if self._last is None:
            self._last = counts
        machine = self.machine
        pulled = machine.newest_round > machine.round
        needed = self._over(self._last, counts) or (self.mass_too_low and now >= self._began + LIGHT_EVERY)
        if machine.open:
            # Also when a neighbour has begun the next one: to close this without those who are slower would not keep the mean.
            if needed and self._due is None:
                self._due = now
            return
        if not (pulled or needed):
            return
        if machine.round >= 0:
            # What the agent needed for a period by itself, without having to wait for the end of a round: so long a round may last.
            machine.has_leisure(0.0 if self.mass_too_low else (now if self._due is None else self._due) - self._began)
        self._last, self._began, self._due = counts, now, None
        self._former = machine.round
        number = machine.newest_round if pulled else machine.next_round
        self._own = self.layout.pack(self._arrays())
        machine.begin(number, self._own, now)

    @property
    def mass_too_low(self) -> bool:
        """Whether it has too little of the common model to learn with."""
        return not self.machine.ready

    def apply(self) -> list[RoundReport]:
        """Add what closed rounds have brought to the live parameters."""
        self._take()
        reports, self._reports = self._reports, []
        return reports

    def settle(self, now: float) -> list[RoundReport]:
        """Close an open round at once, so that nothing is under way."""
        self.machine.close(now)
        return self.apply()

    def models(self) -> dict[str, NDArray[Any]]:
        """The frame from which the run server tells how far the agents' models are apart now: `models[s]`, the own parameters projected."""
        return {"models": self._projection.sketch(self.layout.pack(self._arrays()))}

    def _take(self) -> None:
        for event in self.machine.events():
            for tensors, arrays in zip(self._tensors.values(), self.layout.unpack(event.delta).values(), strict=True):
                for tensor, array in zip(tensors, arrays, strict=True):
                    tensor.data += torch.from_numpy(array).to(tensor)
            for part in self._parts:
                part.averaged()
            sketch = None
            # Numbers may skip some: then the first round of each five has the sketch.
            first = event.round // SKETCH_EVERY > self._former // SKETCH_EVERY
            if first and self._own is not None and event.round == self.machine.round:
                before = self._projection.sketch(self._own)
                sketch = np.stack([before, before + self._projection.sketch(event.delta)])
            self._reports.append(RoundReport(event.round, len(event.used), len(event.missing), sketch, event.duration))

    def _over(self, last: ProgressCounts, counts: ProgressCounts) -> bool:
        every = self.settings.every
        for unit in ("updates", "episodes", "steps", "time"):
            period: float | None = getattr(every, unit)
            if period is not None:
                return bool(getattr(counts, unit) - getattr(last, unit) >= period)
        return False

    def _arrays(self) -> dict[str, Sequence[NDArray[Any]]]:
        return {name: [tensor.detach().cpu().numpy() for tensor in tensors] for name, tensors in self._tensors.items()}
