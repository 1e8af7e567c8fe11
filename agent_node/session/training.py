"""Learning at a fixed ratio to acting: how many updates each tick brings, and what came of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict

import numpy as np

from agent_node.learners.settings import ReplaySettings
from agent_node.session.model_training import ModelTraining
from agent_node.session.session_components import SessionComponents
from protocols.runtime.errors import ConfigurationError
from protocols.runtime.telemetry import TimeShares


class Trainer(ABC):
    """Updates an agent's learner and its world model."""

    def __init__(self, components: SessionComponents, time: TimeShares) -> None:
        self.updates = 0
        """batches that the learner has learnt from"""
        self.on = True
        self._components = components
        self._time = time
        self._sums: dict[str, list[float]] = defaultdict(list)
        self._model = ModelTraining(components, time)

    @property
    def fits(self) -> int:
        """Updates of the world model."""
        return self._model.fits

    @fits.setter
    def fits(self, number: int) -> None:
        self._model.fits = number

    def tick(self) -> None:
        """The learning that belongs to one tick."""
        if self.on:
            self._model.tick()
            self._learn()

    @property
    def imagination_unused_reason(self) -> str:
        """Why the learner has had nothing imagined so far, where it was to have; empty where there is nothing to say."""
        return ""

    @abstractmethod
    def _learn(self) -> None:
        """The learner's part of a tick."""

    def _count(self, metrics: dict[str, float]) -> None:
        self.updates += 1
        for name, value in metrics.items():
            self._sums[f"learner.{name}"].append(value)

    def take_metrics(self) -> dict[str, float]:
        """Means since the last call."""
        means = {name: float(np.mean(values)) for name, values in self._sums.items() if values}
        self._sums.clear()
        return means | self._model.take_metrics()


class ReplayTrainer(Trainer):
    """For learners that take random transitions from the replay buffer: `updates_per_tick`, once `learning_starts` transitions are
    there."""

    def __init__(self, components: SessionComponents, time: TimeShares, settings: ReplaySettings) -> None:
        super().__init__(components, time)
        self._settings = settings
        self._credit = 0.0

    def _learn(self) -> None:
        if self._components.buffer is None or len(self._components.buffer) < self._settings.learning_starts:
            return
        self._credit += self._settings.updates_per_tick
        while self._credit >= 1:
            self._credit -= 1
            with self._time.spent("sample"):
                batch = self._components.batch(self._settings.batch_size)
            with self._time.spent("learn"):
                metrics = self._components.learner.learn(batch)
            self._count(metrics)
            if self._components.world is not None:
                self._sums["world_model.imagined"].append(float(batch.imagined.mean()))

    @property
    def imagination_unused_reason(self) -> str:
        """Why the learner has had nothing imagined so far, where it was to have; empty where there is nothing to say."""
        world = self._components.world
        if world is None or world.settings.imagined_ratio == 0 or world.imagines or not self.updates:
            return ""
        starts = f"`learning_starts` was not reached after {self.fits} fits"
        return f"no imagined transitions were used: {starts}"


class RolloutTrainer(Trainer):
    """For learners that take each transition once: one update whenever a rollout is whole."""

    def _learn(self) -> None:
        with self._time.spent("sample"):
            batch = self._components.rollout()
        if batch is not None:
            with self._time.spent("learn"):
                metrics = self._components.learner.learn(batch)
                if self._components.motivation is not None:
                    self._components.motivation.learn(batch)
            self._count(metrics)

    def take_metrics(self) -> dict[str, float]:
        """Means since the last call, and those of what motivates the policy."""
        motivation = self._components.motivation
        return super().take_metrics() | ({} if motivation is None else motivation.take_metrics())


def create_trainer(components: SessionComponents, time: TimeShares) -> Trainer:
    """The trainer that an agent's learner wants."""
    settings = components.settings.learner
    if components.learner.wants == "rollout" and components.rollouts is not None:
        return RolloutTrainer(components, time)
    if components.learner.wants == "replay" and isinstance(settings, ReplaySettings):
        return ReplayTrainer(components, time, settings)
    raise ConfigurationError(f"agents.learner: the settings of {settings.kind} are not those of a {components.learner.wants} learner")
