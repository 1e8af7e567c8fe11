"""From the server's observations to the agent's actions and finished episodes, in a run and from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from agent_node.contracts import PolicyOutput
from agent_node.memory.episode import Episode
from agent_node.session import checkpoints
from agent_node.session.agent_components import AgentComponents
from agent_node.session.observation_features import Features, HistoryStack
from agent_node.session.roles import JOINT_ROLLOUTS, LEARNER, RECORDING, REPLAY, REWARDS, ROLLOUT
from agent_node.session.session_context import dataset_of, settings_of
from agent_node.settings.agent import AgentSettings
from agent_node.settings.exchange import ExchangeSettings
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.errors import BadMessage, ResourceError
from protocols.spaces.goal_space import NO_GOAL, GoalSpace
from protocols.spaces.layout import Layout

Array = NDArray[Any]
_NOT_PLAYED = np.uint16(Flag.PARKED | Flag.TERMINATED | Flag.TRUNCATED | Flag.OVER | Flag.WAITING)
"""flags of rows in which no action counts"""


def _column(rows: NDArray[np.bool_], values: Array) -> Array:
    """`rows[K]` in a shape that multiplies `values[K, ...]`."""
    return rows.reshape(-1, *[1] * (values.ndim - 1))


class EpisodeRecorder:
    """Turns the ticks of K copies into finished episodes. Copies whose first tick it has not seen are left out.

    Step t is the action that leads from observation t to observation t + 1. An agent's own part has T steps; the episode may go on without
    it (`length` steps in all), and what its parked body touches until the end still counts for its partners. Ticks at which the agent
    waits for its turn are no steps: observation t + 1 is that of its next turn, or the last one.
    """

    def __init__(self, copies: int, features: Features, space: GoalSpace | None = None) -> None:
        steps = 64
        self._observation = np.zeros((copies, steps + 1, features.size), features.dtype)
        self._action = np.zeros((copies, steps, features.action_size), np.int32 if features.discrete else np.float32)
        self._reward = np.zeros((copies, steps), np.float32)
        self._substituted = np.zeros((copies, steps), bool)
        self._moment = np.zeros((copies, steps), np.int32)
        shape = () if space is None else space.goal_shape
        measured = (0, np.uint8) if space is None else (space.achieved_size, space.achieved_dtype)
        self._achieved: Array = np.zeros((copies, steps + 1, measured[0]), measured[1])
        self._extras: dict[str, NDArray[np.float32]] = {}
        self._number = np.full(copies, -1, np.int64)
        self._played = np.full(copies, -1, np.int64)
        """`[K]` numbers of the episodes that the copies play, whether the agent is a member or not"""
        self._time = np.zeros(copies, np.int32)
        self._turn = np.zeros(copies, np.int32)
        """`[K]` steps of the whole episode: now, and at the agent's newest turn"""
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
        going &= ~first & ((flags & Flag.WAITING) == 0)
        acting = np.flatnonzero(going & ((flags & Flag.PARKED) == 0))
        self._time = np.where(episode == self._played, self._time + 1, 0)
        self._played = episode.copy()
        self._length[going] += 1
        self._own[acting] += 1
        if going.any() and int(self._length[going].max()) >= self._reward.shape[1]:
            self._grow()
        at = self._own[acting]
        self._observation[acting, at] = observation[acting]
        self._action[acting, at - 1] = applied[acting]
        self._reward[acting, at - 1] = reward[acting]
        self._substituted[acting, at - 1] = (flags[acting] & Flag.SUBSTITUTED) != 0
        self._moment[acting, at - 1] = self._turn[acting]
        self._turn = np.where((flags & Flag.WAITING) == 0, self._time, self._turn)
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
            moment=self._moment[row, :steps].copy(),
        )

    def _grow(self) -> None:
        """Room for twice as many steps."""

        def twice(array: Array) -> Array:
            more = np.zeros((array.shape[0], self._reward.shape[1], *array.shape[2:]), array.dtype)
            return np.concatenate([array, more], axis=1)

        self._observation, self._achieved = twice(self._observation), twice(self._achieved)
        self._action, self._substituted, self._moment = twice(self._action), twice(self._substituted), twice(self._moment)
        self._extras = {name: twice(values) for name, values in self._extras.items()}
        self._reward = twice(self._reward)


