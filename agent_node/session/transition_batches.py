"""Batches for learners: own, imported and imagined transitions of a replay buffer, and rollouts, as tensors with encoded goals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Batch
from agent_node.learners.network_settings import ReplaySequenceSettings
from agent_node.memory.episode import SequenceSample, TransitionSample
from agent_node.memory.joint_replay import JointReplay
from agent_node.memory.replay_buffer import ReplayBuffer
from agent_node.memory.rollout_buffer import Rollout
from agent_node.session.observation_features import Features
from agent_node.session.roles import IMPORTED_REPLAY, REPLAY, WORLD_MODEL
from protocols.spaces.goal_space import GoalSpace

if TYPE_CHECKING:
    from agent_node.session.agent_components import AgentComponents


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


def sequence_batch(sample: SequenceSample, features: Features, encodings: GoalEncodings) -> Batch:
    """Sequences `[L, B, ...]` for recurrent learners; the weight of steps that are not learnt from is 0, of the others 1."""
    shape = sample.observation.shape[:2]
    observed = torch.from_numpy(features.encode(sample.observation.reshape(-1, *sample.observation.shape[2:])).reshape(*shape, -1))
    return Batch(
        observation=observed[:-1],
        goal=torch.from_numpy(encodings[sample.goal]),
        action=torch.from_numpy(sample.action.astype(np.int64) if features.discrete else sample.action),
        reward=torch.from_numpy(sample.reward),
        next_observation=observed[1:],
        terminated=torch.from_numpy(sample.terminated),
        weight=torch.from_numpy(sample.weight),
        imagined=torch.zeros(sample.weight.shape),
        first=torch.from_numpy(sample.first),
    )


class BatchSampler:
    """Batches of own, imported and imagined transitions of an agent with a replay buffer; for recurrent learners sequences of own
    episodes."""

    def __init__(self, components: AgentComponents) -> None:
        self._replay, self._imported = components[REPLAY], components.get(IMPORTED_REPLAY)
        self._world = components.get(WORLD_MODEL)
        self._hindsight = components.exchange.hindsight
        self._random = components.random["buffer"]
        self._features, self._encodings = components.features, components.encodings
        learner = components.settings.learner
        self._returns = (getattr(learner, "n_step", 1), learner.discount)
        recurrent = "recurrent" in learner.capabilities
        self._sequences: ReplaySequenceSettings | None = getattr(learner, "recurrent") if recurrent else None  # noqa: B009
        self.rows: NDArray[np.int64] | None = None
        """of the own transitions of the newest batch, its first ones, in a buffer with priorities; None without priorities"""

    def batch(self, size: int) -> Batch:
        """`size` transitions, a share of them relabelled, and a share of them imagined; or sequences of about as many, `[L, B, ...]`."""
        if (recurrent := self._sequences) is not None:
            sequences = max(1, round(size / recurrent.sequence))
            drawn = self._replay.sequences(sequences, self._random, recurrent.sequence, recurrent.burn_in)
            return sequence_batch(drawn, self._features, self._encodings)
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
        """Own and imported transitions, drawn as if all were in one buffer; a share of them is relabelled where the environment has
        goals."""
        own, imported, hindsight, random = self._replay, self._imported, self._hindsight, self._random
        num_imported = 0
        if imported is not None and len(imported):
            num_imported = int(random.binomial(size, len(imported) / (len(imported) + len(own))))
        counts: list[tuple[ReplayBuffer | None, int]] = [(own, size - num_imported), (imported, num_imported)]
        parts = [(buffer, count) for buffer, count in counts if buffer is not None and count]
        if hindsight is None:
            return [buffer.sample(count, random, returns=self._returns) for buffer, count in parts]
        return [buffer.sample(count, random, hindsight.share, hindsight.strategies, returns=self._returns) for buffer, count in parts]


class JointSampler:
    """Batches of a memory of joint episodes."""

    rows = None
    """joint replay has no priorities"""

    def __init__(self, memory: JointReplay, random: np.random.Generator) -> None:
        self._memory, self._random = memory, random

    def batch(self, size: int) -> Batch:
        """`size` joint steps, uniformly."""
        return self._memory.batch(size, self._random)


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
