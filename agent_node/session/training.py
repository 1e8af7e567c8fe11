"""Training at a fixed ratio to acting: the updates of the learner and of the world model that belong to each tick, and their batches."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from agent_node.contracts import AdditiveWorldModel, Batch
from agent_node.learners.settings import ReplaySettings
from agent_node.memory.joint_replay import JointReplay
from agent_node.memory.replay_buffer import ReplayBuffer
from agent_node.session.roles import IMITATION, JOINT_REPLAY, JOINT_ROLLOUTS, LEARNER, REPLAY, REPLAY_REWARD, REWARDS, ROLLOUT, WORLD_MODEL
from agent_node.session.transition_batches import BatchSampler, JointSampler, rollout_batch
from protocols.datasets.settings import DatasetSettings
from protocols.runtime.errors import ConfigurationError
from protocols.runtime.telemetry import TimeShares

if TYPE_CHECKING:
    from agent_node.session.agent_components import AgentComponents
    from agent_node.world_models.imagination.world_model_component import WorldModelComponent

logger = logging.getLogger(__name__)
HELD_OUT_NEEDED = 256
"""held-out transitions before the model's error is measured for the first time, which is before its first fit; half of what a smaller
buffer holds out. A model waits for them no longer than until twice `learning_starts` transitions are in the buffer"""
ERROR_SAMPLE = 2048
BATCH, WARMUP = 256, 2000
"""transitions in a fit, and in the buffer before the first one, where neither the model nor the learner has such settings"""


ROUNDING = 1e-6
"""of an update: sums of replay ratios that no binary number is equal to"""
CLAMPED_SHARE = 0.2
"""mean of a learner's metric `clamped` between two reports from which on there is a warning"""


LEAST_ENTROPY = 0.01
"""share of its maximum below which a policy has lost its entropy"""
RETURNS_COMPARED = 50
"""newest own training episodes whose mean return is compared with that of as many before them"""


class TrainingWarning(NamedTuple):
    """Something that keeps an agent from learning; each is given once."""

    code: str
    """of the event"""
    text: str