class Actor:
    """Acts in K copies: keeps the history of observations, asks the learner for actions, and records episodes."""

    def __init__(self, components: AgentComponents, records_extras: bool = False) -> None:
        self._components, self._copies = components, components.copies
        self._learner, self._rewards, self._rollout = components[LEARNER], components.get(REWARDS), components.get(ROLLOUT)
        self._recurrent = "recurrent" in self._learner.capabilities
        self._recording = components.get(RECORDING) is not None
        self._records_extras = records_extras or not {REPLAY.name, JOINT_ROLLOUTS.name, RECORDING.name}.isdisjoint(components.roles)
        """only memories of whole episodes store their extras, which may be large"""
        self._history = HistoryStack(self._copies, components.features)
        self._recorder = EpisodeRecorder(self._copies, components.features, components.space)
        self._extras: dict[str, NDArray[np.float32]] = {}
        """each `[K, ...]`: what the learner keeps of its newest actions"""
        self.goals: NDArray[np.int64] | None = None
        """`[K]` goals in force that a teacher has set, cells g = x H + y of the whole grid; None without a teacher"""
        self.features: Array | None = None
        """`[K, F]` of the newest observations; None before the first"""
        self.restart: NDArray[np.bool_] | None = None
        """`[K]` episodes that the agent ends at the newest tick; None for none"""

    def observe(self, arrays: Mapping[str, Array], continuous: bool, answer: bool = True) -> tuple[Array, list[Episode]]:
        """Take the frames of an `Observation`; without `continuous` ticks were missed, and running episodes are dropped. Returns the
        actions `[K, A]` to send, and the episodes that ended. Without `answer` the actions are not sent: they may be zeros, which
        saves the learner's work."""
        observation = self._checked(arrays)
        flags = arrays["flags"]
        raw = self._components.features.flatten(observation)
        goal = arrays.get("goal")
        if not continuous:
            self._recorder = EpisodeRecorder(self._copies, self._components.features, self._components.space)
            self._extras = {}
        stack = self._history.push(raw, flags)
        features = self.features = self._components.features.encode(stack)
        own, flags = self._compose_reward(raw, features, arrays["reward"], flags, continuous)
        episodes = self._recorder.tick(
            raw, arrays["reward"], flags, arrays["episode"], arrays["applied"], arrays.get("achieved"),
            goal if goal is None or goal.dtype.kind == "f" else goal.astype(np.int64), self._extras,
        )  # fmt: skip
        actions = self._act(features, flags, goal if own is None else own, answer)
        if self._recording and answer and "probabilities" in self._learner.capabilities:
            likely = self.log_probability(actions)
            # What was noted at an agent's own turn belongs to the step that ends at its next one.
            self._extras["log_probability"] = np.where(flags & Flag.WAITING, self._extras.get("log_probability", likely), likely)
        return actions, episodes

    def log_probability(self, actions: Array) -> NDArray[np.float32]:
        """`[K]`: ln pi of the newest `actions[K, A]` under the policy as in training, without goals; NaN where the learner does not know
        it. PPO and IMPALA keep it beside them."""
        if self.features is not None and "probabilities" in self._learner.capabilities:
            return self._learner.log_probability(self.features, self._components.encodings[np.full(self._copies, -1)], actions)
        return self._extras.get("log_probability", np.full(self._copies, np.nan, np.float32)).reshape(-1)

    def _compose_reward(
        self, raw: Array, features: Array, reward: NDArray[np.float32], flags: NDArray[np.uint16], continuous: bool
    ) -> tuple[NDArray[np.int64] | None, NDArray[np.uint16]]:
        """Compose the rewards and add them to the rollout; the goals `[K]` of the teacher, if there is one, and the flags, with the ends of
        episodes that it has set."""
        rollouts, goals = self._rollout, None
        if self._rewards is not None:
            composed = self._rewards.compose(raw, features, reward, flags, continuous)
            reward, goals, flags = composed.reward, composed.goals, composed.flags
            self.goals, self.restart = goals, composed.restart
            if rollouts is not None and composed.late is not None:
                rollouts.amend(composed.late)
        if rollouts is not None:
            rollouts.add(features, reward, flags, continuous, goals)
        return goals, flags

    def _act(self, features: Array, flags: NDArray[np.uint16], goal: Array | None, answer: bool) -> Array:
        size, discrete = self._components.features.action_size, self._components.features.discrete
        actions = np.zeros((self._copies, size), np.int32 if discrete else np.float32)
        playing = ((flags & Flag.MEMBER) != 0) & ((flags & _NOT_PLAYED) == 0)
        evaluating = (flags & Flag.EVALUATION) != 0
        waiting = (flags & Flag.WAITING) != 0
        # What was noted at an agent's own turn belongs to the step that ends at its next one.
        self._extras = {name: values * _column(waiting, values) for name, values in self._extras.items()} if waiting.any() else {}
        if not answer and self._rollout is None and not self._recurrent:
            return actions  # learners from rollouts record each step, and recurrent ones keep a state
        for rows, explore in ((np.flatnonzero(playing & ~evaluating), True), (np.flatnonzero(playing & evaluating), False)):
            wanted = np.full(len(rows), -1) if goal is None else goal[rows]
            first = (flags[rows] & Flag.FIRST) != 0
            choice = PolicyOutput(actions[rows])
            if len(rows):
                choice = self._learner.act(features[rows], self._components.encodings[wanted], rows, first, explore)
                actions[rows] = choice.actions
                for name, values in choice.extras.items() if self._records_extras else ():
                    if name not in self._extras:
                        self._extras[name] = np.zeros((self._copies, *values.shape[1:]), np.float32)
                    self._extras[name][rows] = values
            if explore and self._rollout is not None:
                self._rollout.acted(rows, wanted, choice, first)
        return actions

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


