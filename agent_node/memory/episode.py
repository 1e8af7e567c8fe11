"""Episodes of one agent, and transitions that are drawn from them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array
from protocols.spaces.goal_space import NO_GOAL, Goal


def histories(observation: Array, length: int) -> Array:
    """`[n, length, D]`: each of `observation[n, D]` with those before it, oldest first; before the start stands the first one."""
    rows = np.arange(len(observation))[:, None] - np.arange(length - 1, -1, -1)
    stacked: Array = observation[np.maximum(rows, 0)]
    return stacked


@dataclass
class Episode:
    """One episode of one agent: its observations, actions, rewards and goals in order of time."""

    number: int
    observation: Array
    """`[T + 1, D]` raw"""
    action: Array
    """`[T, A]`, the actions that counted"""
    reward: NDArray[np.float32]
    """`[T]`"""
    terminated: bool
    """its part ended by its own outcome, so that no value follows; otherwise by a limit"""
    goal: Goal = NO_GOAL
    achieved: Array | None = None
    """`[length + 1, A]` what its own body achieved, to the end of the whole episode: u1 features, or f4 points for vector goals"""
    others: NDArray[np.uint8] | None = None
    """`[length + 1, B, A]` what each other body achieved; None until all traces are here"""
    partner_goals: tuple[int, ...] = ()
    role: int = 0
    """1: it led the negotiation"""
    message: int = -1
    negotiated: bool = False
    partners: tuple[str, ...] | None = None
    """names of the other members, where their agreement about goals is known"""
    evaluation: bool = False
    peer_lost: bool = False
    substituted: NDArray[np.bool_] | None = None
    """`[T]` steps whose action was the environment's stand-in: nothing in `extras` belongs to it"""
    extras: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """each `[T, ...]`: what the learner stored beside its actions"""
    moment: NDArray[np.int32] | None = None
    """`[T]` step of the whole episode at which it acted: 0, 1, ..., and for agents that take turns with gaps"""

    @property
    def steps(self) -> int:
        """T, the steps of its own part."""
        return len(self.reward)

    @property
    def length(self) -> int:
        """Steps of the whole episode."""
        return self.steps if self.achieved is None else len(self.achieved) - 1

    def histories(self, length: int) -> Array:
        """`[T + 1, length, D]`: each observation with those before it, oldest first; before the start stands the first observation."""
        return histories(self.observation, length)

    @property
    def goal_index(self) -> int:
        """The number of its discrete goal; `ValueError` for a vector goal."""
        if not isinstance(self.goal, int):
            raise ValueError("the goal is a vector and has no number")
        return self.goal

    @property
    def total_reward(self) -> float:
        """Undiscounted sum of the episode's rewards."""
        return float(self.reward.sum())


@dataclass
class TransitionSample:
    """n transitions, raw: observations with their history `[n, H, D]`."""

    observation: Array
    action: Array
    reward: NDArray[np.float32]
    next_observation: Array
    terminated: NDArray[np.float32]
    goal: Array
    """`[n]` goal numbers, -1 without goals; `[n, D]` vector goals"""
    relabelled: NDArray[np.bool_]
    weight: NDArray[np.float32] | None = None
    """`[n]` importance of each, mean 1 over those that are relabelled and 1 for the others; None: 1 for all"""
    extras: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """each `[n, ...]`: what a learner stores beside its transitions (`contracts.Batch.extras`)"""
    steps: NDArray[np.float32] | None = None
    """`[n]`: as in `contracts.Batch.steps`"""
    rows: NDArray[np.int64] | None = None
    """`[n]` where they stand in a buffer with priorities, for `ReplayBuffer.update_priorities`"""


@dataclass
class SequenceSample:
    """n sequences of L consecutive steps of one episode each, in order of time, raw: observations with their history."""

    observation: Array
    """`[L + 1, n, H, D]`: row t + 1 is what followed step t"""
    action: Array
    """`[L, n, A]`"""
    reward: NDArray[np.float32]
    """`[L, n]`, as the following"""
    terminated: NDArray[np.float32]
    goal: Array
    weight: NDArray[np.float32]
    """1 for steps to learn from; 0 for those before the sequence, which only compute its state, and where there is no step"""
    first: NDArray[np.float32]
    """1 where the episode begins"""
