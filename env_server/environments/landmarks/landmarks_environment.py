"""K arenas of cooperative landmarks, stepped together; each plays its own episodes with members drawn from the population. The rule of
reward is that of `protocols.spaces.feature_sets`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from env_server.environments.environment_contracts import AgentBatch, Array, TickResult
from env_server.environments.environment_factory import EnvironmentContext, EnvironmentFactory, OptionProblem, problem
from env_server.environments.episode_schedule import Pairing, episode_generator
from env_server.environments.landmarks.body_physics import FACTORS, NULL, Bodies, observation_layout
from env_server.environments.landmarks.settings import LandmarksOptions
from env_server.goals.goal_assignment import PlannedEpisode, PlannedEpisodes
from env_server.goals.goal_supervisor import GoalSupervisor, supervisor_of
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.seeds import Stream
from protocols.spaces.feature_sets import FeatureSets

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class StepOutcome:
    """Result of one step for every copy and body, `[K, M]` each."""

    reward: NDArray[np.float32]
    terminated: Mask
    truncated: Mask


@cache
def _others(bodies: int) -> NDArray[np.intp]:
    """`[M, M - 1]`: for each body the numbers of the others."""
    return np.array([[j for j in range(bodies) if j != i] for i in range(bodies)], np.intp).reshape(bodies, bodies - 1)


def step_outcome(
    space: FeatureSets, touched: NDArray[np.uint8], goals: NDArray[np.int64], active: Mask, steps: NDArray[np.int64], horizon: int
) -> StepOutcome:
    """What a step came to: an active body whose goal is reached is paid and done; one still active at the horizon is cut off.

    `touched[K, M, L]`, `goals[K, M]`, `active[K, M]`, `steps[K]`. Bodies that are done stay in the room and count for the others.
    """
    reached = np.zeros(active.shape, bool)
    # Where nothing is touched nothing is reached: the rule is asked only about the other copies.
    rows = np.flatnonzero(touched.any(axis=(1, 2)))
    if len(rows):
        here = touched[rows]
        every_goal = space.achieved(here, here[:, _others(touched.shape[1])])
        reached[rows] = np.take_along_axis(every_goal, goals[rows, :, None], axis=-1)[..., 0]
    terminated = active & reached
    truncated = active & ~reached & (steps >= horizon)[:, None]
    reward = np.where(terminated, space.rewards[goals], np.float32(0.0)).astype(np.float32)
    return StepOutcome(reward, terminated, truncated)


class VectorLandmarks(PlannedEpisodes):
    """The `landmarks` environment for a whole run. All agents observe landmarks, then other bodies, as (distance / room, bearing); the goal
    is not part of it.

    Slot m of a copy is the body of the m-th member; rows of agents that are no members are zeros without `Flag.MEMBER`.
    """

    goal_space: FeatureSets

    def __init__(
        self,
        options: LandmarksOptions,
        agents: Sequence[str],
        copies: int,
        edges: Iterable[tuple[str, str]] | None = None,
        seed: int = 0,
        supervisor: GoalSupervisor | None = None,
    ) -> None:
        if len(agents) < options.members:
            few = f"{options.members} agents are in one episode, but agents.count is {len(agents)}"
            raise problem(f"{few}: raise agents.count to at least {options.members} or lower members", "environment", "options", "members")
        layouts = dict.fromkeys(agents, observation_layout(options))
        super().__init__(layouts, copies, seed, options.goal_space, options.members, supervisor)
        self.options = options
        self._index = {agent: i for i, agent in enumerate(self.agents)}
        self._pairing = Pairing(self.agents, edges, options.members)
        self._rows = np.arange(copies)[:, None]
        self._start_anew()

    def _start_anew(self, first_episode: int = 0) -> None:
        super()._start_anew(first_episode)
        shape = (self.copies, self.options.members)
        self._bodies = Bodies(self.options, self.copies)
        self._lost = np.zeros(shape, bool)
        self._active = np.zeros(shape, bool)
        self._members = np.zeros(shape, np.intp)
        self._goals = np.zeros(shape, np.int64)
        self._rewards = np.zeros(shape, np.float32)
        self._lengths = np.zeros(shape, np.int64)
        self._touched = np.zeros((*shape, self.options.landmarks), np.uint8)
        self._marks = np.zeros(self.copies, np.uint16)

    # --- episodes ---------------------------------------------------------------------------------------------------------------------

    def _first_tick(self) -> TickResult:
        for copy in range(self.copies):
            self._plan(copy)
        none = np.zeros((self.copies, self.options.members))
        return self._outcome(none.astype(np.uint16), none.astype(np.float32), self._bodies.look()[0])

    def _draw_members(self, copy: int, episode: int) -> tuple[str, ...] | None:
        return self._pairing.draw(self._seed, episode)

    def _start(self, copy: int, planned: PlannedEpisode) -> None:
        super()._start(copy, planned)
        offer = planned.offer
        self._bodies.place(copy, episode_generator(self._seed, offer.episode, Stream.ENVIRONMENT))
        self._members[copy] = [self._index[agent] for agent in offer.members]
        self._goals[copy] = [planned.goals[agent] for agent in offer.members]
        self._rewards[copy] = self._lengths[copy] = 0
        self._lost[copy] = False
        self._active[copy] = True
        self._marks[copy] = Flag.MEMBER | (Flag.EVALUATION if offer.evaluation else 0)

    # --- a tick -----------------------------------------------------------------------------------------------------------------------

    def step(self, actions: Mapping[str, Array]) -> TickResult:
        """One step of every running copy, and the start of every waiting one whose goals are known.

        `actions[agent][K, 2]`: indices of thrust and turn (0 nothing, 1 forward or left, 2 backward or right). `ValueError` for an index
        outside them in a row that counts.
        """
        was_running = self._running.copy()
        self._bodies.step(self._chosen(actions, was_running))
        self._steps += was_running
        starting = [
            (copy, planned)
            for copy in np.flatnonzero(~was_running).tolist()
            if (planned := self._planned[copy]) is not None and not planned.missing
        ]
        self._just_over[:] = False
        self._episode[~was_running] = -1
        for copy, planned in starting:
            self._start(copy, planned)
        observation, self._touched = self._bodies.look()

        parked = ~self._active & was_running[:, None]
        lost = self._lost.any(axis=1) & was_running
        active = self._active & was_running[:, None]
        verdict = step_outcome(self.goal_space, self._touched, self._goals, active & ~lost[:, None], self._steps, self.options.time_limit)
        truncated = verdict.truncated | (active & lost[:, None])
        ended = verdict.terminated | truncated
        self._rewards += verdict.reward
        self._lengths = np.where(ended, self._steps[:, None], self._lengths)
        self._active &= ~ended
        over = lost | (was_running & ~self._active.any(axis=1))

        flags = np.where(self._running, self._marks, 0).astype(np.uint16)[:, None]
        flags = flags | (verdict.terminated * np.uint16(Flag.TERMINATED)) | (truncated * np.uint16(Flag.TRUNCATED))
        flags |= (parked * np.uint16(Flag.PARKED)) | (over * np.uint16(Flag.OVER) | lost * np.uint16(Flag.PEER_LOST))[:, None]
        for copy, _ in starting:
            flags[copy] |= np.uint16(Flag.FIRST)
        flags[self._lost & was_running[:, None]] = 0
        outcome = self._outcome(flags, verdict.reward, observation)
        for copy in np.flatnonzero(over).tolist():
            if (planned := self._played[copy]) is not None:
                rewards, lengths, goals = (state[copy].tolist() for state in (self._rewards, self._lengths, self._goals))
                self._records.append(planned.record(rewards, lengths, bool(self._lost[copy].any()), goals, self._touched[copy]))
        self._running &= ~over
        self._just_over |= over
        return outcome

    def _chosen(self, actions: Mapping[str, Array], running: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Action indices `[K, M, 2]`: null for bodies that are done and for agents that sent none."""
        given = np.zeros((len(self.agents), self.copies, len(FACTORS)), np.intp)
        for agent, action in actions.items():
            given[self._index[agent]] = action
        usable = (self._active & ~self._lost & running[:, None])[..., None]
        chosen = np.where(usable, given[self._members, self._rows], NULL)
        if chosen.min() < 0 or chosen.max() >= FACTORS[0]:
            copy, slot = np.argwhere((chosen < 0) | (chosen >= FACTORS[0]))[0, :2].tolist()
            name = self.agents[self._members[copy, slot]]
            raise ValueError(f"{name} chose {chosen[copy, slot].tolist()} in copy {copy}; each factor must be 0, 1 or 2")
        return chosen

    def _outcome(self, flags: NDArray[np.uint16], reward: NDArray[np.float32], observation: NDArray[np.float32]) -> TickResult:
        """Spread the rows of bodies `[K, M]` over agents `[A, K]`."""
        agents, copies = len(self.agents), self.copies
        flags_of = np.zeros((agents, copies), np.uint16)
        reward_of = np.zeros((agents, copies), np.float32)
        seen_by = np.zeros((agents, copies, self._layouts[self.agents[0]].shape[0]), np.float32)
        touched_by = np.zeros((agents, copies, self.options.landmarks), np.uint8)
        goal_of = np.full((agents, copies), -1, np.int32)
        row, slot = np.nonzero(flags)
        who = self._members[row, slot]
        flags_of[who, row] = flags[row, slot]
        reward_of[who, row] = reward[row, slot]
        seen_by[who, row] = observation[row, slot]
        touched_by[who, row] = self._touched[row, slot]
        goal_of[who, row] = self._goals[row, slot]
        batches = {name: AgentBatch(seen_by[i], reward_of[i], flags_of[i], touched_by[i], goal_of[i]) for name, i in self._index.items()}
        return TickResult(batches, self._episode.copy())

    # --- presence, pictures -----------------------------------------------------------------------------------------------------------

    def set_present(self, agents: Collection[str]) -> None:
        """Episodes that a member left end at the next tick; offered ones with absent members are redrawn under new numbers."""
        present = set(agents)
        self._pairing.set_present(present)
        here = np.array([agent in present for agent in self.agents])
        self._lost |= self._running[:, None] & ~here[self._members]
        self._lengths = np.where(self._lost & self._active, self._steps[:, None], self._lengths)
        self._active &= ~self._lost
        self._present = present
        self._replan()

    def _playable(self, planned: PlannedEpisode) -> bool:
        return self._present.issuperset(planned.offer.members)

    def render(self, copy: int) -> NDArray[np.uint8]:
        """A picture `[height, width, 3]` of one arena; goals show while an episode runs."""
        from env_server.environments.landmarks.landmarks_rendering import draw

        sets = [self.goal_space.sets[goal] for goal in self._goals[copy].tolist()] if self._episode[copy] >= 0 else []
        return draw(self._bodies, copy, sets, self._active[copy])

    def close(self) -> None:
        """Nothing is held."""


class LandmarksFactory(EnvironmentFactory):
    """Goals are native; a supervisor may give them."""

    def create(self, context: EnvironmentContext) -> VectorLandmarks:
        """`EnvironmentProblem` where agents are too few, or the alignment of the supervisor is too low."""
        options: LandmarksOptions = context.options
        supervisor = supervisor_of(context.settings.supervisor, options.goal_space, options.members)
        return VectorLandmarks(options, context.agents, context.copies, context.edges, context.seed, supervisor)

    def problems(self, context: EnvironmentContext) -> Iterable[OptionProblem]:
        """Agents that the graph leaves without partners."""
        if context.edges is None:
            return
        members = context.options.members
        idle = Pairing(context.agents, context.edges, members).never_drawn()
        if idle:
            text = f"{', '.join(idle[:8])} would never play: episodes need {members} agents connected by edges"
            yield OptionProblem(("network", "topology"), f"{text}; connect them or lower members")
