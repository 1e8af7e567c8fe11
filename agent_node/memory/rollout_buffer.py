"""The newest steps of all K copies in order of time, for learners that take each transition once.

Where agents take turns, ticks at which the agent waits are no steps. The rows of each copy are then moved together, so that row t + 1 is
the agent's next turn, or the end of its part; behind them stand rows of weight 0. A step that is not complete when a rollout is begins the
next one.

Copies in which an evaluation is played give no transitions. A rollout goes on until it has as many ticks of training in all copies together
as one without evaluations, so that evaluations change neither the size of the batches nor the number of updates per training step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array, Component, PolicyOutput
from protocols.conversations.stepping.stepping_messages import Flag

LEAST_SHARE = 0.05
"""Rollouts of which a smaller share counts (nearly all copies were evaluated, or waited) are not learnt from."""
LONGEST = 4
"""While copies are evaluated, a rollout has at most so many times its number of ticks."""


@dataclass
class Rollout:
    """T consecutive steps of K environment copies, in order of time; T is `steps` of the buffer, less where agents take turns, and more
    where copies were evaluated."""

    features: NDArray[np.float32]
    """`[T + 1, K, F]`: row t + 1 is what followed the action of row t"""
    goal: Array
    """`[T + 1, K]`, or `[T + 1, K, D]` for vector goals: row t + 1 is in force after the action of row t; -1 without goals"""
    action: Array
    """`[T, K, A]`"""
    reward: NDArray[np.float32]
    terminated: NDArray[np.float32]
    counts: NDArray[np.float32]
    """`[T, K]`: 1 where the agent itself acted, in training, and what came of it is known"""
    first: NDArray[np.float32]
    """`[T, K]`: 1 where an episode begins"""
    extras: dict[str, NDArray[np.float32]]
    """each `[T, K, ...]`: what the learner noted beside its actions"""


class RolloutBuffer(Component):
    """Collects `steps` ticks of training in `copies` copies: at every tick `add`, then `acted`; `take` returns a complete rollout.

    `late`: what a step was worth may become known one tick after what followed it (`amend`); rollouts then wait for that tick. That is not
    supported where agents take turns.
    """

    def __init__(
        self, steps: int, copies: int, features: int, action_size: int, discrete: bool, late: bool = False, goal_shape: tuple[int, ...] = ()
    ) -> None:
        self.steps, self.copies = steps, copies
        self._longest = longest = LONGEST * steps
        self._features = np.zeros((longest + 1, copies, features), np.float32)
        goals, none = (longest + 1, copies, *goal_shape), np.nan if goal_shape else -1
        self._goal: Array = np.full(goals, none, np.float32 if goal_shape else np.int64)
        self._action = np.zeros((longest, copies, action_size), np.int32 if discrete else np.float32)
        self._reward = np.zeros((longest, copies), np.float32)
        self._terminated = np.zeros((longest, copies), np.float32)
        self._counts = np.zeros((longest, copies), np.float32)
        self._first = np.zeros((longest, copies), np.float32)
        self._extras: dict[str, NDArray[np.float32]] = {}
        self._own = np.zeros((longest + 1, copies), bool)
        """rows that are no ticks of waiting"""
        self._turn = np.zeros(copies, np.int64)
        """row of the newest turn in each copy"""
        self._waiting = np.zeros(copies, bool)
        self._at = 0
        """row of the newest tick"""
        self._evaluated = 0
        """rows before the newest tick in which an evaluation was played, in all copies together"""
        self._evaluating = 0
        """copies in which the newest tick is one of an evaluation"""
        self._open = False
        self._late = late
        self._waits: Rollout | None = None
        """whole, but for what may be amended at the next tick"""
        self._whole: Rollout | None = None

    def amend(self, reward: NDArray[np.float32]) -> None:
        """Before the `add` of a tick: `reward[K]` is to be added to that of the step that led to the tick before."""
        if self._at:
            self._reward[self._at - 1] += reward
        elif self._waits is not None:
            self._waits.reward[-1] += reward

    def add(
        self,
        features: NDArray[np.float32],
        reward: NDArray[np.float32],
        flags: NDArray[np.uint16],
        continuous: bool,
        goals: NDArray[np.int64] | None = None,
    ) -> None:
        """A tick: `features[K, F]` of what is seen now, reward and flags `[K]` of the step that led here, `goals[K]` that are in force from
        now on (None: those of the copies in which the agent then acts, and elsewhere as before). Without `continuous` ticks were missed:
        the outcome of the last actions is unknown, and they do not count."""
        if self._waits is not None:
            self._whole, self._waits = self._waits, None
        self._waiting = waiting = (flags & Flag.WAITING) != 0
        own = np.flatnonzero(~waiting)
        if self._open:
            at, step = self._at, self._turn[own]
            known = (flags & Flag.MEMBER) != 0
            known &= (flags & (Flag.FIRST | Flag.PARKED | Flag.SUBSTITUTED | Flag.EVALUATION)) == 0
            self._counts[self._turn, np.arange(self.copies)] *= (known | waiting) & continuous
            self._reward[step, own] = reward[own]
            self._terminated[step, own] = (flags[own] & Flag.TERMINATED) != 0
            self._at += 1
            self._evaluated += self._evaluating
            self._open = False
            self._goal[self._at] = self._goal[at]
            self._own[self._at] = False
        self._evaluating = int(np.count_nonzero(flags & Flag.EVALUATION))
        self._own[self._at, own] = True
        self._turn[own] = self._at
        self._features[self._at, own] = features[own]
        if goals is not None:
            self._goal[self._at] = goals
        if self._at == self._longest or self._at * self.copies - self._evaluated >= self.steps * self.copies:
            self._complete()

    def _complete(self) -> None:
        """Set the rollout aside; the next one begins with the features that ended it, or with the last turn of an agent that waits."""
        whole = self._collected() if self._own[: self._at + 1].all() else self._turns_collected()
        if whole.counts.sum() >= LEAST_SHARE * max(1, int(np.count_nonzero(self._own[: self._at]))):
            if self._late:
                self._waits = whole
            else:
                self._whole = whole
        copies = np.arange(self.copies)
        self._features[0], self._goal[0] = self._features[self._turn, copies], self._goal[self._at]
        held = np.flatnonzero(self._turn < self._at)
        for values in (self._action, self._reward, self._terminated, self._counts, self._first, *self._extras.values()):
            values[0, held] = values[self._turn[held], held]
        self._own[0] = self._own[: self._at + 1].any(axis=0)
        self._turn[:] = 0
        self._at = self._evaluated = 0

    def _collected(self) -> Rollout:
        end = self._at
        return Rollout(
            features=self._features[: end + 1].copy(),
            goal=self._goal[: end + 1].copy(),
            action=self._action[:end].copy(),
            reward=self._reward[:end].copy(),
            terminated=self._terminated[:end].copy(),
            counts=self._counts[:end].copy(),
            first=self._first[:end].copy(),
            extras={name: values[:end].copy() for name, values in self._extras.items()},
        )

    def _turns_collected(self) -> Rollout:
        """The rows at which the agent does not wait, copy by copy; as many as the copy with the most of them has. Behind the last row of a
        copy it stands again, with weight 0."""
        own = self._own[: self._at + 1]
        turns = own.sum(axis=0)
        steps, copies = max(1, int(turns.max()) - 1), np.arange(self.copies)
        place = np.arange(steps + 1)[:, None]
        order = np.argsort(~own, axis=0, kind="stable")
        rows = np.take_along_axis(order, np.minimum(place, np.maximum(turns - 1, 0)), axis=0)
        at = np.minimum(rows[:-1], self._at - 1)
        return Rollout(
            features=self._features[rows, copies],
            goal=self._goal[rows, copies],
            action=self._action[at, copies],
            reward=self._reward[at, copies],
            terminated=self._terminated[at, copies],
            counts=self._counts[at, copies] * (place[:-1] < turns - 1),
            first=self._first[at, copies] * (place[:-1] < turns),
            extras={name: values[at, copies] for name, values in self._extras.items()},
        )

    def take(self) -> Rollout | None:
        """The newest complete rollout; None until one is complete. Each rollout is returned once."""
        whole, self._whole = self._whole, None
        return whole

    def acted(self, rows: NDArray[np.int64], goals: Array, choice: PolicyOutput, first: NDArray[np.bool_]) -> None:
        """The agent acts in training in the copies `rows` `[n]`, for `goals[n]`; `first[n]`: an episode begins there. In the others its
        steps do not count."""
        at, fresh = self._at, np.flatnonzero(~self._waiting)
        self._counts[at, fresh] = 0
        self._first[at, fresh] = 0
        self._counts[at, rows] = 1
        self._first[at, rows] = first
        self._goal[at, rows] = goals
        self._action[at, rows] = choice.actions
        for name, values in choice.extras.items():
            if name not in self._extras:
                self._extras[name] = np.zeros((self._longest, self.copies, *values.shape[1:]), np.float32)
            self._extras[name][at, rows] = values
        self._open = True
