"""Contracts of what motivates a policy beside the environment's reward: curiosity, and teachers, told of every tick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts.training_data import Array, Batch, Metrics


@dataclass
class TransitionBatch:
    """Steps of n copies at one tick, in training."""

    rows: NDArray[np.int64]
    """`[n]` numbers of the copies"""
    observation: Array
    """`[n, F]` features"""
    next_observation: Array
    next_raw: Array
    """`[n, D]` what was seen after the step, as it came from the environment"""
    raw: Array
    begins: NDArray[np.bool_]
    """`[n]`: an episode began with `observation`"""


class IntrinsicReward(Protocol):
    """Pays an agent for what is new to it."""

    def reward(self, transitions: TransitionBatch) -> NDArray[np.float32]:
        """What each step is worth beside the environment's reward, `[n]`. Called once for every tick's steps, in order of time."""
        ...

    def learn(self, batch: Batch) -> Metrics:
        """Get used to what a rollout `[T, K, ...]` has shown. Metrics: of this, and means over the steps since the last one."""
        ...

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Everything a restart needs: flat names to tensors."""
        ...

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore; `ValueError` with the name of what does not fit."""
        ...


@dataclass
class Frame:
    """What K copies show at one tick."""

    raw: Array
    """`[K, D]` as it comes from the environment"""
    reward: NDArray[np.float32]
    """`[K]` of the step that led here"""
    flags: NDArray[np.uint16]
    continuous: bool
    """whether the tick before was seen too"""


@dataclass
class TeacherOutput:
    """What a teacher makes of a tick."""

    goals: NDArray[np.int64]
    """`[K]` the goals in force from here on; -1 where there are none"""
    reward: NDArray[np.float32]
    """`[K]` what the policy is paid for the step that led here"""
    late: NDArray[np.float32]
    """`[K]` what it is paid for the step before that: the last one of an episode may be judged by how the next one begins"""
    restart: NDArray[np.bool_] | None = None
    """`[K]` copies whose episode is to end here, and the next one to begin; None where that is nowhere"""


class Teacher(Protocol):
    """Sets a policy goals while an episode goes on, pays it for reaching them, and learns which ones to set."""

    goal_length: int
    """length of the encoding of a goal, one-hot: goals are 0 ... length - 1"""

    def observed(self, frame: Frame) -> TeacherOutput:
        """A tick: which goals have been reached, and which ones are in force now."""
        ...

    def learn(self, batch: Batch) -> Metrics:
        """Learn from the goals that have ended, if there are enough; told of every rollout that the policy learns from."""
        ...

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """`teacher`: parameters to average."""
        ...

    def averaged(self) -> None:
        """Told after the live parameters were changed from outside."""
        ...

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Everything a restart needs: flat names to tensors."""
        ...

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore; `ValueError` with the name of what does not fit."""
        ...


class GoalOutcome(NamedTuple):
    """How a goal ended: steps since it was set, whether it was reached, and the environment's reward in its last step."""

    duration: int
    reached: bool
    reward: float


@runtime_checkable
class SwappingTeacher(Protocol):
    """A teacher whose goals neighbours may pursue, while the own policy pursues theirs. Its goals have numbers, each its own."""

    def swappable(self) -> NDArray[np.int64]:
        """`[K]` numbers of the own goals in force; -1 where there is none, or one that was borrowed, or in evaluations."""
        ...

    def current_goals(self) -> NDArray[np.int64]:
        """`[K]` goals in force."""
        ...

    def swap_in(self, row: int, goal: int, given: int) -> None:
        """From the next tick on, the policy pursues `goal` in that row and somebody else the own goal `given`, unless the episode is
        over by then."""
        ...

    def finished_swaps(self) -> list[tuple[int, GoalOutcome]]:
        """Borrowed goals that have ended since the last call, by row; of a duration of 0 where the episode was over before."""
        ...

    def swap_ended(self, number: int, outcome: GoalOutcome) -> None:
        """What became of an own goal that was given away: to be learnt from."""
        ...
