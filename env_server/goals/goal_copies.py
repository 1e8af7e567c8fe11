"""Goals for an environment that has none: `GoalCopies` adds them to any vectorised environment.

The episode that a copy plays next is planned, and offered to its members, when the present one starts; it begins once the members' goals
are known. Members are all agents of a copy that are present; which of them leads is drawn for each episode. After every step it is measured
what each body achieves (`achieved_goals`), and the goal space determines which goals are reached and the rewards.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from env_server.environments.environment_contracts import AgentBatch, Array, HeldEnvironment, TickResult, VectorEnvironment
from env_server.environments.episode_schedule import episode_generator, lead
from env_server.goals.achieved_goals import AchievedGoals
from env_server.goals.goal_assignment import PlannedEpisode, PlannedEpisodes
from env_server.goals.goal_supervisor import GoalSupervisor
from env_server.settings import GoalSettings
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.errors import ConfigurationError
from protocols.runtime.seeds import Stream
from protocols.spaces.goal_space import NO_GOAL, DiscreteSpace

Mask = NDArray[np.bool_]
RETURN = "return.environment"
"""metric: sum of the members' rewards by the environment itself"""
_MEMBER, _FIRST, _TERMINATED, _TRUNCATED, _PARKED, _OVER, _PEER_LOST, _EVALUATION = (
    np.uint16(flag)
    for flag in (
        Flag.MEMBER, Flag.FIRST, Flag.TERMINATED, Flag.TRUNCATED, Flag.PARKED, Flag.OVER, Flag.PEER_LOST, Flag.EVALUATION,
    )
)  # fmt: skip


