"""Transitions that never happened: from real states, by the policy's actions, with the world model in the environment's place.

In environments with goals the model gives the probability p of each feature, and the reward rule turns it into the probability
that the goal is reached: p_a for an individual goal {a}; for a cooperative one the product of p within the set and of 1 - p outside.
Imagined transitions carry expectations: reward = P(reached) * pay, terminated = P(reached). A threshold instead would call every touch that
is less likely than not a failure, and teach that it is worth nothing.

Imagined goals are uniform over all goals, so that one imagined touch teaches any goal it fits. Only goals are imagined that are
decided by what all bodies achieve together (`DiscreteSpace.imaginable`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array, Learner, WorldModel
from agent_node.memory.replay.replay_buffer import ReplayBuffer, TransitionSample
from protocols.spaces.goal_space import DiscreteSpace

RANDOM_ACTIONS = 0.3
"""Share of imagined steps with a uniformly random action: a greedy policy alone would never ask what the others lead to."""
POOL = 512
"""Trajectories imagined at once; few large calls cost far less than many small ones."""


def reach_probability(space: DiscreteSpace, touched: NDArray[np.float32], goals: NDArray[np.int64]) -> NDArray[np.float32]:
    """P(goal `goals[n]` is reached) when features are achieved by any body with the independent probabilities `touched[n, L]`."""
    wanted = space.encodings[goals].astype(bool)
    within = np.where(wanted, touched, 1).prod(axis=1)
    outside = np.where(wanted | ~space.cooperative[goals, None], 1, 1 - touched).prod(axis=1)
    probability: NDArray[np.float32] = (within * outside).astype(np.float32)
    return probability


class PooledImagination:
    """Imagines trajectories of `horizon` steps and deals out their transitions."""

    def __init__(
        self, model: WorldModel, learner: Learner, buffer: ReplayBuffer, encodings: NDArray[np.float32], horizon: int, seed: int
    ) -> None:
        self.model = model
        self.learner = learner
        self.buffer = buffer
        self.features = buffer.features
        self.space = buffer.space
        self.encodings = encodings
        self.horizon = horizon
        self.random = np.random.default_rng(seed)
        self._goals = np.zeros(1, np.int64)
        if self.space is not None:
            self._goals = np.flatnonzero(self.space.imaginable)
        self._pool: list[Array] = []
        self._taken = 0

    def sample(self, n: int) -> TransitionSample:
        """n imagined transitions; the pool is imagined anew, with the present policy and model, when it is used up."""
        if not self._pool or self._taken + n > len(self._pool[0]):
            self._imagine(max(POOL, n))
        rows = slice(self._taken, self._taken + n)
        self._taken += n
        observation, action, reward, following, terminated, goal = (part[rows] for part in self._pool)
        return TransitionSample(observation, action, reward, following, terminated, goal, np.ones(n, bool))

    def _imagine(self, trajectories: int) -> None:
        """Fill the pool with all steps of `trajectories` trajectories, shuffled."""
        state, goal = self.buffer.starts(trajectories, self.random)
        if self.space is not None:
            goal = self._goals[self.random.integers(0, len(self._goals), trajectories)]
        steps: list[tuple[Array, ...]] = []
        for _ in range(self.horizon):
            action = self._act(state, goal)
            prediction = self.model.sample(state, action, self.random)
            following = np.concatenate([state[:, 1:], prediction.observation[:, None].astype(state.dtype)], axis=1)
            if self.space is not None and prediction.achieved is not None:
                ended = reach_probability(self.space, prediction.achieved, goal)
                reward = ended * self.space.rewards[goal]
            else:
                ended, reward = prediction.terminated, prediction.reward
            steps.append((state, action, reward, following, ended, goal))
            going = self.random.random(len(ended)) >= ended
            state, goal = following[going], goal[going]
            if not len(state):
                break
        order = self.random.permutation(sum(len(step[0]) for step in steps))
        self._pool = [np.concatenate(parts)[order] for parts in zip(*steps, strict=True)]
        self._taken = 0

    def _act(self, state: Array, goal: NDArray[np.int64]) -> Array:
        """Greedy actions, a share of them replaced by random ones. (Exploration that is held belongs to real copies.)"""
        action = self.learner.act(self.features.encode(state), self.encodings[goal], None, np.ones(len(state), bool), False).actions
        changed = np.flatnonzero(self.random.random(len(state)) < RANDOM_ACTIONS)
        layout = self.features.layout
        if self.features.discrete:
            action[changed] = self.random.integers(0, np.array(layout.actions), (len(changed), len(layout.actions)))
        else:
            action[changed] = self.random.uniform(layout.low, layout.high, (len(changed), len(layout.low)))
        return action
