"""Learning at a fixed ratio to acting: how many updates each tick brings, and what came of them."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from agent_node.parts import Parts
from agent_node.settings import ReplaySettings
from protocols.errors import ConfigurationError
from protocols.telemetry import TimeShares

HELD_OUT_NEEDED = 256
"""held-out transitions before the model's error is measured for the first time, which is before its first fit; half of what a smaller
buffer holds out, so that no model waits for ever"""
ERROR_SAMPLE = 2048


class Trainer:
    """Updates learner and world model of an agent that learns from replay."""

    def __init__(self, parts: Parts, time: TimeShares) -> None:
        if not isinstance(parts.settings.learner, ReplaySettings) or parts.learner.wants != "replay":
            raise ConfigurationError(f"agents.learner: {parts.settings.learner.kind} does not learn from replay")
        self.settings: ReplaySettings = parts.settings.learner
        self.updates = 0
        self.fits = 0
        self.on = True
        self._parts = parts
        self._time = time
        self._update_credit = 0.0
        self._fit_credit = 0.0
        self._sums: dict[str, list[float]] = defaultdict(list)
        self._measured = False
        world_model = parts.settings.world_model
        held_out = world_model.held_out if world_model is not None else 0.0
        self._needed = min(HELD_OUT_NEEDED, int(held_out * parts.settings.buffer.transitions / 2))

    def tick(self) -> None:
        """The learning that belongs to one tick."""
        if not self.on:
            return
        parts = self._parts
        if parts.model is not None and parts.settings.world_model is not None:
            self._measure_once()
            if self._measured and len(parts.buffer) >= self.settings.warmup:
                self._fit_credit += parts.settings.world_model.updates_per_tick
                while self._fit_credit >= 1:
                    self._fit_credit -= 1
                    self._fit()
        if len(parts.buffer) >= self.settings.warmup:
            self._update_credit += self.settings.updates_per_tick
            while self._update_credit >= 1:
                self._update_credit -= 1
                self._update()

    def _update(self) -> None:
        with self._time.spent("sample"):
            batch = self._parts.batch(self.settings.batch_size)
        with self._time.spent("learn"):
            metrics = self._parts.learner.learn(batch)
        self.updates += 1
        for name, value in metrics.items():
            self._sums[f"learner.{name}"].append(value)

    def _fit(self) -> None:
        parts = self._parts
        settings = parts.settings.world_model
        if parts.model is None or settings is None:
            return
        with self._time.spent("model"):
            size = getattr(settings, "batch_size", self.settings.batch_size)
            members = getattr(settings, "members", 1)
            data = [parts.buffer.model_data(size, parts.random["model"]) for _ in range(members)]
            metrics = parts.model.fit(data)
        self.fits += 1
        for name, value in metrics.items():
            self._sums[f"world_model.{name}"].append(value)

    def _measure_once(self) -> None:
        """The error before the first fit: what all later ones are compared with."""
        if not self._measured and self._parts.buffer.held_out_count >= self._needed:
            self._measured = True
            if self._needed:
                self._sums["world_model.error"].append(self.model_error())

    def model_error(self) -> float:
        """Held-out one-step error of the world model (`WorldModel.error`); NaN while too little is held out."""
        parts = self._parts
        if parts.model is None or not 0 < self._needed <= parts.buffer.held_out_count:
            return float("nan")
        with self._time.spent("model"):
            return parts.model.error(parts.buffer.model_data(ERROR_SAMPLE, parts.random["model"], held_out=True))

    def take_metrics(self) -> dict[str, float]:
        """Means since the last call."""
        means = {name: float(np.mean(values)) for name, values in self._sums.items() if values}
        self._sums.clear()
        if self.fits and "world_model.error" not in means:
            means["world_model.error"] = self.model_error()
        return means
