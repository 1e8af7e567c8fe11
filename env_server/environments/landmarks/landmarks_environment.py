"""K arenas of cooperative landmarks, stepped together; each plays its own episodes with members drawn from the population."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from env_server.environments.environment_contracts import AgentBatch, Array, EpisodeRecord, OfferedEpisode, TickResult
from env_server.environments.episode_schedule import EvaluationSchedule, Pairing, episode_generator
from env_server.environments.landmarks.body_physics import FACTORS, NULL, Bodies, observation_layout
from env_server.environments.landmarks.landmarks_rules import step_outcome
from env_server.environments.landmarks.settings import LandmarksOptions
from env_server.goals.goal_supervisor import GoalSupervisor
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.errors import ConfigurationError
from protocols.runtime.seeds import Stream
from protocols.spaces.feature_sets import FeatureSets
from protocols.spaces.goal_space import Goal
from protocols.spaces.layout import Layout


@dataclass
class _Planned:
    """An episode that was offered and has not ended, with the goals known so far."""

    offer: OfferedEpisode
    assigned: int = -1
    """the goal of an evaluation of skill alone, given to all members; -1 in all other episodes"""
    goals: dict[str, int] = field(default_factory=dict)
    negotiated: set[str] = field(default_factory=set)

    @property
    def missing(self) -> list[str]:
        return [agent for agent in self.offer.members if agent not in self.goals]


class VectorLandmarks:
    """The `landmarks` environment for a whole run: `VectorEnvironment` and `GoalEnvironment`.

    A copy runs an episode or waits for the goals of the next one. The next episode is drawn, and offered, when the present one starts.
    Slot m of a copy is the body of the m-th member; rows of agents that are no members are zeros without `Flag.MEMBER`.
    """

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
            raise ConfigurationError(
                f"environment.options.members is {options.members}, but agents.count is {len(agents)}: "
                f"raise agents.count to at least {options.members} or lower members"
            )
        self.options = options
        self.agents = tuple(agents)
        self.copies = copies
        self.episode_members = options.members
        self.goal_space: FeatureSets = options.goal_space
        self._layout = observation_layout(options)
        self._index = {agent: i for i, agent in enumerate(self.agents)}
        self._pairing = Pairing(self.agents, edges, options.members)
        self._schedule = EvaluationSchedule(self.goal_space.count)
        self._supervisor = supervisor
        self._seed = seed
        self._rows = np.arange(copies)[:, None]
        self._start_anew()

    def _start_anew(self) -> None:
        shape = (self.copies, self.options.members)
        self._bodies = Bodies(self.options, self.copies)
        self._next_episode = 0
        self._running = np.zeros(self.copies, bool)
        self._just_over = np.zeros(self.copies, bool)
        self._lost = np.zeros(shape, bool)
        self._active = np.zeros(shape, bool)
        self._members = np.zeros(shape, np.intp)
        self._goals = np.zeros(shape, np.int64)
        self._rewards = np.zeros(shape, np.float32)
        self._lengths = np.zeros(shape, np.int64)
        self._touched = np.zeros((*shape, self.options.landmarks), np.uint8)
        self._steps = np.zeros(self.copies, np.int64)
        self._marks = np.zeros(self.copies, np.uint16)
        self._episode = np.full(self.copies, -1, np.int64)
        self._present: list[_Planned | None] = [None] * self.copies
        self._planned: list[_Planned | None] = [None] * self.copies
        self._by_episode: dict[int, _Planned] = {}
        self._offers: list[OfferedEpisode] = []
        self._records: list[EpisodeRecord] = []

    # --- episodes ---------------------------------------------------------------------------------------------------------------------

    def layout(self, agent: str) -> Layout:
        """The same for all: landmarks, then other bodies, as (distance / room, bearing); the goal is not part of it."""
        if agent not in self._index:
            raise KeyError(agent)
        return self._layout

    def reset(self, seed: int | None = None, first_episode: int = 0) -> TickResult:
        """Start anew, and offer the first episode of every copy; the default seed is that of the constructor."""
        self._seed = self._seed if seed is None else seed
        self._schedule.clear()
        self._start_anew()
        self._next_episode = first_episode
        for copy in range(self.copies):
            self._plan(copy)
        shape = (self.copies, self.options.members)
        return self._outcome(np.zeros(shape, np.uint16), np.zeros(shape, np.float32))

    def _plan(self, copy: int) -> None:
        """Draw and offer the next episode of a copy, if enough agents are present."""
        self._planned[copy] = None
        members = self._pairing.draw(self._seed, self._next_episode)
        if members is None:
            return
        evaluation, assigned = self._schedule.draw()
        goal = assigned
        if assigned < 0 and self._supervisor is not None:
            goal = self._supervisor.goal(self._seed, self._next_episode)
        planned = _Planned(OfferedEpisode(self._next_episode, copy, members, evaluation, goal), assigned)
        if goal >= 0:
            planned.goals = dict.fromkeys(members, goal)
        self._next_episode += 1
        self._planned[copy] = self._by_episode[planned.offer.episode] = planned
        self._offers.append(planned.offer)

    def _start(self, copy: int, planned: _Planned) -> None:
        offer = planned.offer
        del self._by_episode[offer.episode]
        self._present[copy] = planned
        self._bodies.place(copy, episode_generator(self._seed, offer.episode, Stream.ENVIRONMENT))
        self._members[copy] = [self._index[agent] for agent in offer.members]
        self._goals[copy] = [planned.goals[agent] for agent in offer.members]
        self._rewards[copy] = self._lengths[copy] = self._steps[copy] = 0
        self._lost[copy] = False
        self._active[copy] = True
        self._running[copy] = True
        self._episode[copy] = offer.episode
        self._marks[copy] = Flag.MEMBER | (Flag.EVALUATION if offer.evaluation else 0)
        self._plan(copy)

    def _record(self, copy: int, touched: NDArray[np.uint8]) -> None:
        planned = self._present[copy]
        if planned is None:
            return
        self._records.append(
            EpisodeRecord(
                episode=planned.offer.episode,
                members=planned.offer.members,
                rewards=tuple(self._rewards[copy].tolist()),
                lengths=tuple(self._lengths[copy].tolist()),
                evaluation=planned.offer.evaluation,
                peer_lost=bool(self._lost[copy].any()),
                goals=tuple(self._goals[copy].tolist()),
                negotiated=planned.negotiated.issuperset(planned.offer.members),
                assigned=planned.assigned >= 0,
                touched=tuple(tuple(np.flatnonzero(body).tolist()) for body in touched),
            )
        )

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
            self._record(copy, self._touched[copy])
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

    def _outcome(
        self, flags: NDArray[np.uint16], reward: NDArray[np.float32], observation: NDArray[np.float32] | None = None
    ) -> TickResult:
        """Spread the rows of bodies `[K, M]` over agents `[A, K]`."""
        agents, copies = len(self.agents), self.copies
        flags_of = np.zeros((agents, copies), np.uint16)
        reward_of = np.zeros((agents, copies), np.float32)
        seen_by = np.zeros((agents, copies, self._layout.shape[0]), np.float32)
        touched_by = np.zeros((agents, copies, self.options.landmarks), np.uint8)
        goal_of = np.full((agents, copies), -1, np.int32)
        if observation is not None:
            row, slot = np.nonzero(flags)
            who = self._members[row, slot]
            flags_of[who, row] = flags[row, slot]
            reward_of[who, row] = reward[row, slot]
            seen_by[who, row] = observation[row, slot]
            touched_by[who, row] = self._touched[row, slot]
            goal_of[who, row] = self._goals[row, slot]
        batches = {name: AgentBatch(seen_by[i], reward_of[i], flags_of[i], touched_by[i], goal_of[i]) for name, i in self._index.items()}
        return TickResult(batches, self._episode.copy())

    # --- presence, goals, evaluation --------------------------------------------------------------------------------------------------

    def set_present(self, agents: Collection[str]) -> None:
        """Episodes that a member left end at the next tick; offered ones with absent members are redrawn under new numbers."""
        present = set(agents)
        self._pairing.set_present(present)
        here = np.array([agent in present for agent in self.agents])
        self._lost |= self._running[:, None] & ~here[self._members]
        self._lengths = np.where(self._lost & self._active, self._steps[:, None], self._lengths)
        self._active &= ~self._lost
        dropped: set[int] = set()
        for copy, planned in enumerate(self._planned):
            if planned is not None and not present.issuperset(planned.offer.members):
                del self._by_episode[planned.offer.episode]
                self._schedule.give_back(planned.offer.evaluation, planned.assigned)
                self._planned[copy] = None
                dropped.add(planned.offer.episode)
        self._offers = [offer for offer in self._offers if offer.episode not in dropped]
        for copy, planned in enumerate(self._planned):
            if planned is None:
                self._plan(copy)

    def offers(self) -> list[OfferedEpisode]:
        """Episodes drawn since the last call."""
        offers, self._offers = self._offers, []
        return offers

    def set_goal(self, episode: int, agent: str, goal: Goal, negotiated: bool) -> None:
        """A member's goal for an episode to come; the first value wins, unknown episodes and agents that are no members are ignored."""
        if not isinstance(goal, int) or not 0 <= goal < self.goal_space.count:
            raise ValueError(f"{agent} chose goal {goal} of {self.goal_space.count}")
        planned = self._by_episode.get(episode)
        if planned is None or agent in planned.goals or agent not in planned.offer.members:
            return
        planned.goals[agent] = goal
        if negotiated:
            planned.negotiated.add(agent)

    def waiting(self) -> list[tuple[int, str]]:
        """(episode, agent) whose missing goal keeps a copy idle now."""
        idle = np.flatnonzero(~self._running & ~self._just_over).tolist()
        plans = [planned for copy in idle if (planned := self._planned[copy]) is not None]
        return [(planned.offer.episode, agent) for planned in plans for agent in planned.missing]

    def evaluate(self, episodes: int, aligned: bool) -> None:
        """Let the next `episodes` draws be evaluations with goals of the members' choice, then, `aligned`, as many with assigned ones."""
        self._schedule.request(episodes, aligned)

    def finished(self) -> list[EpisodeRecord]:
        """Episodes that ended since the last call."""
        records, self._records = self._records, []
        return records

    def render(self, copy: int) -> NDArray[np.uint8]:
        """A picture `[height, width, 3]` of one arena; goals show while an episode runs."""
        from env_server.environments.landmarks.landmarks_rendering import draw

        sets = [self.goal_space.sets[goal] for goal in self._goals[copy].tolist()] if self._episode[copy] >= 0 else []
        return draw(self._bodies, copy, sets, self._active[copy])

    def close(self) -> None:
        """Nothing is held."""
