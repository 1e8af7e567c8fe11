"""Data between an agent's components: shapes for which they are built, actions, and batches of transitions."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from protocols.spaces.grid_space import Grids

Array = NDArray[Any]
Metrics = dict[str, float]


@dataclass(frozen=True)
class PolicySpec:
    """Shapes of inputs and outputs of a learner or world model: the features that the agent computes, not the observation as it was
    received."""

    observation: tuple[int, ...]
    """shape of one observation as the networks see it (history stacked, circular fields as sine and cosine)"""
    goal: int
    """length of a goal encoding, 0 without goals"""
    actions: tuple[int, ...]
    """numbers of choices of each discrete factor; empty for continuous actions"""
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    """bounds of continuous actions"""
    hallucinated: int = 0
    """components that a policy may add to its actions for the world model alone, to choose among what the model holds possible"""
    grids: Grids | None = None
    """where grids of cells are among the first components; None without grids"""
    mask: int = 0
    """the last so many components of the observation are the action mask, sum(actions) of them: 1 where a choice is legal; 0: no mask"""
    image: tuple[int, int, int] | None = None
    """height, width and channels of the image that the first components are, in this order of axes, divided by 255; None without image"""


@dataclass
class PolicyOutput:
    """Actions for n rows, with values that the learner reads again in its batches (log-probabilities, values)."""

    actions: Array
    """`[n, A]` int32 (discrete factors) or float32 (continuous)"""
    extras: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """each `[n, ...]`, stored with the transition"""


@dataclass
class Batch:
    """Transitions as torch tensors. Replay learners receive `[B, ...]`; rollout learners `[T, B, ...]` in order of time."""

    observation: torch.Tensor
    goal: torch.Tensor
    """multi-hot `[..., goal]` float32, width 0 without goals"""
    action: torch.Tensor
    """`[..., A]` int64 or float32"""
    reward: torch.Tensor
    next_observation: torch.Tensor
    terminated: torch.Tensor
    """1.0 where no value follows; truncated transitions have 0 and bootstrap from `next_observation`"""
    weight: torch.Tensor
    """replay: importance of each sample, mean 1; rollouts: 1 for the agent's own steps in training, 0 for all others"""
    imagined: torch.Tensor
    """1.0 where the transition was imagined by the world model"""
    first: torch.Tensor | None = None
    """rollouts: 1.0 where an episode begins, to reset recurrent state"""
    extras: dict[str, torch.Tensor] = field(default_factory=dict)
    steps: torch.Tensor | None = None
    """replay, `[B]`: m, the environment steps from `observation` to `next_observation`, of whose rewards `reward` is the discounted sum;
    None: 1"""
    next_goal: torch.Tensor | None = None
    """rollouts: the goal in force at `next_observation`; None where goals last as long as episodes"""

    def to(self, device: torch.device) -> Batch:
        """The batch with all tensors on `device`; the batch itself where they are there already."""
        if self.reward.device == device:
            return self
        there = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "extras"}
        moved: dict[str, Any] = {name: None if tensor is None else tensor.to(device) for name, tensor in there.items()}
        return replace(self, **moved, extras={name: tensor.to(device) for name, tensor in self.extras.items()})
