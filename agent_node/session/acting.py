"""From the server's observations to the agent's actions and finished episodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from agent_node.contracts import PolicyOutput
from agent_node.memory.episode_recorder import Episode, EpisodeRecorder
from agent_node.session.agent_components import AgentComponents
from agent_node.session.observation_features import HistoryStack
from agent_node.session.roles import LEARNER, REPLAY, REWARDS, ROLLOUT
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.errors import BadMessage

Array = NDArray[Any]


class Actor:
    """Acts in K copies: keeps the history of observations, asks the learner for actions, and records episodes."""

    def __init__(self, components: AgentComponents, copies: int) -> None:
        features = components.features
        self._components = components
        self._learner, self._rewards, self._rollout = components[LEARNER], components.get(REWARDS), components.get(ROLLOUT)
        self._records_extras = components.get(REPLAY) is not None
        """only replay buffers store episodes with their extras, which may be large"""
        self._copies = copies
        self._history = HistoryStack(copies, features)
        self._recorder = self._new_recorder()
        self._encodings = components.encodings
        self._extras: dict[str, NDArray[np.float32]] = {}
        self._goals: NDArray[np.int64] | None = None
        self.features: Array | None = None
        """`[K, F]` of the newest observations; None before the first"""
        self.restart: NDArray[np.bool_] | None = None
        """`[K]` episodes that the agent ends at the newest tick; None for none"""

    @property
    def goals(self) -> NDArray[np.int64] | None:
        """`[K]` goals in force that a teacher has set, cells g = x H + y of the whole grid; None without a teacher."""
        return self._goals

    def _new_recorder(self) -> EpisodeRecorder:
        features, space = self._components.features, self._components.space
        return EpisodeRecorder(self._copies, features.size, features.dtype, features.action_size, features.discrete, space)

    def observe(self, arrays: Mapping[str, Array], continuous: bool, answer: bool = True) -> tuple[Array, list[Episode]]:
        """Take the frames of an `Observation`; without `continuous` ticks were missed, and running episodes are dropped. Returns the
        actions `[K, A]` to send, and the episodes that ended. Without `answer` the actions are not sent: they may be zeros, which
        saves the learner's work."""
        observation = self._checked(arrays)
        flags = arrays["flags"]
        raw = self._components.features.flatten(observation)
        goal = arrays.get("goal")
        if not continuous:
            self._recorder = self._new_recorder()
            self._extras = {}
        stack = self._history.push(raw, flags)
        features = self.features = self._components.features.encode(stack)
        own, flags = self._compose_reward(raw, features, arrays["reward"], flags, continuous)
        episodes = self._recorder.tick(
            raw, arrays["reward"], flags, arrays["episode"], arrays["applied"], arrays.get("achieved"),
            goal if goal is None or goal.dtype.kind == "f" else goal.astype(np.int64), self._extras,
        )  # fmt: skip
        return self._act(features, flags, goal if own is None else own, answer), episodes

    def _compose_reward(
        self, raw: Array, features: Array, reward: NDArray[np.float32], flags: NDArray[np.uint16], continuous: bool
    ) -> tuple[NDArray[np.int64] | None, NDArray[np.uint16]]:
        """Compose the rewards and add them to the rollout; the goals `[K]` of the teacher, if there is one, and the flags, with the ends of
        episodes that it has set."""
        rollouts, goals = self._rollout, None
        if self._rewards is not None:
            composed = self._rewards.compose(raw, features, reward, flags, continuous)
            reward, goals, flags = composed.reward, composed.goals, composed.flags
            self._goals, self.restart = goals, composed.restart
            if rollouts is not None and composed.late is not None:
                rollouts.amend(composed.late)
        if rollouts is not None:
            rollouts.add(features, reward, flags, continuous, goals)
        return goals, flags

    def _act(self, features: Array, flags: NDArray[np.uint16], goal: Array | None, answer: bool) -> Array:
        size, discrete = self._components.features.action_size, self._components.features.discrete
        actions = np.zeros((self._copies, size), np.int32 if discrete else np.float32)
        playing = ((flags & Flag.MEMBER) != 0) & ((flags & (Flag.PARKED | Flag.TERMINATED | Flag.TRUNCATED | Flag.OVER)) == 0)
        evaluating = (flags & Flag.EVALUATION) != 0
        self._extras = {}
        if not answer and self._rollout is None:
            return actions  # learners from rollouts record each step, and may be recurrent
        for rows, explore in ((np.flatnonzero(playing & ~evaluating), True), (np.flatnonzero(playing & evaluating), False)):
            wanted = np.full(len(rows), -1) if goal is None else goal[rows]
            first = (flags[rows] & Flag.FIRST) != 0
            choice = PolicyOutput(actions[rows])
            if len(rows):
                choice = self._learner.act(features[rows], self._encodings[wanted], rows, first, explore)
                actions[rows] = choice.actions
                self._keep(rows, choice)
            if explore and self._rollout is not None:
                self._rollout.acted(rows, wanted, choice, first)
        return actions

    def _keep(self, rows: NDArray[np.int64], choice: PolicyOutput) -> None:
        if not self._records_extras:
            return
        for name, values in choice.extras.items():
            if name not in self._extras:
                self._extras[name] = np.zeros((self._copies, *values.shape[1:]), np.float32)
            self._extras[name][rows] = values

    def _checked(self, arrays: Mapping[str, Array]) -> Array:
        missing = {"observation", "reward", "flags", "episode", "applied"} - arrays.keys()
        if missing:
            raise BadMessage("E_FRAME", f"an observation without {', '.join(sorted(missing))}")
        features, space = self._components.features, self._components.space
        shapes: dict[str, tuple[tuple[int, ...], DTypeLike]] = {
            "observation": (tuple(features.layout.shape), features.dtype),
            "reward": ((), np.float32),
            "flags": ((), np.uint16),
            "episode": ((), np.int64),
            "applied": ((features.action_size,), np.int32 if features.discrete else np.float32),
            "achieved": ((space.achieved_size if space else 0,), space.achieved_dtype if space else np.uint8),
            "goal": (space.goal_shape if space else (), np.float32 if space and space.goal_shape else np.int32),
        }
        for name, (shape, dtype) in shapes.items():
            array = arrays.get(name)
            if array is not None and (array.shape != (self._copies, *shape) or array.dtype != dtype):
                raise BadMessage("E_FRAME", f"{name} is {array.dtype}{list(array.shape)}, not {np.dtype(dtype)}{[self._copies, *shape]}")
        goal = arrays.get("goal")
        if goal is not None and goal.dtype.kind == "i" and ((goal < -1) | (goal >= (space.count if space else 0))).any():
            raise BadMessage("E_FRAME", "goal index out of range")
        return arrays["observation"]
