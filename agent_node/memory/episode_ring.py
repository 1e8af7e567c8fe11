"""A flat ring of whole episodes.

An episode of T steps fills T + 1 neighbouring rows: row s + t holds observation t and the step from it, the last row only the final
observation. The oldest episodes leave whole. A fixed share of the episodes is held out: never sampled for training, kept to measure the
world model's error.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Array, Component, Metrics, State, arrays, tensors
from agent_node.memory.episode import Episode
from agent_node.memory.goal_relabelling import marks
from agent_node.memory.relative_returns import RelativeReturns
from agent_node.memory.settings import PrioritizedReplaySettings
from agent_node.memory.sum_tree import SumTree
from agent_node.memory.vector_relabelling import VectorRelabelling
from agent_node.session.observation_features import Features
from protocols.runtime.errors import ConfigurationError
from protocols.spaces.goal_space import NO_GOAL, DiscreteSpace, GoalSpace
from protocols.spaces.vector_goals import VectorGoals

STEP, HELD_OUT, JOINT = 1, 2, 4
"""Bits of a row's status: a step starts here; its episode is held out; what all bodies touched is known."""


class EpisodeRing(Component):
    """Own transitions of one agent, `rows` of them (final observations included)."""

    def __init__(
        self,
        rows: int,
        features: Features,
        space: GoalSpace | None = None,
        held_out: float = 0.0,
        partners: int = 1,
        priorities: PrioritizedReplaySettings | None = None,
        returns_discount: float | None = None,
        next_actions: bool = False,
    ) -> None:
        """`returns_discount`: discount of the relative returns in samples; None: they have none. `next_actions`: whether samples have the
        actions of the following steps."""
        self.priorities = priorities
        self._next_actions = next_actions
        self._returns = None if returns_discount is None else RelativeReturns(rows, returns_discount)
        self._tree = None if priorities is None else SumTree(rows)
        self._greatest_priority = 1.0
        self.features = features
        self.space = space if isinstance(space, DiscreteSpace) else None
        """of discrete goals"""
        self.vector = VectorRelabelling(space, rows) if isinstance(space, VectorGoals) else None
        goals = 0 if self.space is None else self.space.count
        self.rows = rows
        self._held_out = held_out
        self._observation = np.zeros((rows, features.size), features.dtype)
        self._action = np.zeros((rows, features.action_size), np.int32 if features.discrete else np.float32)
        self._reward = np.zeros(rows, np.float32)
        self._terminated = np.zeros(rows, np.float32)
        self._goal: Array = np.full(rows, NO_GOAL, np.int64)
        if space is not None and space.goal_shape:
            self._goal = np.full((rows, *space.goal_shape), np.nan, np.float32)
        self._peers = np.full((rows, partners), -1, np.int32)
        self._start = np.zeros(rows, np.int64)
        self._last = np.zeros(rows, np.int64)
        """by row: the row of its episode's final observation"""
        self._status = np.zeros(rows, np.uint8)
        self._marks = np.zeros((rows, goals), np.uint8)
        self._joint = np.zeros((rows, 0 if self.space is None else self.space.achieved_size), np.uint8)
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
        """Number of transitions that are held out for validation."""
        return self._count[STEP | HELD_OUT] + self._count[STEP | HELD_OUT | JOINT]

    @property
    def joint_count(self) -> int:
        """Transitions for training of which it is known what all bodies touched."""
        return self._count[STEP | JOINT]

    @property
    def episodes(self) -> int:
        """Episodes in the buffer."""
        return len(self._places)

    @property
    def newest(self) -> int:
        """Number of the episode that was added last; -1: none is there."""
        return self._order[-1][2] if self._order else -1

    def metrics(self) -> Metrics:
        """`buffer.transitions`: transitions that may be sampled for training."""
        return {"buffer.transitions": float(len(self))}

    # --- filling ------------------------------------------------------------------------------------------------------------------

    def is_held_out(self, number: int) -> bool:
        """Whether the episode of that number is held out: a low-discrepancy rule, the same for all of its members."""
        return (number * 0x9E3779B97F4A7C15 % 2**64) / 2**64 < self._held_out

    def episode_ended(self, episode: Episode) -> None:
        """Add a training episode."""
        if not episode.evaluation:
            self.add(episode)

    def add(self, episode: Episode, lead: int = 0) -> None:
        """Remember an episode; a number that is here already is ignored (retries). `ConfigurationError` if the ring is too small. The first
        `lead` steps of a part of an episode are only the history of the others, and are never sampled."""
        if episode.number in self._places:
            return
        size = episode.steps + 1
        if not 0 <= lead < episode.steps:
            raise ValueError(f"an episode of {episode.steps} steps with a lead of {lead} has nothing to sample")
        if size > self.rows:
            raise ConfigurationError(f"an episode of {episode.steps} steps does not fit into buffer.transitions = {self.rows}; raise it")
        if self._cursor + size > self.rows:
            self._evict(self._cursor, self.rows)
            self._cursor = 0
        start, end = self._cursor, self._cursor + size
        self._evict(start, end)
        rows = slice(start, end)
        steps = slice(start, end - 1)
        samples = slice(start + lead, end - 1)
        self._observation[rows] = episode.observation
        self._action[steps] = episode.action
        self._reward[steps] = episode.reward
        self._terminated[rows] = 0
        self._terminated[end - 2] = episode.terminated
        self._goal[rows] = episode.goal
        self._start[rows], self._last[rows] = start, end - 1
        status = STEP | (HELD_OUT if self.is_held_out(episode.number) else 0)
        self._status[rows] = 0
        self._status[samples] = status
        self._count[status] += episode.steps - lead
        if self._tree is not None and self.priorities is not None and not status & HELD_OUT:
            self._tree.update(np.arange(start + lead, end - 1), self._greatest_priority**self.priorities.alpha)
        if self._returns is not None:
            self._returns.add(start, episode.reward)
        self._order.append((start, end, episode.number))
        self._places[episode.number] = (start, end)
        self._cursor = end
        self._top = max(self._top, end)
        if self.vector is not None and episode.achieved is not None:
            self.vector.add(start, end, episode.achieved)
        if self.space is not None and episode.achieved is not None:
            own = episode.achieved[:size]
            self._own[rows] = own
            self._marks[rows] = marks(self.space, own, None)
            self._peers[rows] = -1
            if episode.others is not None:
                self.attach_joint(episode.number, episode.others, episode.partner_goals)

    def attach_joint(self, number: int, others: NDArray[np.uint8], partner_goals: Sequence[int]) -> bool:
        """Store what the other bodies achieved, `others[>= T + 1, B, L]`, and what they wanted; False if the episode is gone, or if a trace
        ends before the own part (its sender saw less of a broken-off episode), so that the joint touch stays unknown."""
        place = self._places.get(number)
        if place is None or self.space is None or len(others) < place[1] - place[0]:
            return False
        start, end = place
        rows = slice(start, end)
        others = others[: end - start]
        own = self._own[rows]
        self._joint[rows] = np.maximum(own, others.max(axis=1, initial=0))
        self._marks[rows] = marks(self.space, own, others)
        known = min(len(partner_goals), self._peers.shape[1])
        self._peers[rows, :known] = partner_goals[:known]
        status = int(self._status[end - 2])
        if not status & JOINT:
            steps = np.flatnonzero(self._status[rows]) + start
            self._status[steps] |= JOINT
            self._count[status] -= len(steps)
            self._count[status | JOINT] += len(steps)
        return True

    def _evict(self, start: int, end: int) -> None:
        """Drop the episodes that overlap rows `start` to `end`."""
        while self._order and self._order[0][0] < end and self._order[0][1] > start:
            first, last, number = self._order.popleft()
            del self._places[number]
            self._count[int(self._status[last - 2])] -= int(np.count_nonzero(self._status[first:last]))
            self._status[first:last] = 0
            if self._tree is not None:
                self._tree.update(np.arange(first, last), 0.0)
            if self._returns is not None:
                self._returns.remove(first, last - 1 - first)
            self._marks[first:last] = 0

    # --- checkpoints --------------------------------------------------------------------------------------------------------------

    _SAVED = tuple("observation action reward terminated goal peers start status marks joint own".split())  # noqa: SIM905

    def state_dict(self) -> State:
        """All transitions and the order of the episodes."""
        state: dict[str, Array] = {name: getattr(self, f"_{name}")[: self._top].copy() for name in self._SAVED}
        if self.vector is not None:
            state |= {"achieved": self.vector.achieved[: self._top].copy(), "end": self.vector.end[: self._top].copy()}
        state["episodes"] = np.array(self._order, np.int64).reshape(-1, 3)
        state["cursor"] = np.array([self._cursor], np.int64)
        if self._tree is not None:
            state["priorities"] = self._tree.weights(np.arange(self._top))
            state["greatest_priority"] = np.array([self._greatest_priority])
        if self._returns is not None:
            state |= self._returns.state(self._top)
        return tensors(state)

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore; `ValueError` with the name of what does not fit."""
        found = arrays(state)
        top = len(found["observation"])
        for name in self._SAVED:
            mine = getattr(self, f"_{name}")
            if top > self.rows or found[name].shape[1:] != mine.shape[1:] or found[name].dtype != mine.dtype:
                raise ValueError(f"replay buffer: {name} of the checkpoint is {found[name].dtype}{list(found[name].shape)}, "
                                 f"which does not fit {mine.dtype}{list(mine.shape)}")  # fmt: skip
            mine[:top] = found[name]
            mine[top:] = 0
        if self.vector is not None:
            self.vector.achieved[:top], self.vector.end[:top] = found["achieved"], found["end"]
        self._top = top
        self._cursor = int(found["cursor"][0])
        self._order = deque((int(a), int(b), int(number)) for a, b, number in found["episodes"])
        self._places = {number: (first, last) for first, last, number in self._order}
        for first, last, _ in self._order:
            self._last[first:last] = last - 1
        if self._tree is not None:
            if "priorities" not in found:
                raise ValueError("replay buffer: priorities is missing in the state")
            self._tree = SumTree(self.rows)
            self._tree.update(np.arange(top), found["priorities"])
            self._greatest_priority = float(found["greatest_priority"][0])
        if self._returns is not None:
            self._returns.load(found)
        self._count = dict.fromkeys(self._count, 0)
        for first, last, _ in self._order:
            self._count[int(self._status[last - 2])] += int(np.count_nonzero(self._status[first:last]))
