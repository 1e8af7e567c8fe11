"""Transitions drawn from a ring of whole episodes, with vectorised relabelling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array, Metrics, ModelData
from agent_node.exchange.settings import Strategy
from agent_node.memory.episode import Episode, SequenceSample, TransitionSample
from agent_node.memory.episode_ring import HELD_OUT, JOINT, STEP, EpisodeRing
from agent_node.memory.goal_relabelling import Mark, draw_goals, eligible_goals

LEAST_PRIORITY = 1e-6


class ReplayBuffer(EpisodeRing):
    """Own transitions of one agent, and how batches are drawn from them."""

    def _draw(self, n: int, random: np.random.Generator, mask: int, wanted: int) -> NDArray[np.int64]:
        """n rows uniformly, with replacement, among those whose status & mask = wanted; `ValueError` without such rows."""
        count = sum(number for status, number in self._count.items() if status & mask == wanted)
        if count == 0:
            raise ValueError("the replay buffer holds no such transition yet; ask its counts before sampling")
        if count * 8 < self._top:
            matching = np.flatnonzero((self._status[: self._top] & mask) == wanted)
            return matching[random.integers(0, len(matching), n)]
        found: list[NDArray[np.int64]] = []
        missing = n
        while missing > 0:
            rows = random.integers(0, self._top, int(missing * 1.2 * self._top / count) + 8)
            rows = rows[(self._status[rows] & mask) == wanted][:missing]
            found.append(rows)
            missing -= len(rows)
        return np.concatenate(found)

    def _history(self, rows: NDArray[np.int64], start: NDArray[np.int64]) -> Array:
        """`[n, H, D]` up to and including `rows`; before the episode's start its first observation."""
        back = np.arange(self.features.history - 1, -1, -1)
        array: Array = self._observation[np.maximum(rows[:, None] - back, start[:, None])]
        return array

    def sample(
        self,
        n: int,
        random: np.random.Generator,
        share: float = 0.0,
        strategies: Sequence[Strategy] = (),
        tries: int = 2,
        returns: tuple[int, float] = (1, 1.0),
    ) -> TransitionSample:
        """n training transitions; up to round(share * n) of them are relabelled with a goal that their strategies offer, found among
        `tries` times as many drawn transitions. Fewer are relabelled while little has been reached. `returns` (N, gamma):
        transitions that are not relabelled go over up to N steps, with the discounted sum of their rewards."""
        goals: Array = np.zeros(0, np.int64)
        wanted = round(share * n) if strategies and (self.space is not None or self.vector is not None) else 0
        if self._tree is None:
            rows = self._draw(n + tries * wanted, random, STEP | HELD_OUT, STEP)
        else:
            rows = random.permutation(self._tree.draw(n + tries * wanted, random))
        if wanted and self.space is not None:
            candidates = rows[n:]
            probability = eligible_goals(strategies, self.space, self._marks[candidates], self._peers[candidates])
            possible = np.flatnonzero(probability.any(axis=1))[:wanted]
            rows = np.concatenate([candidates[possible], rows[: n - len(possible)]])
            goals = draw_goals(probability[possible], random)
        elif wanted and self.vector is not None:
            candidates = rows[n:]
            offered, found = self.vector.draw(candidates, self._start[candidates], strategies, random)
            possible = np.flatnonzero(offered)[:wanted]
            rows, goals = np.concatenate([candidates[possible], rows[: n - len(possible)]]), found[possible]
        sample = self._gather(rows, goals)
        if returns[0] > 1:
            self._sum_rewards(sample, rows, *returns)
        if self._tree is not None and self.priorities is not None and sample.weight is not None:
            drawn = self._tree.weights(rows) / self._tree.total
            importance = (len(self) * drawn) ** -self.priorities.beta
            sample.weight *= (importance / importance.max()).astype(np.float32)
            sample.rows = rows
        return sample

    def sequences(self, n: int, random: np.random.Generator, length: int, before: int) -> SequenceSample:
        """n sequences of `length` steps, and `before` steps before each. A sequence contains a step drawn uniformly, at a place drawn
        uniformly. Where it reaches beyond its episode its steps do not count."""
        rows = self._draw(n, random, STEP | HELD_OUT, STEP)
        begin, start, last = rows - random.integers(0, length, n), self._start[rows], self._last[rows]
        place = begin + np.arange(-before, length + 1)[:, None]
        inside = np.clip(place, start, last)
        steps = inside[:-1]
        counts = (place[:-1] >= np.maximum(start, begin)) & (place[:-1] < last)
        history = self._history(inside.reshape(-1), np.broadcast_to(start, inside.shape).reshape(-1))
        return SequenceSample(
            history.reshape(*inside.shape, *history.shape[1:]), self._action[steps], self._reward[steps], self._terminated[steps],
            self._goal[steps], counts.astype(np.float32), (place[:-1] == start).astype(np.float32),
        )  # fmt: skip

    def update_priorities(self, rows: NDArray[np.int64], errors: NDArray[np.float32]) -> None:
        """Absolute TD errors `[n]` of the transitions that `sample` returned with these `rows`."""
        if self._tree is not None and self.priorities is not None:
            priority: NDArray[np.float64] = errors.astype(np.float64) + LEAST_PRIORITY
            self._greatest_priority = max(self._greatest_priority, float(priority.max()))
            self._tree.update(rows, priority**self.priorities.alpha)

    def _sum_rewards(self, sample: TransitionSample, rows: NDArray[np.int64], steps: int, discount: float) -> None:
        """Let the transitions of `rows` that are not relabelled go over m = min(`steps`, steps left) steps: the reward becomes
        sum over k < m of discount^k r_k."""
        taken = np.where(sample.relabelled, 1, np.minimum(steps, self._last[rows] - rows))
        for k in range(1, steps):
            more = np.flatnonzero(taken > k)
            sample.reward[more] += np.float32(discount**k) * self._reward[rows[more] + k]
        further = np.flatnonzero(taken > 1)
        ends = rows[further] + taken[further]
        sample.next_observation[further] = self._history(ends, self._start[ends])
        sample.terminated[further] = self._terminated[ends - 1]
        sample.steps = taken.astype(np.float32)

    def _gather(self, rows: NDArray[np.int64], goals: Array) -> TransitionSample:
        """Transitions of `rows`, the first of them relabelled with `goals`."""
        start = self._start[rows]
        reward, terminated, goal = self._reward[rows], self._terminated[rows], self._goal[rows]
        changed = len(goals)
        if changed:
            relabelled, reached, ends = self._outcome(rows[:changed], goals)
            reward[:changed] = relabelled
            goal[:changed] = goals
            if ends:
                terminated[:changed] = reached
        return TransitionSample(
            self._history(rows, start), self._action[rows], reward, self._history(rows + 1, start), terminated, goal,
            np.arange(len(rows)) < changed, np.ones(len(rows), np.float32), self._extras(rows, start),
        )  # fmt: skip

    def _extras(self, rows: NDArray[np.int64], start: NDArray[np.int64]) -> dict[str, Array]:
        """What the learner asks for beside transitions: `relative_return[n]`; `next_action[n, A]`, the action at the next observation, and
        `followed[n]`, 1 where there is one."""
        extras: dict[str, Array] = {}
        if self._returns is not None:
            extras["relative_return"] = self._returns.of(rows, start)
        if self._next_actions:
            followed = rows + 1 < self._last[rows]
            action = self._action[np.where(followed, rows + 1, rows)]
            extras["next_action"] = action.astype(np.int64) if self.features.discrete else action
            extras["followed"] = followed.astype(np.float32)
        return extras

    def _outcome(self, rows: NDArray[np.int64], goals: Array) -> tuple[NDArray[np.float32], NDArray[np.bool_], bool]:
        """(reward, goal reached, whether that ends the own part) of the steps at `rows[n]`, had they been made for `goals[n]`."""
        space = self.space or (self.vector.space if self.vector is not None else None)
        if space is None:
            raise ValueError("a replay buffer without goals relabels nothing")
        reward, reached = self._rewarded(rows, goals)
        if space.mixed:
            # The recorded reward holds other terms too: only that of the goal is exchanged.
            reward += self._reward[rows] - self._rewarded(rows, self._goal[rows])[0]
        return reward, reached, space.ends

    def _rewarded(self, rows: NDArray[np.int64], goals: Array) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        if self.vector is not None:
            return self.vector.outcome(rows, goals)
        if self.space is None:
            return np.zeros(len(rows), np.float32), np.zeros(len(rows), bool)
        reached = ((self._marks[rows + 1, goals] & np.uint8(Mark.REACHED)) != 0) & (goals >= 0)
        return np.where(reached, self.space.rewards[goals], np.float32(0)), reached

    def starts(self, n: int, random: np.random.Generator) -> tuple[Array, Array]:
        """n real states `[n, H, D]` with the goals that were pursued there, to imagine from."""
        rows = self._draw(n, random, STEP | HELD_OUT, STEP)
        return self._history(rows, self._start[rows]), self._goal[rows]

    def model_data(self, n: int, random: np.random.Generator, held_out: bool = False) -> ModelData:
        """n transitions for a world model. In environments with goals, once any traces are here, only those with known joint touch."""
        mask, wanted = STEP | HELD_OUT, STEP | (HELD_OUT if held_out else 0)
        joint = self._count[wanted | JOINT] > 0
        if joint:
            mask, wanted = mask | JOINT, wanted | JOINT
        rows = self._draw(n, random, mask, wanted)
        return ModelData(
            observation=self._history(rows, self._start[rows]),
            action=self._action[rows],
            next_observation=self._observation[rows + 1],
            reward=self._reward[rows],
            terminated=self._terminated[rows],
            achieved=self._joint[rows + 1] if joint else None,
        )


class ImportedReplay(ReplayBuffer):
    """Transitions that other agents sent; the exchange that adds them reports their number."""

    def metrics(self) -> Metrics:
        """None."""
        return {}

    def episode_ended(self, episode: Episode) -> None:
        """Own episodes are not added."""
