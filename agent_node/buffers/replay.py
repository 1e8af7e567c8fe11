"""A flat ring of whole episodes, with vectorised sampling and relabelling.

An episode of T steps fills T + 1 neighbouring rows: row s + t holds observation t and the step from it, the last row only the final
observation. The oldest episodes leave whole. A fixed share of the episodes is held out: never sampled for training, kept to measure the
world model's error.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent_node.buffers.episodes import Episode
from agent_node.contracts import Array, ModelData
from agent_node.features import Features
from agent_node.goals.relabelling import draw_goals, eligible_goals, own_individual_goals, reached_goals, reached_later
from agent_node.settings import Strategy
from protocols.errors import ConfigurationError
from protocols.goal_space import GoalSpace

STEP, HELD_OUT, JOINT = 1, 2, 4
"""Bits of a row's status: a step starts here; its episode is held out; what all bodies touched is known."""


@dataclass
class Sample:
    """n transitions, raw: observations with their history `[n, H, D]`."""

    observation: Array
    action: Array
    reward: NDArray[np.float32]
    next_observation: Array
    terminated: NDArray[np.float32]
    goal: NDArray[np.int64]
    """`[n]` goal numbers, -1 without goals"""
    relabelled: NDArray[np.bool_]


class ReplayBuffer:
    """Own transitions of one agent, `rows` of them (final observations included)."""

    def __init__(self, rows: int, features: Features, space: GoalSpace | None = None, held_out: float = 0.0, partners: int = 1) -> None:
        goals = 0 if space is None else space.count
        self.features = features
        self.space = space
        self.rows = rows
        self._held_out = held_out
        self._observation = np.zeros((rows, features.size), features.dtype)
        self._action = np.zeros((rows, features.action_size), np.int32 if features.discrete else np.float32)
        self._reward = np.zeros(rows, np.float32)
        self._terminated = np.zeros(rows, np.float32)
        self._goal = np.full(rows, -1, np.int64)
        self._peers = np.full((rows, partners), -1, np.int32)
        self._start = np.zeros(rows, np.int64)
        self._status = np.zeros(rows, np.uint8)
        self._reached = np.zeros((rows, goals), bool)
        self._later = np.zeros((rows, goals), bool)
        self._later_own = np.zeros((rows, goals), bool)
        self._joint = np.zeros((rows, 0 if space is None else space.landmarks), np.uint8)
        self._own = np.zeros_like(self._joint)
        self._cursor = 0
        self._top = 0
        self._order: deque[tuple[int, int, int]] = deque()
        self._places: dict[int, tuple[int, int]] = {}
        self._count: dict[int, int] = dict.fromkeys((STEP, STEP | JOINT, STEP | HELD_OUT, STEP | HELD_OUT | JOINT), 0)

    def __len__(self) -> int:
        """Transitions that may be sampled for training."""
        return self._count[STEP] + self._count[STEP | JOINT]

    @property
    def held_out_count(self) -> int:
        """Transitions held out."""
        return self._count[STEP | HELD_OUT] + self._count[STEP | HELD_OUT | JOINT]

    @property
    def joint_count(self) -> int:
        """Transitions for training of which it is known what all bodies touched."""
        return self._count[STEP | JOINT]

    @property
    def episodes(self) -> int:
        """Episodes in the buffer."""
        return len(self._order)

    # --- filling ------------------------------------------------------------------------------------------------------------------

    def is_held_out(self, number: int) -> bool:
        """Whether the episode of that number is held out: a low-discrepancy rule, the same for all of its members."""
        return (number * 0x9E3779B97F4A7C15 % 2**64) / 2**64 < self._held_out

    def add(self, episode: Episode) -> None:
        """Remember an episode; a number that is here already is ignored (retries). `ConfigurationError` if the ring is too small."""
        if episode.number in self._places:
            return
        size = episode.steps + 1
        if size > self.rows:
            raise ConfigurationError(f"an episode of {episode.steps} steps does not fit into buffer.transitions = {self.rows}; raise it")
        if self._cursor + size > self.rows:
            self._evict(self._cursor, self.rows)
            self._cursor = 0
        start, end = self._cursor, self._cursor + size
        self._evict(start, end)
        rows = slice(start, end)
        steps = slice(start, end - 1)
        self._observation[rows] = episode.observation
        self._action[steps] = episode.action
        self._reward[steps] = episode.reward
        self._terminated[rows] = 0
        self._terminated[end - 2] = episode.terminated
        self._goal[rows] = episode.goal
        self._start[rows] = start
        status = STEP | (HELD_OUT if self.is_held_out(episode.number) else 0)
        self._status[steps] = status
        self._status[end - 1] = 0
        self._count[status] += episode.steps
        self._order.append((start, end, episode.number))
        self._places[episode.number] = (start, end)
        self._cursor = end
        self._top = max(self._top, end)
        if self.space is not None and episode.achieved is not None:
            own = episode.achieved[:size]
            self._own[rows] = own
            self._later_own[rows] = reached_later(own_individual_goals(self.space, own))
            self._reached[rows] = reached_goals(self.space, own, None)
            self._later[rows] = self._later_own[rows]
            self._peers[rows] = -1
            if episode.others is not None:
                self.attach_joint(episode.number, episode.others, episode.partner_goals)

    def attach_joint(self, number: int, others: NDArray[np.uint8], partner_goals: Sequence[int]) -> bool:
        """Tell what the other bodies touched, `others[>= T + 1, B, L]`, and what they wanted; False if the episode is gone, or if a trace
        ends before the own part (its sender saw less of a broken-off episode), so that the joint touch stays unknown."""
        place = self._places.get(number)
        if place is None or self.space is None or len(others) < place[1] - place[0]:
            return False
        start, end = place
        rows = slice(start, end)
        others = others[: end - start]
        own = self._own[rows]
        self._joint[rows] = np.maximum(own, others.max(axis=1, initial=0))
        self._reached[rows] = reached_goals(self.space, own, others)
        self._later[rows] = reached_later(self._reached[rows])
        known = min(len(partner_goals), self._peers.shape[1])
        self._peers[rows, :known] = partner_goals[:known]
        status = int(self._status[start])
        if not status & JOINT:
            self._status[start : end - 1] |= JOINT
            self._count[status] -= end - 1 - start
            self._count[status | JOINT] += end - 1 - start
        return True

    def _evict(self, start: int, end: int) -> None:
        """Drop the episodes that overlap rows `start` to `end`."""
        while self._order and self._order[0][0] < end and self._order[0][1] > start:
            first, last, number = self._order.popleft()
            self._count[int(self._status[first])] -= last - 1 - first
            self._status[first:last] = 0
            del self._places[number]

    # --- sampling -----------------------------------------------------------------------------------------------------------------

    def _draw(self, n: int, random: np.random.Generator, mask: int, wanted: int) -> NDArray[np.int64]:
        """n rows uniformly, with replacement, among those whose status & mask = wanted; `ValueError` when there is none."""
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
        self, n: int, random: np.random.Generator, share: float = 0.0, strategies: Sequence[Strategy] = (), tries: int = 2
    ) -> Sample:
        """n training transitions; up to round(share * n) of them are relabelled with a goal that their strategies offer, found among
        `tries` times as many drawn transitions. Fewer are relabelled while little has been reached."""
        wanted = round(share * n) if strategies and self.space is not None else 0
        rows = self._draw(n + tries * wanted, random, STEP | HELD_OUT, STEP)
        if wanted and self.space is not None:
            candidates = rows[n:]
            probability = eligible_goals(
                strategies, self.space, self._reached[candidates], self._later[candidates], self._later_own[candidates],
                self._peers[candidates],
            )  # fmt: skip
            possible = np.flatnonzero(probability.any(axis=1))[:wanted]
            rows = np.concatenate([candidates[possible], rows[: n - len(possible)]])
            goals = draw_goals(probability[possible], random)
        else:
            goals = np.zeros(0, np.int64)
        return self._gather(rows, goals)

    def _gather(self, rows: NDArray[np.int64], goals: NDArray[np.int64]) -> Sample:
        """Transitions of `rows`, the first of them relabelled with `goals`."""
        start = self._start[rows]
        reward, terminated, goal = self._reward[rows], self._terminated[rows], self._goal[rows]
        changed = len(goals)
        if changed and self.space is not None:
            reached = self._reached[rows[:changed] + 1, goals]
            goal[:changed] = goals
            reward[:changed] = np.where(reached, self.space.rewards[goals], 0)
            terminated[:changed] = reached
        return Sample(
            self._history(rows, start), self._action[rows], reward, self._history(rows + 1, start), terminated, goal,
            np.arange(len(rows)) < changed,
        )  # fmt: skip

    def starts(self, n: int, random: np.random.Generator) -> tuple[Array, NDArray[np.int64]]:
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

    # --- checkpoints --------------------------------------------------------------------------------------------------------------

    _SAVED = tuple("observation action reward terminated goal peers start status reached later later_own joint own".split())  # noqa: SIM905

    def state(self) -> dict[str, Array]:
        """Everything, as arrays."""
        state: dict[str, Array] = {name: getattr(self, f"_{name}")[: self._top].copy() for name in self._SAVED}
        state["episodes"] = np.array(list(self._order), np.int64).reshape(-1, 3)
        state["cursor"] = np.array([self._cursor], np.int64)
        return state

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Restore; `ValueError` with the name of what does not fit."""
        top = len(state["observation"])
        for name in self._SAVED:
            mine = getattr(self, f"_{name}")
            if top > self.rows or state[name].shape[1:] != mine.shape[1:] or state[name].dtype != mine.dtype:
                raise ValueError(f"replay buffer: {name} of the checkpoint is {state[name].dtype}{list(state[name].shape)}, "
                                 f"which does not fit {mine.dtype}{list(mine.shape)}")  # fmt: skip
            mine[:top] = state[name]
            mine[top:] = 0
        self._top = top
        self._cursor = int(state["cursor"][0])
        self._order = deque((int(a), int(b), int(number)) for a, b, number in state["episodes"])
        self._places = {number: (first, last) for first, last, number in self._order}
        self._count = dict.fromkeys(self._count, 0)
        for first, last, _ in self._order:
            self._count[int(self._status[first])] += last - 1 - first
