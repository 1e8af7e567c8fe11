"""Averaging of named parameter groups: when a round begins, and what it does to the live parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Array, Component, State, arrays, tensors
from agent_node.exchange.settings import ConsensusSettings
from agent_node.session.session_context import SessionContext, SessionProgress
from protocols.averaging.averager import Neighbourhood
from protocols.averaging.averaging_rules import AveragingContext, create_averager
from protocols.averaging.projection_sketch import Projection
from protocols.averaging.vector_layout import VectorLayout
from protocols.runtime.errors import ConfigurationError

SKETCH_EVERY = 5
"""rounds between two reports of the disagreement"""
LIGHT_EVERY = 0.05
"""least seconds between the rounds of an agent that pauses learning"""
SKETCH_SEED = 20221111
"""seed of the projection, equal at all agents"""


@dataclass(frozen=True)
class ProgressCounts:
    """Counts in which the period of rounds is given."""

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
        """The number under which its sketch is compared with those of agents that skipped rounds: that of the first of the five."""
        return self.round // SKETCH_EVERY * SKETCH_EVERY


class ParameterAveraging(Component):
    """Averages the groups that `components` declare with the neighbours.

    A round begins when the period is over, or, in modes with common rounds, when a neighbour has begun it, so that agents that were
    restarted or run at another pace stay in the same round; but never while a round is open, which ends by its own deadline. The agent
    continues to learn while a round is open; the change that the round computed is added to the parameters of that moment. While
    `pauses_learning`, the agent has not received enough of the common model: it must not learn, and its rounds follow each other.
    """

    def __init__(
        self,
        settings: ConsensusSettings,
        neighbourhood: Neighbourhood,
        components: Iterable[Component],
        incarnation: int = 0,
        rejoin: bool = False,
        seed: int = 0,
    ) -> None:
        self.settings = settings
        self._components = list(components)
        groups = self._groups()
        absent = [name for name in settings.groups if name not in groups]
        if absent:
            raise ConfigurationError(f"exchange.consensus.groups: no component has {', '.join(absent)}; there are {', '.join(groups)}")
        self._tensors: dict[str, list[torch.Tensor]] = {name: list(groups[name]) for name in settings.groups}
        self.layout = VectorLayout.of(self._arrays())
        place = (neighbourhood, self.layout.digest, self.layout.size, settings.deadline)
        self.machine = create_averager(settings.rule, AveragingContext(*place, incarnation, rejoin, seed))
        self._projection = Projection(SKETCH_SEED)
        self._last: ProgressCounts | None = None
        self._began = 0.0
        self._former = -1
        """the round before the newest"""
        self._due: float | None = None
        self._reports: list[RoundReport] = []
        self._own: NDArray[np.float32] | None = None
        self._progress, self._resumed = SessionProgress(), False

    def _groups(self) -> dict[str, list[torch.Tensor]]:
        """Live tensors by group; `ConfigurationError` where two components have a group of the same name."""
        groups: dict[str, list[torch.Tensor]] = {}
        for component in self._components:
            for name, live in component.parameter_groups().items():
                if name in groups:
                    raise ConfigurationError(f"exchange.consensus.groups: two components have a group {name}; rename one of them")
                groups[name] = live
        return groups

    # --- lifecycle ------------------------------------------------------------------------------------------------------------------

    def joined(self, context: SessionContext) -> None:
        """Start the averaging conversation with the neighbours of the graph."""
        self._progress, self._resumed = context.progress, context.resumed
        context.converse(self.machine)

    def tick(self, now: float) -> None:
        """Apply closed rounds, and begin the next one if it is time; nothing once training is over."""
        progress = self._progress
        if progress.learning:
            self.consider(ProgressCounts(progress.updates, progress.episodes, progress.ticks, now), now)
            self.apply()

    @property
    def pauses_learning(self) -> bool:
        """Whether the agent has too little mass of the common model to learn with it."""
        return not self.machine.ready

    def settle(self, now: float) -> None:
        """Close an open round at once, with the vectors that have arrived."""
        self.machine.close(now)
        self.apply()

    def take_reports(self) -> list[RoundReport]:
        """Closed rounds whose changes were applied since the last call."""
        reports, self._reports = self._reports, []
        return reports

    def metrics(self) -> dict[str, float]:
        """`consensus.mass`: the share of the common model that the agent holds; with push-sum also `consensus.mass_error`."""
        error = self.machine.mass_error
        return {"consensus.mass": self.machine.mass} | ({} if error is None else {"consensus.mass_error": error})

    def shared_arrays(self) -> dict[str, Array]:
        """`models[s]`: the own parameters, projected, from which the run server computes the disagreement of the agents."""
        return {"models": self._projection.sketch(self.layout.pack(self._arrays()))}

    def state_dict(self) -> State:
        """The machine's state between two rounds; empty while a round is open."""
        return {} if self.machine.open else tensors({name: np.array(array) for name, array in self.machine.state().items()})

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore where all agents go on from the same checkpoint; an agent that rejoins alone starts with the state of its neighbours."""
        if self._resumed:
            self.machine.load_state(arrays(state))

    # --- rounds ---------------------------------------------------------------------------------------------------------------------

    def consider(self, counts: ProgressCounts, now: float) -> None:
        """Begin a round if it is time."""
        self.apply()
        if self._last is None:
            self._last = counts
        machine = self.machine
        pulled = machine.newest_round > machine.round
        needed = self._over(self._last, counts) or (self.pauses_learning and now >= self._began + LIGHT_EVERY)
        if machine.open:
            # Also when a neighbour has begun the next one: closing this one without the slower neighbours would not keep the mean.
            if needed and self._due is None:
                self._due = now
            return
        if not (pulled or needed):
            return
        if machine.round >= 0:
            # A round may last as long as the agent's own period, without the wait for the end of a round.
            machine.has_leisure(0.0 if self.pauses_learning else (now if self._due is None else self._due) - self._began)
        self._last, self._began, self._due = counts, now, None
        self._former = machine.round
        number = machine.newest_round if pulled else machine.next_round
        self._own = self.layout.pack(self._arrays())
        machine.begin(number, self._own, now)

    def apply(self) -> None:
        """Add the changes of closed rounds to the live parameters."""
        for event in self.machine.events():
            for live, changes in zip(self._tensors.values(), self.layout.unpack(event.delta).values(), strict=True):
                for tensor, change in zip(live, changes, strict=True):
                    tensor.data += torch.from_numpy(change).to(tensor)
            for component in self._components:
                component.averaged()
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
        return {name: [tensor.detach().cpu().numpy() for tensor in live] for name, live in self._tensors.items()}