class Trainer(ABC):
    """Updates an agent's learner, and its world model from the replay buffer."""

    def __init__(self, components: AgentComponents, time: TimeShares) -> None:
        self.updates = 0
        """batches that the learner has learnt from"""
        self.fits = 0
        """updates of the world model"""
        self.on = True
        self._components, self._time = components, time
        self._world, self._replay = components.get(WORLD_MODEL), components.get(REPLAY)
        self._sums: dict[str, list[float]] = defaultdict(list)
        self._model_sums: dict[str, list[float]] = defaultdict(list)
        self._fit_credit = 0.0
        self._measured = False
        self._warnings: list[TrainingWarning] = []
        self._warned: set[str] = set()
        self._returns: list[float] = []
        """of the newest own training episodes"""
        learner, model = components.settings.learner, components.settings.world_model
        self._warmup = getattr(learner, "learning_starts", WARMUP)
        self._fit_size = getattr(model, "batch_size", getattr(learner, "batch_size", BATCH))
        self._members = getattr(model, "members", 1)
        held_out = model.held_out if model is not None else 0.0
        self._needed = min(HELD_OUT_NEEDED, int(held_out * components.settings.buffer.transitions / 2))

    def tick(self) -> None:
        """Perform the gradient updates that are due at one tick."""
        if self.on:
            if self._world is not None and self._replay is not None:
                self._fit(self._world, self._replay)
            self._learn()

    @abstractmethod
    def _learn(self) -> None:
        """The learner's updates of a tick."""

    def _learnt(self, batch: Batch) -> None:
        with self._time.spent("learn"):
            metrics = self._components[LEARNER].learn(batch)
            if (rewards := self._components.get(REWARDS)) is not None:
                rewards.learn(batch)
        self.updates += 1
        for name, value in metrics.items():
            self._sums[f"learner.{name}"].append(value)

    def take_metrics(self) -> dict[str, float]:
        """Means since the last call."""
        means = {name: float(np.mean(values)) for name, values in [*self._sums.items(), *self._model_sums.items()]}
        self._sums.clear()
        self._model_sums.clear()
        self._check(means)
        if self.fits and "world_model.error" not in means:
            means["world_model.error"] = self._error()
        return means

    def take_warnings(self) -> list[TrainingWarning]:
        """Warnings since the last call; each is given once."""
        warnings, self._warnings = self._warnings, []
        return warnings

    def _warn(self, code: str, text: str) -> None:
        if code not in self._warned:
            self._warned.add(code)
            self._warnings.append(TrainingWarning(code, text))

    def _check(self, means: Mapping[str, float]) -> None:
        """Find what is wrong in the metrics of one report."""
        self._check_entropy(means)
        clamped = means.get("learner.clamped", 0.0)
        if clamped > CLAMPED_SHARE:
            given = getattr(self._components.settings.learner, "value_range", None)
            value_range = "" if given is None else f" [{given[0]:g}, {given[1]:g}]"
            text = f"{100 * clamped:.0f} % of the learner's targets are far beyond value_range{value_range} and are clamped to it"
            self._warn("learner.clamped", f"{text}: returns are of another size; write agents.learner.value_range: null, or their range")

    def _check_entropy(self, means: Mapping[str, float]) -> None:
        """A rollout learner of discrete actions explores by its entropy only."""
        components, returns = self._components, self._returns
        entropy = means.get("learner.entropy")
        if entropy is None or "rollout" not in components[LEARNER].capabilities or not components.features.discrete:
            return
        greatest = float(np.sum(np.log(components.policy_spec.actions)))
        if greatest == 0 or entropy >= LEAST_ENTROPY * greatest or len(returns) < 2 * RETURNS_COMPARED:
            return
        recent, before = np.mean(returns[RETURNS_COMPARED:]), np.mean(returns[:RETURNS_COMPARED])
        if recent <= before:
            text = f"the entropy of the policy is below {100 * LEAST_ENTROPY:g} % of its maximum, and returns do not improve"
            cure = "raise agents.learner.entropy_coef, or lower agents.learner.learning_rate"
            self._warn("learner.entropy", f"{text} ({before:.3g}, then {recent:.3g}): it hardly explores any more; {cure}")

    def episode_ended(self, total_reward: float) -> None:
        """An own training episode ended."""
        self._returns.append(total_reward)
        del self._returns[: -2 * RETURNS_COMPARED]

    @property
    def no_update_reason(self) -> str:
        """Why the learner has made no update so far; empty after the first, and where the settings ask for none."""
        missing = "" if self.updates else self._missing()
        return f"the learner made no update: {missing}" if missing else ""

    @abstractmethod
    def _missing(self) -> str:
        """What the first update waits for; empty where the settings ask for no updates."""

    @property
    def imagination_unused_reason(self) -> str:
        """Why no imagined transitions were used so far although settings ask for them; empty otherwise."""
        world = self._world
        if world is None or world.settings.imagined_ratio == 0 or world.imagines or not self.updates:
            return ""
        return f"no imagined transitions were used: the world model's `learning_starts` was not reached after {self.fits} fits"

    # --- world model ----------------------------------------------------------------------------------------------------------------

    def _fit(self, world: WorldModelComponent, replay: ReplayBuffer) -> None:
        """The fits of the world model that are due at one tick. Its error is measured before the first one, with which all later errors are
        compared."""
        if not self._measured and (replay.held_out_count >= self._needed or len(replay) >= 2 * self._warmup):
            self._measured = True
            if replay.held_out_count:
                self._model_sums["world_model.error"].append(self._error())
        if world.additive is not None:
            if world.additive.due:
                self._refit(world.additive, world)
            elif world.needs_imagination:
                with self._time.spent("model"):
                    world.refresh()
            return
        if self._measured and len(replay) >= self._warmup:
            self._fit_credit += world.settings.updates_per_tick
            while self._fit_credit >= 1:
                self._fit_credit -= 1
                with self._time.spent("model"):
                    data = [replay.model_data(self._fit_size, self._components.random["model"]) for _ in range(self._members)]
                    metrics = world.model.fit(data)
                self._fitted(metrics)
        if world.due:
            with self._time.spent("model"):
                world.refresh()

    def _refit(self, model: AdditiveWorldModel, world: WorldModelComponent) -> None:
        """An additive model has absorbed enough: compute it again, and imagine with it."""
        with self._time.spent("model"):
            try:
                self._fitted(model.refit())
            except ValueError as error:
                # A total by averaging can't be checked before it is used. The model stays as it was; the next total may be better.
                logger.warning("the world model can't use the newest statistics and is not changed: %s", error)
                self._model_sums["world_model.refused"].append(1.0)
            world.refresh()

    def _fitted(self, metrics: dict[str, float]) -> None:
        self.fits += 1
        for name, value in metrics.items():
            self._model_sums[f"world_model.{name}"].append(value)

    def _error(self) -> float:
        """Held-out one-step error of the world model (`WorldModel.error`); NaN before it is measured for the first time, or where nothing
        is held out."""
        world, replay = self._world, self._replay
        if world is None or replay is None or not self._measured or not replay.held_out_count:
            return float("nan")
        with self._time.spent("model"):
            return world.model.error(replay.model_data(ERROR_SAMPLE, self._components.random["model"], held_out=True))