class GoalCopies(PlannedEpisodes):
    """A vectorised environment with goals around `base`.

    The reward of member i is, with the rewards g_j for goals of the n members and w = `settings.team`,

        (1 - w) g_i + (w / n) sum_j g_j    [+ the reward of the environment, with `reward: add`].

    A base that cannot hold its copies (`HeldEnvironment`) begins episodes without waiting: goals that are missing then are drawn uniformly.
    """

    def __init__(
        self,
        base: VectorEnvironment,
        settings: GoalSettings,
        achieved: AchievedGoals,
        seed: int,
        supervisor: GoalSupervisor | None = None,
    ) -> None:
        self.base = base
        self._held = base if isinstance(base, HeldEnvironment) else None
        self._settings = settings
        self._achieved = achieved
        self.agents_choose = settings.chosen_by == "agents"
        space = achieved.space
        layouts = {agent: replace(base.layout(agent), goals=space.info()) for agent in base.agents}
        seats = [base.agents if self._held is None else self._held.seats(copy) for copy in range(base.copies)]
        super().__init__(layouts, base.copies, seed, space, max(map(len, seats)), supervisor)
        self._seats = seats
        self._others = np.array([[j for j in range(len(self.agents)) if j != i] for i in range(len(self.agents))], np.intp)
        self._others = self._others.reshape(len(self.agents), len(self.agents) - 1)
        # The space's reward is that of the own goal in the own reward; the members' shares are computed from the unshared one.
        own = 1 - settings.team + settings.team / self.episode_members
        self._unshared = 1 / own
        self._start_anew()

    def _start_anew(self, first_episode: int = 0) -> None:
        super()._start_anew(first_episode)
        shape = (len(self.agents), self.copies)
        self._present = frozenset(self.agents)
        self._member = np.zeros(shape, bool)
        self._active = np.zeros(shape, bool)
        self._lost = np.zeros(shape, bool)
        self._reached = np.zeros(shape, bool)
        self._rewards = np.zeros(shape)
        self._lengths = np.zeros(shape, np.int64)
        self._goals = self._no_goals()

    def _no_goals(self) -> Array:
        shape = (len(self.agents), self.copies)
        vector = self.goal_space.goal_shape
        return np.full((*shape, *vector), np.nan, np.float32) if vector else np.full(shape, NO_GOAL, np.int64)

    # --- episodes ---------------------------------------------------------------------------------------------------------------------

    def _first_tick(self) -> TickResult:
        first_episode = self._next_episode
        for copy in range(self.copies):
            self._plan(copy)
        if self._held is not None:
            self._held.hold(np.ones(self.copies, bool))
        found = self.base.reset(self._seed, first_episode)
        starting = [] if self._held is not None else self._startable(np.ones(self.copies, bool))
        return self._tick(found, starting)

    def _here(self, copy: int) -> list[str]:
        return [agent for agent in self._seats[copy] if agent in self._present]

    def _draw_members(self, copy: int, episode: int) -> tuple[str, ...] | None:
        members = self._here(copy)
        return lead(self._seed, episode, members) if members else None

    def _playable(self, planned: PlannedEpisode) -> bool:
        return set(planned.offer.members) == set(self._here(planned.offer.copy))

    def _startable(self, idle: Mask) -> list[tuple[int, PlannedEpisode]]:
        """Episodes that begin with this tick in the `idle[K]` copies. Without `HeldEnvironment` all do, with uniform goals where some are
        missing."""
        found = []
        for copy in np.flatnonzero(idle).tolist():
            planned = self._planned[copy]
            if planned is None:
                continue
            if planned.missing and self._held is None and self.agents_choose:
                random = episode_generator(self._seed, planned.offer.episode, Stream.GOALS)
                planned.goals |= {agent: self.goal_space.draw(random) for agent in planned.missing}
            if not planned.missing or not self.agents_choose:
                found.append((copy, planned))
        return found

    def _begin(self, copy: int, planned: PlannedEpisode, desired: Mapping[str, Array]) -> None:
        self._start(copy, planned)
        places = [self.agents.index(agent) for agent in planned.offer.members]
        for state in (self._member, self._active, self._lost, self._reached, self._rewards, self._lengths):
            state[:, copy] = 0
        self._member[places, copy] = True
        self._goals[:, copy] = np.nan if self.goal_space.goal_shape else NO_GOAL
        for place, agent in zip(places, planned.offer.members, strict=True):
            self._goals[place, copy] = planned.goals[agent] if self.agents_choose else desired[agent][copy]

    # --- a tick -----------------------------------------------------------------------------------------------------------------------

    def step(self, actions: Mapping[str, Array]) -> TickResult:
        """One step of every running copy, and the start of every waiting one whose goals are known."""
        starting = self._startable(~self._running)
        if self._held is not None:
            held = np.ones(self.copies, bool)
            held[[copy for copy, _ in starting]] = False
            self._held.hold(held)
        given = {}
        for i, agent in enumerate(self.agents):
            if agent in actions:
                idle = ~self._active[i]
                given[agent] = np.where(idle[:, None], self._layouts[agent].null_action, actions[agent]) if idle.any() else actions[agent]
        return self._tick(self.base.step(given), starting)

    def _tick(self, found: TickResult, starting: Sequence[tuple[int, PlannedEpisode]]) -> TickResult:
        """Add goals, what is achieved, and the rewards for it, to what the base made of the step."""
        was_running = self._running.copy()
        self._just_over[:] = False
        self._episode[~was_running] = -1
        batches = [found.agents[agent] for agent in self.agents]
        desired = {agent: batch.goal for agent, batch in zip(self.agents, batches, strict=True) if batch.goal is not None}
        for copy, planned in starting:
            self._begin(copy, planned, desired)
        self._steps += was_running
        flags = np.stack([batch.flags for batch in batches])
        achieved = np.stack([self._measure(agent, batch) for agent, batch in zip(self.agents, batches, strict=True)])
        # --- parts of agents that begin, go on and end
        entering = self._running & self._member & ((flags & _FIRST) != 0)
        parked = was_running & self._member & ~self._active & ~entering
        acting = was_running & self._active & ~entering
        self._active |= entering
        known: Mask = np.asarray(~np.isnan(self._goals).any(axis=-1) if self.goal_space.goal_shape else self._goals >= 0)
        achieved_goals = self.goal_space.achieved(achieved, self._beside(achieved))
        reached = self.goal_space.reached(achieved_goals, self._goals) & known & acting
        self._reached = np.where(acting, reached, self._reached)
        reward = self._reward(achieved_goals, known, acting, np.stack([batch.reward for batch in batches]))
        lost = was_running & (self._lost & self._member).any(axis=0)
        terminated = acting & ((flags & _TERMINATED != 0) | (reached if self.goal_space.ends else False)) & ~lost
        truncated = acting & ~terminated & ((flags & _TRUNCATED != 0) | lost)
        ended = terminated | truncated
        self._rewards += reward
        self._lengths = np.where(ended, self._steps, self._lengths)
        self._active &= ~ended
        base_over = ((flags & _OVER) != 0).any(axis=0)
        stopped = was_running & ~base_over & ~self._active.any(axis=0) if self._held is not None else np.zeros(self.copies, bool)
        over = was_running & (base_over | stopped)
        # --- flags
        marks = np.where(self._running & self._member & (self._active | ended | parked), _MEMBER, np.uint16(0))
        marks |= entering * _FIRST | terminated * _TERMINATED | truncated * _TRUNCATED | parked * _PARKED
        marks |= (over * _OVER | (over & lost) * _PEER_LOST | self._evaluating() * _EVALUATION) * (marks != 0)
        marks[self._lost & was_running] = 0
        reward[self._lost] = 0
        self._finish(over, achieved, stopped, found.episode)
        pursued = (marks != 0) & known
        none = np.zeros_like(self._goals) if self.goal_space.goal_shape else self._no_goals()  # numbers on the wire are finite
        goals = np.where(pursued.reshape(*pursued.shape, *[1] * len(self.goal_space.goal_shape)), self._goals, none)
        wire = np.float32 if self.goal_space.goal_shape else np.int32
        return TickResult(
            {
                agent: AgentBatch(
                    batches[i].observation, reward[i].astype(np.float32), marks[i].astype(np.uint16), achieved[i], goals[i].astype(wire)
                )
                for i, agent in enumerate(self.agents)
            },
            self._episode.copy(),
        )

    def measure_once(self) -> None:
        """Begin one episode and measure: raises what the function of a user or the environment raises."""
        if self._held is not None:
            self._held.hold(np.zeros(self.copies, bool))
        found = self.base.reset(self._seed, 0)
        for agent in self.agents:
            self._measure(agent, found.agents[agent])

    def _measure(self, agent: str, batch: AgentBatch) -> Array:
        rows = batch.achieved
        if rows is None:
            if not self._achieved.measures_batches:
                raise ConfigurationError("environment.goals: this environment measures no goals; name a function in environment.goals.of")
            rows = self._achieved.all(self.base, agent, batch.observation)
        return np.ascontiguousarray(rows, self.goal_space.achieved_dtype)

    def _beside(self, achieved: Array) -> Array:
        """What the other members achieve, `[N, K, N - 1, A]`; zeros for agents that are no members."""
        members = achieved * self._member[..., None].astype(achieved.dtype)
        beside: Array = members.transpose(1, 0, 2)[:, self._others].transpose(1, 0, 2, 3)
        return beside

    def _reward(self, achieved: Array, known: Mask, acting: Mask, environment: NDArray[np.float32]) -> NDArray[np.float64]:
        """`[N, K]` rewards of the members that act, from what the bodies achieve, as `GoalSpace.achieved` returns it."""
        counts, own = known & acting, np.zeros(acting.shape)
        if counts.any():
            own[counts] = self.goal_space.compute_reward(achieved[counts], self._goals[counts]) * self._unshared
        w = self._settings.team
        if w:
            own = (1 - w) * own + w * own.sum(axis=0) / np.maximum(1, self._member.sum(axis=0))
        if self._settings.reward == "add":
            own = own + environment
        return own * acting

    def _evaluating(self) -> Mask:
        return np.array([planned is not None and planned.offer.evaluation for planned in self._played]) & self._running

    def _finish(self, over: Mask, achieved: Array, stopped: Mask, numbers: NDArray[np.int64]) -> None:
        """Write records of the episodes that are `over[K]`, `numbers[K]` in the base, and end those of the base that are `stopped[K]`."""
        metrics = {record.episode: {**record.metrics, RETURN: float(sum(record.rewards))} for record in self.base.finished()}
        for copy in np.flatnonzero(over).tolist():
            planned = self._played[copy]
            if planned is None:
                continue
            places = [self.agents.index(agent) for agent in planned.offer.members]
            discrete = isinstance(self.goal_space, DiscreteSpace)
            self._records.append(
                planned.record(
                    self._rewards[places, copy].tolist(),
                    np.where(self._active[places, copy], self._steps[copy], self._lengths[places, copy]).tolist(),
                    bool(self._lost[places, copy].any()),
                    [tuple(goal) if isinstance(goal, list) else int(goal) for goal in self._goals[places, copy].tolist()],
                    achieved[places, copy] if discrete else (),
                    self._reached[places, copy].tolist(),
                    metrics.get(int(numbers[copy]), {}),
                )
            )
        if self._held is not None and stopped.any():
            self._held.abandon(stopped)
        self._running &= ~over
        self._just_over |= over

    # --- presence, pictures -----------------------------------------------------------------------------------------------------------

    def set_present(self, agents: Collection[str]) -> None:
        """Episodes that a member left end at the next tick; planned ones with other members than are present now are drawn anew."""
        self.base.set_present(agents)
        self._present = frozenset(agents)
        gone = np.array([agent not in self._present for agent in self.agents])
        self._lost |= self._running & self._member & gone[:, None]
        self._lengths = np.where(self._lost & self._active, self._steps, self._lengths)
        self._replan()

    def waiting(self) -> list[tuple[int, str]]:
        """(episode, agent) whose missing goal keeps a copy idle now; none where episodes do not wait."""
        return super().waiting() if self._held is not None and self.agents_choose else []

    def render(self, copy: int) -> NDArray[np.uint8]:
        """The picture of the base."""
        return self.base.render(copy)

    def close(self) -> None:
        """Close the wrapped environment. May be called twice."""
        self.base.close()
