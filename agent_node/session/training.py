"""Training at a fixed ratio to acting: the updates of the learner and of the world model that belong to each tick."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import defaultdict
from typing import cast

import numpy as np

from agent_node.contracts import AdditiveWorldModel
from agent_node.learners.settings import ReplaySettings
from agent_node.session.agent_components import AgentComponents
from agent_node.session.roles import LEARNER, REPLAY, REWARDS, ROLLOUT, WORLD_MODEL
from agent_node.session.training_batches import BatchSampler, rollout_batch
from protocols.runtime.errors import ConfigurationError
from protocols.runtime.telemetry import TimeShares

logger = logging.getLogger(__name__)
HELD_OUT_NEEDED = 256
"""held-out transitions before the model's error is measured for the first time, which is before its first fit; half of what a smaller
buffer holds out. A model waits for them no longer than until twice `learning_starts` transitions are in the buffer"""
ERROR_SAMPLE = 2048
BATCH, WARMUP = 256, 2000
"""transitions in a fit, and in the buffer before the first one, where neither the model nor the learner has such settings"""


class Trainer(ABC):
    """Updates an agent's learner and its world model."""

    def __init__(self, components: AgentComponents, time: TimeShares) -> None:
        self.updates = 0
        """batches that the learner has learnt from"""
        self.on = True
        self._learner, self._time = components[LEARNER], time
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
        """Perform the gradient updates that are due at one tick."""
        if self.on:
            self._model.tick()
            self._learn()

    @property
    def imagination_unused_reason(self) -> str:
        """Why no imagined transitions were used so far although settings ask for them; empty otherwise."""
        return ""

    @abstractmethod
    def _learn(self) -> None:
        """The learner's updates of a tick."""

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
    """For learners with the capability "replay": `updates_per_tick` batches each tick, after `learning_starts` own transitions."""

    def __init__(self, components: AgentComponents, time: TimeShares) -> None:
        super().__init__(components, time)
        self._settings = cast(ReplaySettings, components.settings.learner)
        self._replay, self._world = components[REPLAY], components.get(WORLD_MODEL)
        self._sampler = BatchSampler(components)
        self._credit = 0.0

    def _learn(self) -> None:
        if len(self._replay) < self._settings.learning_starts:
            return
        self._credit += self._settings.updates_per_tick
        while self._credit >= 1:
            self._credit -= 1
            with self._time.spent("sample"):
                batch = self._sampler.batch(self._settings.batch_size)
            with self._time.spent("learn"):
                metrics = self._learner.learn(batch)
            self._count(metrics)
            if self._world is not None:
                self._sums["world_model.imagined"].append(float(batch.imagined.mean()))

    @property
    def imagination_unused_reason(self) -> str:
        """Why no imagined transitions were used so far although settings ask for them; empty otherwise."""
        world = self._world
        if world is None or world.settings.imagined_ratio == 0 or world.imagines or not self.updates:
            return ""
        return f"no imagined transitions were used: the world model's `learning_starts` was not reached after {self.fits} fits"


class RolloutTrainer(Trainer):
    """For learners with the capability "rollout": one update for each complete rollout."""

    def __init__(self, components: AgentComponents, time: TimeShares) -> None:
        super().__init__(components, time)
        self._rollout, self._rewards = components[ROLLOUT], components.get(REWARDS)
        self._features, self._encodings = components.features, components.encodings

    def _learn(self) -> None:
        with self._time.spent("sample"):
            rollout = self._rollout.take()
            batch = None if rollout is None else rollout_batch(rollout, self._features, self._encodings)
        if batch is not None:
            with self._time.spent("learn"):
                metrics = self._learner.learn(batch)
                if self._rewards is not None:
                    self._rewards.learn(batch)
            self._count(metrics)


class ModelTraining:
    """Fits an agent's world model, where it has one, from its replay buffer."""

    def __init__(self, components: AgentComponents, time: TimeShares) -> None:
        self.fits = 0
        self._time = time
        self._credit = 0.0
        self._measured = False
        self._sums: dict[str, list[float]] = defaultdict(list)
        self._world, self._replay = components.get(WORLD_MODEL), components.get(REPLAY)
        self._random = components.random["model"]
        learner, model = components.settings.learner, components.settings.world_model
        self._warmup = getattr(learner, "learning_starts", WARMUP)
        self._batch = getattr(model, "batch_size", getattr(learner, "batch_size", BATCH))
        self._members = getattr(model, "members", 1)
        held_out = model.held_out if model is not None else 0.0
        self._needed = min(HELD_OUT_NEEDED, int(held_out * components.settings.buffer.transitions / 2))

    def tick(self) -> None:
        """Perform the fits of the world model that are due at one tick."""
        world, replay = self._world, self._replay
        if world is None or replay is None:
            return
        self._measure_once()
        if world.additive is not None:
            if world.additive.due:
                self._refit(world.additive)
            elif world.needs_imagination:
                with self._time.spent("model"):
                    world.refresh()
            return
        if self._measured and len(replay) >= self._warmup:
            self._credit += world.settings.updates_per_tick
            while self._credit >= 1:
                self._credit -= 1
                with self._time.spent("model"):
                    data = [replay.model_data(self._batch, self._random) for _ in range(self._members)]
                    metrics = world.model.fit(data)
                self._count(metrics)
        if world.due:
            with self._time.spent("model"):
                world.refresh()

    def _count(self, metrics: dict[str, float]) -> None:
        self.fits += 1
        for name, value in metrics.items():
            self._sums[f"world_model.{name}"].append(value)

    def _refit(self, model: AdditiveWorldModel) -> None:
        """An additive model has absorbed enough: compute it again, and imagine with it."""
        with self._time.spent("model"):
            try:
                self._count(model.refit())
            except ValueError as error:
                # A total by averaging can't be checked before it is used. The model stays as it was; the next total may be better.
                logger.warning("the world model can't use the newest statistics and is not changed: %s", error)
                self._sums["world_model.refused"].append(1.0)
            if self._world is not None:
                self._world.refresh()

    def _measure_once(self) -> None:
        """Measure the error before the first fit, with which all later ones are compared."""
        replay = self._replay
        if self._measured or replay is None:
            return
        if replay.held_out_count >= self._needed or len(replay) >= 2 * self._warmup:
            self._measured = True
            if replay.held_out_count:
                self._sums["world_model.error"].append(self.error())

    def error(self) -> float:
        """Held-out one-step error of the world model (`WorldModel.error`); NaN before it is measured for the first time, or where nothing
        is held out."""
        world, replay = self._world, self._replay
        if world is None or replay is None or not self._measured or not replay.held_out_count:
            return float("nan")
        with self._time.spent("model"):
            return world.model.error(replay.model_data(ERROR_SAMPLE, self._random, held_out=True))

    def take_metrics(self) -> dict[str, float]:
        """Means since the last call."""
        means = {name: float(np.mean(values)) for name, values in self._sums.items() if values}
        self._sums.clear()
        if self.fits and "world_model.error" not in means:
            means["world_model.error"] = self.error()
        return means


def create_trainer(components: AgentComponents, time: TimeShares) -> Trainer:
    """`RolloutTrainer` or `ReplayTrainer`, by the capability "rollout" or "replay" of the learner; `ConfigurationError` for a learner
    with neither."""
    learner = components[LEARNER]
    if "rollout" in learner.capabilities:
        return RolloutTrainer(components, time)
    if "replay" in learner.capabilities:
        return ReplayTrainer(components, time)
    kind = components.settings.learner.kind
    raise ConfigurationError(f"agents.learner: the settings of {kind} declare neither replay nor rollout in capabilities; declare one")
