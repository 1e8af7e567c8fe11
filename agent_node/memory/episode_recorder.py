"""Episodes as an agent lived them, assembled from the ticks of K environment copies.

Step t is the action that leads from observation t to observation t + 1. An agent's own part has T steps; the episode may go on without
it (`length` steps in all), and what its parked body touches until the end still counts for its partners.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.spaces.goal_space import NO_GOAL, Goal, GoalSpace


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


class EpisodeRecorder:
    """Turns the ticks of K copies into finished episodes. Copies whose first tick it has not seen are left out."""

    def __init__(
        self, copies: int, size: int, dtype: type[np.generic], action_size: int, discrete: bool, space: GoalSpace | None = None
    ) -> None:
        steps = 64
        self._observation = np.zeros((copies, steps + 1, size), dtype)
        self._action = np.zeros((copies, steps, action_size), np.int32 if discrete else np.float32)
        self._reward = np.zeros((copies, steps), np.float32)
        self._substituted = np.zeros((copies, steps), bool)
        shape = () if space is None else space.goal_shape
        measured = (0, np.uint8) if space is None else (space.achieved_size, space.achieved_dtype)
        self._achieved: Array = np.zeros((copies, steps + 1, measured[0]), measured[1])
        self._extras: dict[str, NDArray[np.float32]] = {}
        self._number = np.full(copies, -1, np.int64)
        self._own = np.zeros(copies, np.int64)
        self._length = np.zeros(copies, np.int64)
        self._terminated = np.zeros(copies, bool)
        self._goal: Array = np.full((copies, *shape), np.nan, np.float32) if shape else np.full(copies, NO_GOAL, np.int64)
        self._measures = space is not None

    def tick(
        self,
        observation: Array,
        reward: NDArray[np.float32],
        flags: NDArray[np.uint16],
        episode: NDArray[np.int64],
        applied: Array,
        achieved: Array | None = None,
        goal: Array | None = None,
        extras: dict[str, NDArray[np.float32]] | None = None,
    ) -> list[Episode]:
        """Take one tick: raw `observation[K, D]`, `reward[K]`, `flags[K]`, `episode[K]`, `applied[K, A]`, `achieved[K, A]`, the agent's
        own `goal[K]`, and the `extras[K, ...]` of the actions that led here. Returns the episodes that ended with it."""
        member = (flags & Flag.MEMBER) != 0
        first = member & ((flags & Flag.FIRST) != 0)
        self._number[~member | (~first & (self._number != episode))] = -1
        going = self._number >= 0
        going &= ~first
        acting = np.flatnonzero(going & ((flags & Flag.PARKED) == 0))
        self._length[going] += 1
        self._own[acting] += 1
        if going.any() and int(self._length[going].max()) >= self._reward.shape[1]:
            self._grow()
        at = self._own[acting]
        self._observation[acting, at] = observation[acting]
        self._action[acting, at - 1] = applied[acting]
        self._reward[acting, at - 1] = reward[acting]
        self._substituted[acting, at - 1] = (flags[acting] & Flag.SUBSTITUTED) != 0
        for name, values in (extras or {}).items():
            if name not in self._extras:
                self._extras[name] = np.zeros((*self._reward.shape, *values.shape[1:]), np.float32)
            self._extras[name][acting, at - 1] = values[acting]
        self._terminated[acting] = (flags[acting] & Flag.TERMINATED) != 0
        self._begin(np.flatnonzero(first), observation, episode, goal)
        if achieved is not None:
            present = np.flatnonzero(going | first)
            self._achieved[present, self._length[present]] = achieved[present]
        over = np.flatnonzero(going & ((flags & Flag.OVER) != 0))
        finished = [self._finish(int(row), int(flags[row])) for row in over if self._own[row] > 0]
        self._number[over] = -1
        return finished

    def _begin(self, rows: NDArray[np.int64], observation: Array, episode: NDArray[np.int64], goal: Array | None) -> None:
        self._number[rows] = episode[rows]
        self._own[rows] = 0
        self._length[rows] = 0
        self._terminated[rows] = False
        self._goal[rows] = NO_GOAL if goal is None else goal[rows]
        self._observation[rows, 0] = observation[rows]

    def _finish(self, row: int, flags: int) -> Episode:
        steps, length = int(self._own[row]), int(self._length[row])
        return Episode(
            number=int(self._number[row]),
            observation=self._observation[row, : steps + 1].copy(),
            action=self._action[row, :steps].copy(),
            reward=self._reward[row, :steps].copy(),
            terminated=bool(self._terminated[row]),
            goal=tuple(self._goal[row].tolist()) if self._goal.ndim > 1 else int(self._goal[row]),
            achieved=self._achieved[row, : length + 1].copy() if self._measures else None,
            evaluation=bool(flags & Flag.EVALUATION),
            peer_lost=bool(flags & Flag.PEER_LOST),
            substituted=self._substituted[row, :steps].copy(),
            extras={name: values[row, :steps].copy() for name, values in self._extras.items()},
        )

    def _grow(self) -> None:
        """Room for twice as many steps."""

        def twice(array: Array) -> Array:
            more = np.zeros((array.shape[0], self._reward.shape[1], *array.shape[2:]), array.dtype)
            return np.concatenate([array, more], axis=1)

        self._observation, self._achieved = twice(self._observation), twice(self._achieved)
        self._action, self._substituted = twice(self._action), twice(self._substituted)
        self._extras = {name: twice(values) for name, values in self._extras.items()}
        self._reward = twice(self._reward)
