"""Contracts of intrinsic rewards and of teachers, which observe every tick."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts.component import Component
from agent_node.contracts.learner_contracts import Learner
from agent_node.contracts.training_data import Array, Batch, JointSteps, Metrics


@dataclass
class TransitionBatch:
    """Steps of n environment copies at one tick of training: the observations before and after each step."""

    rows: NDArray[np.int64]
    """`[n]` numbers of the copies"""
    observation: Array
    """`[n, F]` features"""
    next_observation: Array
    next_raw: Array
    """`[n, D]` the observation after the step, as it came from the environment"""
    raw: Array
    begins: NDArray[np.bool_]
    """`[n]`: an episode began with `observation`"""


class IntrinsicReward(Component, ABC):
    """Rewards an agent for what is new to it. Constructor: `(settings, policy_spec, copies, seed)`; `copies` is the number K of
    environment copies."""

    @abstractmethod
    def reward(self, transitions: TransitionBatch) -> NDArray[np.float32]:
        """Intrinsic reward of each step, `[n]`. Called once for the steps of each tick, in order of time."""

    @abstractmethod
    def learn(self, batch: Batch) -> Metrics:
        """Learn from a rollout `[T, K, ...]`. Metrics: of this update, and means over the steps since the last one."""


class ReplayReward(Component, ABC):
    """Rewards the transitions of replay batches whenever a learner draws them; the replay buffer is not changed. Constructor: `(settings,
    policy_spec, seed, initial)`, with `seed` for random draws and `initial` for the first parameters."""

    @abstractmethod
    def bonus(self, batch: Batch) -> torch.Tensor:
        """`[B]` float32, added to `batch.reward` and to all columns of `batch.joint.reward` before the learner sees the batch. Called once
        for each of the learner's updates; the component may learn from the batch too."""

    def joint_episode_ended(self, number: int, joint: JointSteps, returns: NDArray[np.float32]) -> None:
        """With a learner of the capability "joint": the steps `[T, ...]` of all members of a training episode are complete. `returns[N]`:
        the sums of the members' rewards."""


class Imitation(Component, ABC):
    """Trains a policy to repeat own earlier actions, besides what its learner does; it receives the agent's episodes by `episode_ended`.
    Constructor: `(settings, features, seed)`, with `features` the `Features` of the agent's observations and `seed` for random draws. The
    learner has the capability "imitation"."""

    @abstractmethod
    def learn(self, learner: Learner) -> Metrics:
        """Called after each of the learner's updates. Metrics of what was imitated, of nothing where nothing was."""


@dataclass
class Frame:
    """Observations of K copies at one tick."""

    raw: Array
    """`[K, D]` as it comes from the environment"""
    reward: NDArray[np.float32]
    """`[K]` of the step that led here"""
    flags: NDArray[np.uint16]
    continuous: bool
    """whether the tick before was seen too"""


@dataclass
class TeacherOutput:
    """Goals in force after a tick, and the intrinsic rewards of the step that led there, for K copies."""

    goals: NDArray[np.int64]
    """`[K]` the goals in force from here on; -1: none"""
    reward: NDArray[np.float32]
    """`[K]` intrinsic reward of the step that led here"""
    late: NDArray[np.float32]
    """`[K]` intrinsic reward of the step before that: the last step of an episode may be judged by how the next episode begins"""
    restart: NDArray[np.bool_] | None = None
    """`[K]` copies whose episode is to end here, and the next one to begin; None: no copy"""


class GoalOutcome(NamedTuple):
    """How a goal ended: steps since it was set, whether it was reached, and the environment's reward in its last step."""

    duration: int
    reached: bool
    reward: float


class Teacher(Component, ABC):
    """Sets the goals of a policy during an episode, rewards it for reaching them, and learns which goals to set.

    Constructor: `(settings, grids, copies, seed, initial)`, with `grids` the `Grids` that the environment shows or None, `seed` for the
    drawn goals and `initial` for the first parameters.
    """

    goal_length: int
    """length of the one-hot encoding of a goal: goals are 0 ... length - 1"""

    @abstractmethod
    def step(self, frame: Frame) -> TeacherOutput:
        """A tick: which goals were reached, and which ones are in force now."""

    @abstractmethod
    def learn(self, batch: Batch) -> Metrics:
        """Learn from the goals that have ended, if there are enough. `batch`: the rollout that the policy learns from."""

    # --- optional: capability "swappable_goals" -------------------------------------------------------------------------------------
    # Neighbours may pursue the teacher's goals while the own policy pursues theirs. Each own goal has a number.

    def swappable(self) -> NDArray[np.int64]:
        """`[K]` numbers of the own goals in force; -1 for none, in evaluations, and where a neighbour's goal is pursued."""
        raise NotImplementedError("this teacher declares no swappable_goals")

    def current_goals(self) -> NDArray[np.int64]:
        """The goals in force, `[K]` indices."""
        raise NotImplementedError("this teacher declares no swappable_goals")

    def swap_in(self, row: int, goal: int, given: int) -> None:
        """From the next tick on, the policy pursues `goal` in that row and a neighbour the own goal `given`, unless the episode is over
        by then."""
        raise NotImplementedError("this teacher declares no swappable_goals")

    def finished_swaps(self) -> list[tuple[int, GoalOutcome]]:
        """Neighbours' goals that ended since the last call, by row; with duration 0 where the episode was over before."""
        raise NotImplementedError("this teacher declares no swappable_goals")

    def swap_ended(self, number: int, outcome: GoalOutcome) -> None:
        """Outcome of an own goal that a neighbour pursued: the teacher learns from it."""
        raise NotImplementedError("this teacher declares no swappable_goals")
