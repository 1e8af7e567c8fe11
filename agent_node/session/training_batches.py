"""From sampled transitions to the tensors that a learner takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Batch
from agent_node.memory.replay.replay_buffer import TransitionSample
from agent_node.memory.rollout.rollout_buffer import Rollout
from agent_node.session.observation_features import Features
from protocols.spaces.goal_space import GoalSpace


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
    dreamt = np.concatenate([np.full(len(sample.reward), flag, np.float32) for sample, flag in zip(samples, imagined, strict=True)])
    return Batch(
        observation=both[:rows],
        goal=torch.from_numpy(encodings[joined("goal")]),
        action=torch.from_numpy(action.astype(np.int64) if features.discrete else action),
        reward=torch.from_numpy(joined("reward")),
        next_observation=both[rows:],
        terminated=torch.from_numpy(joined("terminated")),
        weight=torch.from_numpy(np.concatenate([_weights(sample) for sample in samples])),
        imagined=torch.from_numpy(dreamt),
        extras={name: torch.from_numpy(np.concatenate([sample.extras[name] for sample in samples])) for name in samples[0].extras},
    )


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


def _weights(sample: TransitionSample) -> NDArray[np.float32]:
    return np.ones(len(sample.reward), np.float32) if sample.weight is None else sample.weight
