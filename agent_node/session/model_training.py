"""Learning of the world model: how many fits each tick brings, and how well it predicts what it has not learnt from."""

from __future__ import annotations

import logging
from collections import defaultdict

import numpy as np

from agent_node.contracts import AdditiveWorldModel
from agent_node.learners.settings import ReplaySettings
from agent_node.session.session_components import SessionComponents
from protocols.runtime.telemetry import TimeShares

logger = logging.getLogger(__name__)
HELD_OUT_NEEDED = 256
"""held-out transitions before the model's error is measured for the first time, which is before its first fit; half of what a smaller
buffer holds out. A model waits for them no longer than until twice `learning_starts` transitions are there"""
ERROR_SAMPLE = 2048
BATCH, WARMUP = 256, 2000
"""transitions in a fit, and in the buffer before the first one, where neither the model nor the learner says"""


class ModelTraining:
    """Fits an agent's world model, where it has one, from its replay buffer."""

    def __init__(self, components: SessionComponents, time: TimeShares) -> None:
        self.fits = 0
        self._components = components
        self._time = time
        self._credit = 0.0
        self._measured = False
        self._sums: dict[str, list[float]] = defaultdict(list)
        learner, model = components.settings.learner, components.settings.world_model
        replay = learner if isinstance(learner, ReplaySettings) else None
        self._warmup = replay.learning_starts if replay is not None else WARMUP
        self._batch = getattr(model, "batch_size", replay.batch_size if replay is not None else BATCH)
        self._members = getattr(model, "members", 1)
        held_out = model.held_out if model is not None else 0.0
        self._needed = min(HELD_OUT_NEEDED, int(held_out * components.settings.buffer.transitions / 2))

    def tick(self) -> None:
        """The fits that belong to one tick."""
        components, settings = self._components, self._components.settings.world_model
        if components.model is None or components.buffer is None or settings is None:
            return
        self._measure_once()
        if isinstance(components.model, AdditiveWorldModel):
            if components.model.due:
                self._refit(components.model)
            elif components.world is not None and components.world.needs_imagination:
                with self._time.spent("model"):
                    components.world.refresh()
            return
        if self._measured and len(components.buffer) >= self._warmup:
            self._credit += settings.updates_per_tick
            while self._credit >= 1:
                self._credit -= 1
                self._fit()
        if components.world is not None and components.world.due:
            with self._time.spent("model"):
                components.world.refresh()

    def _fit(self) -> None:
        components = self._components
        if components.model is None or components.buffer is None:
            return
        with self._time.spent("model"):
            data = [components.buffer.model_data(self._batch, components.random["model"]) for _ in range(self._members)]
            metrics = components.model.fit(data)
        self._count(metrics)

    def _count(self, metrics: dict[str, float]) -> None:
        self.fits += 1
        for name, value in metrics.items():
            self._sums[f"world_model.{name}"].append(value)

    def _refit(self, model: AdditiveWorldModel) -> None:
        """An additive model has taken in enough: it is computed anew, and imagined with."""
        with self._time.spent("model"):
            try:
                self._count(model.refit())
            except ValueError as error:
                # A total by averaging can't be checked before it is used. The model stays as it was; the next total may be better.
                logger.warning("the world model can't rest on the newest statistics, and stays as it was: %s", error)
                self._sums["world_model.refused"].append(1.0)
            if self._components.world is not None:
                self._components.world.refresh()

    def _measure_once(self) -> None:
        """The error before the first fit: what all later ones are compared with."""
        buffer = self._components.buffer
        if self._measured or buffer is None:
            return
        if buffer.held_out_count >= self._needed or len(buffer) >= 2 * self._warmup:
            self._measured = True
            if buffer.held_out_count:
                self._sums["world_model.error"].append(self.error())

    def error(self) -> float:
        """Held-out one-step error of the world model (`WorldModel.error`); NaN before it is measured for the first time, or where nothing
        is held out."""
        model, buffer = self._components.model, self._components.buffer
        if model is None or buffer is None or not self._measured or not buffer.held_out_count:
            return float("nan")
        with self._time.spent("model"):
            return model.error(buffer.model_data(ERROR_SAMPLE, self._components.random["model"], held_out=True))

    def take_metrics(self) -> dict[str, float]:
        """Means since the last call."""
        means = {name: float(np.mean(values)) for name, values in self._sums.items() if values}
        self._sums.clear()
        if self.fits and "world_model.error" not in means:
            means["world_model.error"] = self.error()
        return means
