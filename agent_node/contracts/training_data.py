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
class Team:
    """The agents of a run as one of them sees them: N members in the order of their sorted names, which all agents share."""

    names: tuple[str, ...]
    own: int
    """place of the agent itself"""
    specs: tuple[PolicySpec, ...]
    """what each member's policy is built for; their `team` is None"""


@dataclass(frozen=True)
class EntityGroup:
    """Entities of one kind in an observation."""

    name: str
    components: tuple[tuple[int, ...], ...]
    """of each entity, its components of the observation, equally many for all"""


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
    entities: tuple[EntityGroup, ...] = ()
    """groups of entities among the components; all others are the agent's own; empty where entities are not described"""
    team: Team | None = None
    """for learners with the capability "joint": all agents, itself included; None for others"""


@dataclass
class PolicyOutput:
    """Actions for n rows, with values that the learner reads again in its batches (log-probabilities, values)."""

    actions: Array
    """`[n, A]` int32 (discrete factors) or float32 (continuous)"""
    extras: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """each `[n, ...]`, stored with the transition"""


@dataclass
class JointSteps:
    """What all N members observed and did at the same moments, in the order of `Team.names`. Tuples have an entry for each member, since
    their shapes may differ. Leading dimensions are those of the batch: `[B]` in replay, `[T, E]` in rollouts of E episodes."""

    observation: tuple[torch.Tensor, ...]
    """each `[..., F_j]`: features as the member's own policy sees them"""
    action: tuple[torch.Tensor, ...]
    """each `[..., A_j]` int64 or float32"""
    reward: torch.Tensor
    """`[..., N]`"""
    next_observation: tuple[torch.Tensor, ...]
    next_action: tuple[torch.Tensor, ...]
    """each `[..., A_j]`: the logged actions of the following moment; they mean nothing where `followed` is 0"""
    followed: torch.Tensor
    """`[..., N]`: 1.0 where the member acted at the following moment too"""
    terminated: torch.Tensor
    """`[..., N]`: 1.0 where the member's part ended at this step by its own outcome, and after that"""
    active: torch.Tensor
    """`[..., N]`: 1.0 where the member took this step; 0.0 after the end of its part"""

    def to(self, device: torch.device) -> JointSteps:
        """The same on `device`."""

        def moved(value: Any) -> Any:
            return tuple(one.to(device) for one in value) if isinstance(value, tuple) else value.to(device)

        return JointSteps(**{one.name: moved(getattr(self, one.name)) for one in fields(self)})


@dataclass
class Batch:
    """Transitions as torch tensors. Replay learners receive `[B, ...]`; rollout learners, and recurrent replay learners, `[T, B, ...]` in
    order of time."""

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
    """replay: importance of each sample, mean 1; rollouts: 1 for the agent's own steps in training, 0 for all others; sequences: 1 for
    steps to learn from, 0 for those that only compute the state before them, and where an episode has no step"""
    imagined: torch.Tensor
    """1.0 where the transition was imagined by the world model"""
    first: torch.Tensor | None = None
    """rollouts and sequences: 1.0 where an episode begins, to reset recurrent state"""
    extras: dict[str, torch.Tensor] = field(default_factory=dict)
    steps: torch.Tensor | None = None
    """replay, `[B]`: m, the environment steps from `observation` to `next_observation`, of whose rewards `reward` is the discounted sum;
    None: 1"""
    next_goal: torch.Tensor | None = None
    """rollouts: the goal in force at `next_observation`; None where goals last as long as episodes"""
    joint: JointSteps | None = None
    """what all members did at the same moments, for learners with the capability "joint"; None for others"""

    def to(self, device: torch.device) -> Batch:
        """The batch with all tensors on `device`; the batch itself where they are there already."""
        if self.reward.device == device:
            return self
        there = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("extras", "joint")}
        moved: dict[str, Any] = {name: None if tensor is None else tensor.to(device) for name, tensor in there.items()}
        joint = None if self.joint is None else self.joint.to(device)
        return replace(self, **moved, joint=joint, extras={name: tensor.to(device) for name, tensor in self.extras.items()})