class ReplayTrainer(Trainer):
    """For learners with the capability "replay": `replay_ratio` batches for each step of a copy, after `learning_starts` own
    transitions."""

    def __init__(self, components: AgentComponents, time: TimeShares) -> None:
        super().__init__(components, time)
        self._settings = cast(ReplaySettings, components.settings.learner)
        self._sampler: BatchSampler | JointSampler
        joint = components.get(JOINT_REPLAY)
        if joint is None:
            self._sampler = BatchSampler(components)
            self._memory: ReplayBuffer | JointReplay = components[REPLAY]
        else:
            self._sampler = JointSampler(joint, components.random["buffer"])
            self._memory = joint
        self._credit = 0.0

    def _learn(self) -> None:
        for _ in range(self._due()):
            with self._time.spent("sample"):
                batch = self._sampler.batch(self._settings.batch_size)
            self._add_bonus(batch)
            self._learnt(batch)
            if (rows := self._sampler.rows) is not None:
                with self._time.spent("learn"):
                    errors = self._components[LEARNER].td_errors(batch)
                self._components[REPLAY].update_priorities(rows, errors[: len(rows)])
            if self._world is not None:
                self._sums["world_model.imagined"].append(float(batch.imagined.mean()))

    def _due(self) -> int:
        """Batches of this tick."""
        if len(self._memory) < self._settings.learning_starts:
            return 0
        self._credit += self._settings.replay_ratio * self._components.copies
        due = int(self._credit + ROUNDING)
        self._credit -= due
        return due

    def _add_bonus(self, batch: Batch) -> None:
        """Add the replay reward's bonus to the batch."""
        if (reward := self._components.get(REPLAY_REWARD)) is None:
            return
        with self._time.spent("learn"):
            bonus = reward.bonus(batch)
        batch.reward = batch.reward + bonus
        if batch.joint is not None:
            batch.joint.reward = batch.joint.reward + bonus[:, None]

    def _missing(self) -> str:
        number, needed = len(self._memory), self._settings.learning_starts
        if not self._settings.replay_ratio:
            return ""
        if number < needed:
            whole = "whole episodes" if isinstance(self._memory, ReplayBuffer) else "episodes of which the steps of all agents have arrived"
            return f"the buffer, which takes {whole}, has {number} of {needed} transitions (learning_starts); train longer, or lower it"
        return "training ended before the first one was due; train longer"


class DatasetTrainer(ReplayTrainer):
    """For runs that learn from a dataset, in which no steps are made: `dataset.updates_per_tick` batches at each tick."""

    def __init__(self, components: AgentComponents, time: TimeShares, dataset: DatasetSettings) -> None:
        super().__init__(components, time)
        self._dataset = dataset

    def _due(self) -> int:
        return self._dataset.updates_per_tick if len(self._memory) else 0

    def _missing(self) -> str:
        if not len(self._memory):
            return "the other agents' steps of no episode of the dataset have arrived (joint.REASON in metrics counts what was refused)"
        return "training ended before the first tick; raise until.steps"


class RolloutTrainer(Trainer):
    """For learners with the capability "rollout": one update for each complete rollout."""

    def _learn(self) -> None:
        components = self._components
        with self._time.spent("sample"):
            if (joint := components.get(JOINT_ROLLOUTS)) is not None:
                batch = joint.take()
            else:
                rollout = components[ROLLOUT].take()
                batch = None if rollout is None else rollout_batch(rollout, components.features, components.encodings)
        if batch is not None:
            self._learnt(batch)
            self._imitate()

    def _imitate(self) -> None:
        """Let the policy repeat own earlier actions, if the settings ask for it."""
        if (imitation := self._components.get(IMITATION)) is not None:
            with self._time.spent("learn"):
                for name, value in imitation.learn(self._components[LEARNER]).items():
                    self._sums[f"imitation.{name}"].append(value)

    def _missing(self) -> str:
        if (joint := self._components.get(JOINT_ROLLOUTS)) is not None:
            text = f"episodes of which the steps of all agents have arrived have {len(joint)} of {joint.steps} steps"
            return f"{text} (agents.learner.steps times environment.copies); train longer, or lower it"
        steps = self._components[ROLLOUT].steps
        return f"no rollout of {steps} step messages was complete (agents.learner.steps); train longer, or lower it"


def create_trainer(components: AgentComponents, time: TimeShares) -> Trainer:
    """`DatasetTrainer` in a run with a dataset, else `RolloutTrainer` or `ReplayTrainer`, by the capability "rollout" or "replay" of the
    learner; `ConfigurationError` for a learner with neither."""
    learner = components[LEARNER]
    if components.dataset is not None:
        return DatasetTrainer(components, time, components.dataset)
    if "rollout" in learner.capabilities:
        return RolloutTrainer(components, time)
    if "replay" in learner.capabilities:
        return ReplayTrainer(components, time)
    kind = components.settings.learner.kind
    raise ConfigurationError(f"agents.learner: the settings of {kind} declare neither replay nor rollout in capabilities; declare one")
