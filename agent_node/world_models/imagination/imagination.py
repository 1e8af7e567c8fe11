"""Transitions that never happened: by the policy's actions, with the world model in the environment's place.

`PooledImagination` imagines from real states for each few batches. In environments with goals the model gives the probability p of each
feature, and the reward rule turns it into the probability that the goal is reached: p_a for an individual goal {a}; for a cooperative one
the product of p within the set and of 1 - p outside. Imagined transitions carry expectations: reward = P(reached) * pay, terminated =
P(reached). A threshold instead would call every touch that is less likely than not a failure, and teach that it is worth nothing.

Imagined goals are uniform over all goals, so that one imagined touch teaches any goal it fits. Only goals are imagined that are decided by
what all bodies achieve together (`DiscreteSpace.imaginable`).

`ImaginedReplay` keeps short trajectories by the policy that explores. After every refresh of the model, `starts` states are followed for H
steps; the transitions of the last `kept` refreshes are what batches are drawn from (Janner et al., arXiv 1906.08253). The states are real
ones, a share of them drawn from `uniform_start_ratio` (search control of Dyna: Sutton 1991). H grows from the first to the second of
`horizon` between two numbers of own steps. Imagined transitions never end an episode. Rewards that are learnt by place, and all epistemic
standard deviations, are predicted anew after each refresh: what was stored would go on promising what has become known.

`trusted` is 1 up to the first step of a trajectory whose uncertainty |sigma|_2 exceeds `max_uncertainty`: a policy that exploits learns
from those steps only, one that explores from all. Where optimism chooses or draws the next state, `mean_following` and `mean_reward` are
those of the model's mean, from which the policy that exploits learns.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array, Learner, PolicyOutput, WorldModel
from agent_node.memory.episode import TransitionSample
from agent_node.memory.replay_buffer import ReplayBuffer
from agent_node.world_models.imagination.optimism import Optimism
from agent_node.world_models.imagination.reward_models import RewardFunction, RewardModel
from agent_node.world_models.settings import ImaginationSettings
from protocols.spaces.action_masks import draw_legal
from protocols.spaces.goal_space import DiscreteSpace

Floats = NDArray[np.float32]
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
            following = _shifted(state, prediction.observation)
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
        """Greedy actions, a share of them replaced by random legal ones. (Exploration that is held belongs to real copies.)"""
        action = self.learner.act(self.features.encode(state), self.encodings[goal], None, np.ones(len(state), bool), False).actions
        changed = np.flatnonzero(self.random.random(len(state)) < RANDOM_ACTIONS)
        layout, mask = self.features.layout, self.features.mask
        if mask:
            action[changed] = draw_legal(state[changed, -1, -mask:], layout.actions, self.random)
        elif self.features.discrete:
            action[changed] = self.random.integers(0, np.array(layout.actions), (len(changed), len(layout.actions)))
        else:
            action[changed] = self.random.uniform(layout.low, layout.high, (len(changed), len(layout.low)))
        return action


def _shifted(state: Array, newest: Array) -> Array:
    """`[n, H, D]` after one more observation `[n, D]`, without the oldest."""
    return np.concatenate([state[:, 1:], newest[:, None].astype(state.dtype)], axis=1)


@dataclass
class ImaginedTransitions:
    """n transitions; `state` and `following` are raw with their history, `[n, H, D]`."""

    state: Array
    action: Array
    eta: Floats
    reward: Floats
    following: Array
    epistemic: Floats
    reward_std: Floats
    """what optimism makes of the reward (`Optimism.reward_model`)"""
    trusted: Floats
    mean_following: Array
    """as `following`, in the model's mean"""
    mean_reward: Floats
    """at `mean_following`"""

    def rows(self, chosen: NDArray[np.int64]) -> ImaginedTransitions:
        """The transitions with these indices, in this order."""
        return ImaginedTransitions(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


class ImaginedReplay:
    """Imagines after each refresh, and deals out what it has imagined."""

    def __init__(
        self,
        settings: ImaginationSettings,
        model: WorldModel,
        learner: Learner,
        buffer: ReplayBuffer,
        reward: RewardModel | None,
        optimism: Optimism | None,
        seed: int,
    ) -> None:
        self.settings = settings
        self._model, self._learner, self._buffer = model, learner, buffer
        self._reward, self._optimism = reward, optimism
        self._random = np.random.default_rng(seed)
        self._kept: deque[ImaginedTransitions] = deque(maxlen=settings.kept_refreshes)
        self._reward_function = self._current_reward_function()
        """the reward function in use until the next refresh"""
        self._whole: ImaginedTransitions | None = None
        """all that is kept in one piece, to draw from"""
        self._paying: NDArray[np.int64] = np.zeros(0, np.int64)
        """its rows that earn more than nothing"""

    def __len__(self) -> int:
        """Transitions that it holds."""
        return sum(len(part.reward) for part in self._kept)

    def horizon(self, steps: int) -> int:
        """H after so many own steps: linear between the two ends of `horizon_steps`, rounded down."""
        (short, long), (start, end) = self.settings.horizon, self.settings.horizon_steps
        grown = 1.0 if end <= start else min(1.0, max(0.0, (steps - start) / (end - start)))
        return int(short + grown * (long - short) + 1e-9)

    def refresh(self, steps: int) -> None:
        """The model has learnt: judge anew what is kept, and imagine with it from `starts` states."""
        reward_model = self._reward_function = self._current_reward_function()
        for part in self._kept:
            if self._optimism is not None:  # else it is not used
                part.epistemic = self._model.predict(part.state, part.action).epistemic.astype(np.float32)
            if reward_model is not None:
                part.reward, part.reward_std = reward_model(part.following[:, -1], part.action)
                part.mean_reward = reward_model(part.mean_following[:, -1], part.action)[0]
        state = self._starts()
        trusted = np.ones(len(state), np.float32)
        predict = self._model.predict if self._optimism is None else self._optimism.transition_function(self._model, self._random)
        parts: list[ImaginedTransitions] = []
        for _ in range(self.horizon(steps)):
            choice = self._act(state)
            prediction = predict(state, choice.actions)
            eta = choice.extras.get("hallucination", np.zeros((len(state), 0), np.float32))
            newest = prediction.observation if self._optimism is None else self._optimism.predict_next(prediction, eta)
            newest = newest.astype(state.dtype)
            reward, reward_std = (
                (prediction.reward, np.zeros(len(newest))) if reward_model is None else reward_model(newest, choice.actions)
            )
            following = _shifted(state, newest)
            # A drawn function has no uncertainty of its own.
            judged = prediction if predict == self._model.predict else self._model.predict(state, choice.actions)
            epistemic = judged.epistemic.astype(np.float32)
            if self.settings.max_uncertainty is not None:
                trusted = trusted * (np.linalg.norm(epistemic, axis=1) <= self.settings.max_uncertainty)
            mean_following, mean_reward = following, reward
            if self._optimism is not None and not self._optimism.follows_mean:
                mean_following = _shifted(state, judged.observation)
                mean_reward = judged.reward if reward_model is None else reward_model(mean_following[:, -1], choice.actions)[0]
            reward, reward_std, trusted, mean_reward = (column.astype(np.float32) for column in (reward, reward_std, trusted, mean_reward))
            parts.append(
                ImaginedTransitions(
                    state, choice.actions, eta, reward, following, epistemic, reward_std, trusted, mean_following, mean_reward
                )
            )
            state = following
        self._kept.append(_together(parts))
        self._whole = _together(list(self._kept))
        self._paying = np.flatnonzero(self._whole.reward > 0)

    def _act(self, state: Array) -> PolicyOutput:
        """By the policy that explores, without goals."""
        n, features = len(state), self._buffer.features.encode(state)
        return self._learner.act(features, np.zeros((n, 0), np.float32), None, np.ones(n, bool), True)

    def _current_reward_function(self) -> RewardFunction | None:
        if self._reward is None:
            return None
        return self._reward.predict if self._optimism is None else self._optimism.reward_model(self._reward, self._random)

    def _starts(self) -> Array:
        """`[n, H, D]`: states from anywhere before those that the agent has seen."""
        anywhere = round(self.settings.uniform_start_ratio * self.settings.starts)
        parts: list[Array] = [] if not anywhere else [self._buffer.features.sample_uniform(anywhere, self._random)]
        if anywhere < self.settings.starts:
            parts.append(self._buffer.starts(self.settings.starts - anywhere, self._random)[0])
        return np.concatenate(parts)

    def reward_std(self, place: Array, action: Array) -> Floats:
        """What optimism makes of the reward of real steps, `[n]`."""
        return np.zeros(len(place), np.float32) if self._reward_function is None else self._reward_function(place, action)[1]

    def plan(self, start: Array, steps: int) -> tuple[Array, Array]:
        """What the policy that explores would do from `start[1, H, D]` on in the model's mean: `[steps, H, D]` and `[steps, A]`."""
        state, states, actions = start, [], []
        for _ in range(steps):
            choice = self._act(state)
            states.append(state)
            actions.append(choice.actions)
            state = _shifted(state, self._model.predict(state, choice.actions).observation)
        return np.concatenate(states), np.concatenate(actions)

    def sample(self, n: int) -> ImaginedTransitions:
        """n transitions, with replacement: the share `rewarded_ratio` of them among those that earn something, the others uniformly.
        (Values are learnt off the policy, so that any mixture of states will do.) `ValueError` before the first refresh."""
        if self._whole is None:
            raise ValueError("nothing has been imagined yet; refresh first")
        rows = self._random.integers(0, len(self), n)
        chosen = round(self.settings.rewarded_ratio * n)
        if chosen and len(self._paying):
            rows[:chosen] = self._random.choice(self._paying, chosen)
        return self._whole.rows(rows)


def _together(parts: list[ImaginedTransitions]) -> ImaginedTransitions:
    return ImaginedTransitions(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ImaginedTransitions.__dataclass_fields__)
    )
