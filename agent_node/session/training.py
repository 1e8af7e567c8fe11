"""Training at a fixed ratio to acting: the updates of the learner and of the world model that belong to each tick, and their batches."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import AdditiveWorldModel, Batch
from agent_node.learners.settings import ReplaySettings, RolloutSettings
from agent_node.memory.replay_buffer import ReplayBuffer, TransitionSample
from agent_node.memory.rollout_buffer import Rollout
from agent_node.session.observation_features import Features
from agent_node.session.roles import IMPORTED_REPLAY, LEARNER, REPLAY, REWARDS, ROLLOUT, WORLD_MODEL
from protocols.runtime.errors import ConfigurationError
from protocols.runtime.telemetry import TimeShares
from protocols.spaces.goal_space import GoalSpace

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
        self._sampler = BatchSampler(components)
        self._credit = 0.0

    def _learn(self) -> None:
        if len(self._components[REPLAY]) < self._settings.learning_starts:
            return
        self._credit += self._settings.replay_ratio * self._components.copies
        while self._credit >= 1 - ROUNDING:
            self._credit -= 1
            with self._time.spent("sample"):
                batch = self._sampler.batch(self._settings.batch_size)
            self._learnt(batch)
            if (rows := self._sampler.rows) is not None:
                with self._time.spent("learn"):
                    errors = self._components[LEARNER].td_errors(batch)
                self._components[REPLAY].update_priorities(rows, errors[: len(rows)])
            if self._world is not None:
                self._sums["world_model.imagined"].append(float(batch.imagined.mean()))

    def _missing(self) -> str:
        number, needed = len(self._components[REPLAY]), self._settings.learning_starts
        if not self._settings.replay_ratio:
            return ""
        if number < needed:
            return (
                f"the buffer, which takes whole episodes, has {number} of {needed} transitions (learning_starts); train longer, or lower it"
            )
        return "training ended before the first one was due; train longer"


class RolloutTrainer(Trainer):
    """For learners with the capability "rollout": one update for each complete rollout."""

    def _learn(self) -> None:
        components = self._components
        with self._time.spent("sample"):
            rollout = components[ROLLOUT].take()
            batch = None if rollout is None else rollout_batch(rollout, components.features, components.encodings)
        if batch is not None:
            self._learnt(batch)

    def _missing(self) -> str:
        steps = cast(RolloutSettings, self._components.settings.learner).steps
        return f"no rollout of {steps} step messages was complete (agents.learner.steps); train longer, or lower it"


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


# --- batches ------------------------------------------------------------------------------------------------------------------------------


class VectorEncodings:
    """Encodings of vector goals, looked up like rows of the table of discrete ones: `encodings[goal[..., D]]` is `[..., D]`."""

    def __init__(self, space: GoalSpace) -> None:
        self._space = space
        self.shape = (0, space.goal_size)

    def __getitem__(self, goal: NDArray[Any]) -> NDArray[np.float32]:
        return self._space.encode(goal)


GoalEncodings = NDArray[np.float32] | VectorEncodings


def goal_encodings(space: GoalSpace | None, cells: int = 0) -> Any:
    """`[|G| + 1, L]` multi-hot; the last row (goal -1) is zeros. Without a goal space `[cells + 1, cells]`, one-hot: goals are cells of a
    grid, if there are any. For vector goals `VectorEncodings`."""
    if space is None:
        return np.eye(cells + 1, cells, dtype=np.float32)
    return VectorEncodings(space) if space.goal_shape else space.encode(np.append(np.arange(space.count), -1))


def make_batch(samples: list[TransitionSample], imagined: list[bool], features: Features, encodings: GoalEncodings) -> Batch:
    """One batch of all samples; rows of `samples[i]` carry `imagined[i]`. All samples have the same extras."""

    def joined(name: str) -> NDArray[np.generic]:
        parts = [getattr(sample, name) for sample in samples]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    observation, following = joined("observation"), joined("next_observation")
    rows = len(observation)
    both = torch.from_numpy(features.encode(np.concatenate([observation, following])))
    action = joined("action")
    weights = [np.ones(len(sample.reward), np.float32) if sample.weight is None else sample.weight for sample in samples]
    imagined_rows = np.concatenate([np.full(len(sample.reward), flag, np.float32) for sample, flag in zip(samples, imagined, strict=True)])
    return Batch(
        observation=both[:rows],
        goal=torch.from_numpy(encodings[joined("goal")]),
        action=torch.from_numpy(action.astype(np.int64) if features.discrete else action),
        reward=torch.from_numpy(joined("reward")),
        next_observation=both[rows:],
        terminated=torch.from_numpy(joined("terminated")),
        weight=torch.from_numpy(np.concatenate(weights)),
        imagined=torch.from_numpy(imagined_rows),
        extras={name: torch.from_numpy(np.concatenate([sample.extras[name] for sample in samples])) for name in samples[0].extras},
        steps=_joined_steps(samples),
    )


def _joined_steps(samples: list[TransitionSample]) -> torch.Tensor | None:
    if all(sample.steps is None for sample in samples):
        return None
    return torch.from_numpy(
        np.concatenate([np.ones(len(sample.reward), np.float32) if sample.steps is None else sample.steps for sample in samples])
    )


class BatchSampler:
    """Batches of own, imported and imagined transitions of an agent with a replay buffer."""

    def __init__(self, components: AgentComponents) -> None:
        self._replay, self._imported = components[REPLAY], components.get(IMPORTED_REPLAY)
        self._world = components.get(WORLD_MODEL)
        self._hindsight = components.exchange.hindsight
        self._random = components.random["buffer"]
        self._features, self._encodings = components.features, components.encodings
        learner = components.settings.learner
        self._returns = (getattr(learner, "n_step", 1), learner.discount)
        self.rows: NDArray[np.int64] | None = None
        """of the own transitions of the newest batch, its first ones, in a buffer with priorities; None without priorities"""

    def batch(self, size: int) -> Batch:
        """`size` transitions, a share of them relabelled, and a share of them imagined."""
        world, num_imagined = self._world, 0
        if world is not None and world.imagines:
            num_imagined = round(size * world.settings.imagined_ratio)
        samples = self._samples(size - num_imagined) if num_imagined < size else []
        self.rows = samples[0].rows if samples else None
        if world is not None:
            for sample in samples:
                world.add_optimistic_prediction(sample)
            if num_imagined:
                samples.append(world.imagined(num_imagined))
        imagined = [False] * (len(samples) - bool(num_imagined)) + [True] * bool(num_imagined)
        return make_batch(samples, imagined, self._features, self._encodings)

    def _samples(self, size: int) -> list[TransitionSample]:
        """Own and imported transitions, a share of them relabelled where the environment has goals. Imported episodes are drawn as if all
        transitions were in one buffer; imported segments have at most `max_imported_ratio`."""
        own, imported, hindsight, random = self._replay, self._imported, self._hindsight, self._random
        num_imported = 0
        if imported is not None and len(imported):
            share = len(imported) / (len(imported) + len(own))
            if hindsight is None:
                num_imported = int(random.binomial(size, share))
            elif hindsight.segments is not None:
                num_imported = int(size * min(hindsight.segments.max_imported_ratio, share))
        counts: list[tuple[ReplayBuffer | None, int]] = [(own, size - num_imported), (imported, num_imported)]
        parts = [(buffer, count) for buffer, count in counts if buffer is not None and count]
        if hindsight is None:
            return [buffer.sample(count, random, returns=self._returns) for buffer, count in parts]
        relabelling = (hindsight.share, hindsight.strategies, hindsight.weighting, hindsight.partner)
        return [buffer.sample(count, random, *relabelling, returns=self._returns) for buffer, count in parts]


def rollout_batch(rollout: Rollout, features: Features, encodings: GoalEncodings) -> Batch:
    """A rollout `[T, K, ...]`; the weight of steps that do not count is 0, of the others 1."""
    observed, goals = torch.from_numpy(rollout.features), torch.from_numpy(encodings[rollout.goal])
    return Batch(
        observation=observed[:-1],
        goal=goals[:-1],
        action=torch.from_numpy(rollout.action.astype(np.int64) if features.discrete else rollout.action),
        reward=torch.from_numpy(rollout.reward),
        next_observation=observed[1:],
        terminated=torch.from_numpy(rollout.terminated),
        weight=torch.from_numpy(rollout.counts),
        imagined=torch.zeros(rollout.counts.shape),
        first=torch.from_numpy(rollout.first),
        next_goal=goals[1:],
        extras={name: torch.from_numpy(values) for name, values in rollout.extras.items()},
    )