class PolicyPlayer:
    """The components of an agent, built as in a run and loaded from `checkpoint`; `facts` are the agent's counters in it.

    `greedy`: the most likely actions, where the learner has them, with `Flag.EVALUATION` in every row; else actions as in training. It may
    be changed between two calls of `act`.
    """

    def __init__(
        self,
        name: str,
        configuration: Mapping[str, Any],
        layouts: Mapping[str, Layout],
        checkpoint: Path,
        greedy: bool,
        seed: int,
        party: int = 0,
        copies: int = 1,
    ) -> None:
        self.name = name
        self.greedy = greedy
        held, layout = checkpoints.read(checkpoint), layouts[name]
        settings = _played(settings_of(name, configuration), greedy)
        exchange = ExchangeSettings.model_validate(configuration["exchange"])
        try:
            components = AgentComponents(
                settings, exchange, layout, copies, name, seed, party=max(2, party), layouts=layouts, dataset=dataset_of(configuration)
            )
            components.load(held.tensors, held.manifest)
        except (ValueError, KeyError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else error
            raise ResourceError(f"the checkpoint {checkpoint} does not fit the configuration of its run: {what}") from None
        self._components, self._actor = components, Actor(components, records_extras=True)
        self._grid = None if components.features.grids is None else components.features.grids.whole
        size = len(layout.actions) or len(layout.low)
        self._last: Array = np.zeros((copies, size), np.int32 if layout.actions else np.float32)
        self.facts = {key: int(held.manifest[key]) for key in ("step", "updates", "episodes", "steps") if key in held.manifest}

    @property
    def log_probability(self) -> NDArray[np.float32]:
        """`[K]`: ln pi of the newest actions under the policy as in training; NaN where the learner does not know it."""
        return self._actor.log_probability(self._last)

    @property
    def goal(self) -> tuple[int, int, int, int] | None:
        """The cell (x, y) that its teacher has set for the newest observation of the first copy, and the sides (width, height) of the grid
        that it is in; None without a teacher."""
        goals, whole = self._actor.goals, self._grid
        if goals is None or whole is None or goals[0] < 0:
            return None
        return int(goals[0]) // whole.height, int(goals[0]) % whole.height, whole.width, whole.height

    def act(
        self,
        observation: Array,
        reward: NDArray[np.float32],
        flags: NDArray[np.uint16],
        episode: NDArray[np.int64],
        achieved: Array | None = None,
        goal: Array | None = None,
    ) -> Array:
        """Actions `[K, A]` for the agent's frames of a tick."""
        if self.greedy:
            flags = flags | np.where(flags & Flag.MEMBER, np.uint16(Flag.EVALUATION), np.uint16(0)).astype(np.uint16)
        seen: dict[str, Array] = {"observation": observation, "reward": reward, "flags": flags, "episode": episode}
        if achieved is not None and goal is not None:
            seen |= {"achieved": achieved, "goal": goal}
        self._last, _ = self._actor.observe({**seen, "applied": self._last}, continuous=True)
        return self._last


def _played(settings: AgentSettings, greedy: bool) -> AgentSettings:
    """The same with a teacher that ends no episodes (each is played until the environment ends it), and where actions are `greedy`, a
    learner that does not draw them in evaluations."""
    changes: dict[str, Any] = {}
    if settings.teacher is not None and getattr(settings.teacher, "restart_episode", False):
        changes["teacher"] = settings.teacher.model_copy(update={"restart_episode": False})
    if greedy and "evaluation" in type(settings.learner).model_fields:
        changes["learner"] = settings.learner.model_copy(update={"evaluation": "mode"})
    return settings.model_copy(update=changes)
