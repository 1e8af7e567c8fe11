"""Imagined transitions that are kept: short trajectories by the policy that explores, in the newest world model.

After every refresh of the model, `starts` states are followed for H steps; the transitions of the last `kept` refreshes are what batches
are drawn from (Janner et al., arXiv 1906.08253). The states are real ones, a share of them drawn from `anywhere` (search control of Dyna:
Sutton 1991). H grows from the first to the second of `horizon` between two numbers of own steps. Imagined transitions never end an episode.
Rewards that are learnt by place, and all epistemic standard deviations, are predicted anew after each refresh: what was stored would go on
promising what has become known.

`trusted` is 1 up to the first step of a trajectory whose uncertainty |sigma|_2 exceeds `trust`: a policy that exploits learns from those
steps only, one that explores from all.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent_node.buffers.replay import ReplayBuffer
from agent_node.contracts import Array, Learner, WorldModel
from agent_node.settings import ImaginarySettings
from agent_node.world_models.optimism import Optimism
from agent_node.world_models.rewards import Earned, RewardModel

Floats = NDArray[np.float32]


@dataclass
class Imagined:
    """n transitions; `state` and `following` are raw with their history, `[n, H, D]`."""

    state: Array
    action: Array
    luck: Floats
    reward: Floats
    following: Array
    epistemic: Floats
    doubt: Floats
    """what optimism makes of the reward (`Optimism.earn`)"""
    trusted: Floats

    def rows(self, chosen: NDArray[np.int64]) -> Imagined:
        """Some of them."""
        return Imagined(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


class ImaginaryBuffer:
    """Imagines after each refresh, and deals out what it has imagined."""

    def __init__(
        self,
        settings: ImaginarySettings,
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
        self._kept: deque[Imagined] = deque(maxlen=settings.kept)
        self._earn = self._believed()
        """rewards as they are believed until the next refresh"""
        self._whole: Imagined | None = None
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
        earn = self._earn = self._believed()
        for part in self._kept:
            if self._optimism is not None:  # else nobody asks for it
                part.epistemic = self._model.predict(part.state, part.action).epistemic.astype(np.float32)
            if earn is not None:
                part.reward, part.doubt = earn(part.following[:, -1], part.action)
        state = self._starts()
        trusted = np.ones(len(state), np.float32)
        predict = self._model.predict if self._optimism is None else self._optimism.dream(self._model, self._random)
        parts: list[Imagined] = []
        for _ in range(self.horizon(steps)):
            features = self._buffer.features.encode(state)
            choice = self._learner.act(features, np.zeros((len(state), 0), np.float32), None, np.ones(len(state), bool), True)
            prediction = predict(state, choice.actions)
            luck = choice.extras.get("hallucination", np.zeros((len(state), 0), np.float32))
            newest = prediction.observation if self._optimism is None else self._optimism.come_true(prediction, luck)
            newest = newest.astype(state.dtype)
            reward, doubt = (prediction.reward, np.zeros(len(newest))) if earn is None else earn(newest, choice.actions)
            following = np.concatenate([state[:, 1:], newest[:, None]], axis=1)
            # A drawn function knows no doubt of its own.
            judged = prediction if predict == self._model.predict else self._model.predict(state, choice.actions)
            epistemic = judged.epistemic.astype(np.float32)
            if self.settings.trust is not None:
                trusted = trusted * (np.linalg.norm(epistemic, axis=1) <= self.settings.trust)
            told = (column.astype(np.float32) for column in (reward, doubt, trusted))
            parts.append(Imagined(state, choice.actions, luck, next(told), following, epistemic, *told))
            state = following
        self._kept.append(_together(parts))
        self._whole = _together(list(self._kept))
        self._paying = np.flatnonzero(self._whole.reward > 0)

    def _believed(self) -> Earned | None:
        if self._reward is None:
            return None
        return self._reward.predict if self._optimism is None else self._optimism.earn(self._reward, self._random)

    def _starts(self) -> Array:
        """`[n, H, D]`: states from anywhere before those that the agent has seen."""
        anywhere = round(self.settings.anywhere * self.settings.starts)
        parts: list[Array] = [] if not anywhere else [self._buffer.features.anywhere(anywhere, self._random)]
        if anywhere < self.settings.starts:
            parts.append(self._buffer.starts(self.settings.starts - anywhere, self._random)[0])
        return np.concatenate(parts)

    def doubt(self, place: Array, action: Array) -> Floats:
        """What optimism makes of the reward of real steps, `[n]`."""
        return np.zeros(len(place), np.float32) if self._earn is None else self._earn(place, action)[1]

    def plan(self, start: Array, steps: int) -> tuple[Array, Array]:
        """What the policy that explores would do from `start[1, H, D]` on in the model's mean: `[steps, H, D]` and `[steps, A]`."""
        state, states, actions = start, [], []
        for _ in range(steps):
            features = self._buffer.features.encode(state)
            choice = self._learner.act(features, np.zeros((1, 0), np.float32), None, np.ones(1, bool), True)
            states.append(state)
            actions.append(choice.actions)
            newest = self._model.predict(state, choice.actions).observation.astype(state.dtype)
            state = np.concatenate([state[:, 1:], newest[:, None]], axis=1)
        return np.concatenate(states), np.concatenate(actions)

    def sample(self, n: int) -> Imagined:
        """n transitions, with replacement: the share `paying` of them among those that earn something, the others uniformly. (Values are
        learnt off the policy, so that any mixture of states will do.) `ValueError` while there are none."""
        if self._whole is None:
            raise ValueError("nothing has been imagined yet; refresh first")
        rows = self._random.integers(0, len(self), n)
        chosen = round(self.settings.paying * n)
        if chosen and len(self._paying):
            rows[:chosen] = self._random.choice(self._paying, chosen)
        return self._whole.rows(rows)


def _together(parts: list[Imagined]) -> Imagined:
    return Imagined(*(np.concatenate([getattr(part, name) for part in parts]) for name in Imagined.__dataclass_fields__))
