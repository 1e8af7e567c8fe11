"""K environments with PettingZoo's Parallel API, behind the vector contract: automatic reset, and one flag word per agent and copy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from env_server.adapters.frame_skip import FrameSkip
from env_server.adapters.image_observations import ImageEncoder
from env_server.adapters.observation_flattening import short_name
from env_server.adapters.parallel_conversions import TurnBasedParallel, episode_limit
from env_server.adapters.space_translation import MASK, Translation, mask_vector, observes_mask, translate
from env_server.environments.environment_contracts import AgentBatch, Array, EpisodeRecord, TickResult
from env_server.environments.environment_factory import problem
from env_server.environments.episode_schedule import HoldableCopies, episode_generator
from env_server.goals.achieved_goals import AchievedGoals
from env_server.settings import ImageSettings
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.errors import ConfigurationError
from protocols.runtime.seeds import Stream
from protocols.spaces.action_masks import legal_choices

_MEMBER, _FIRST, _OVER, _PARKED = int(Flag.MEMBER), int(Flag.FIRST), int(Flag.OVER), int(Flag.PARKED)
_TERMINATED, _TRUNCATED, _EVALUATION = int(Flag.TERMINATED), int(Flag.TRUNCATED), int(Flag.EVALUATION)
_WAITING = int(Flag.WAITING)


def translations(
    environment: Any, agents: Sequence[str], masks: Mapping[Any, int] | None = None, images: ImageSettings | None = None
) -> dict[str, Translation]:
    """Layouts and action codecs per agent of the run, which plays the environment's agent of the same place in `possible_agents`. `masks`:
    what `masks_in_infos` returns."""
    possible = getattr(environment, "possible_agents", None)
    if not possible:
        raise ConfigurationError("the environment does not list its agents: give it the attribute possible_agents")
    if len(possible) != len(agents):
        raise problem(
            f"the environment has {len(possible)} agents ({', '.join(map(str, possible[:8]))}{', ...' if len(possible) > 8 else ''}) but "
            f"agents.count is {len(agents)}: set agents.count to {len(possible)}, or change the environment's own number in "
            "environment.options",
            "agents",
            "count",
        )
    table = {}
    for agent, name in zip(agents, possible, strict=True):
        who, seen, done = f"{agent} ({name})", environment.observation_space(name), environment.action_space(name)
        table[agent] = translate(who, seen, done, bool(masks), images)
        size, choices = (masks or {}).get(name), table[agent].layout.mask_size
        if size is not None and choices and not observes_mask(seen) and size != choices:
            text = f"the info of {who} has an {MASK} of {size} numbers, and its actions have {choices} choices"
            raise ConfigurationError(f"{text}: give one number for each choice")
    return table


def masks_in_infos(environment: Any, seed: int) -> dict[Any, int]:
    """Sizes of the action masks in the infos of a reset with that seed, by the environment's agents; empty where observations have the
    masks, and where no actions are discrete."""
    possible = getattr(environment, "possible_agents", None) or []
    if any(observes_mask(environment.observation_space(name)) for name in possible):
        return {}
    if all(isinstance(environment.action_space(name), Box) for name in possible):
        return {}
    _, infos = environment.reset(seed=seed)
    return {name: mask_vector(info[MASK]).size for name, info in infos.items() if info.get(MASK) is not None}


def _flattened(environment: Any, agents: Sequence[str]) -> dict[str, str]:
    """Observation spaces, as text, of the agents whose observations are no arrays, or arrays of numbers with several axes."""
    found = {agent: environment.observation_space(name) for agent, name in zip(agents, environment.possible_agents, strict=True)}
    return {
        agent: short_name(space)
        for agent, space in found.items()
        if not (isinstance(space, Box) and (len(space.shape) < 2 or space.dtype == np.uint8))
    }


class _AgentSlot:
    """One agent of the run in all copies: its name on both sides, its newest observations, what it earned."""

    def __init__(self, agent: str, name: Any, translation: Translation, copies: int) -> None:
        self.agent, self.name, self.translation = agent, name, translation
        layout = translation.layout
        self.encode = translation.encode
        self.frames = translation.frames
        self.observation: Array = np.zeros((copies, *layout.shape), np.uint8 if layout.dtype == "u1" else np.float32)
        self.total = [0.0] * copies
        self.length = [0] * copies
        self.active = [False] * copies
        self.joined = [False] * copies
        self.begun = [False] * copies
        """the agent has been on turn in the episode (always, where agents act simultaneously)"""
        self.actions: list[Any] = [translation.null] * copies
        self.reward = [0.0] * copies
        self.flags = [0] * copies
        self.achieved: Array | None = None
        self.desired: Array | None = None

    def see(self, copy: int, observation: Any, info: Mapping[str, Any], first: bool = False) -> None:
        """Take an observation; `first`: its part of an episode begins, and a stack of frames is filled with it."""
        seen, whole = observation if self.encode is None else self.encode(observation, info), self.observation[copy]
        if self.frames == 1:
            self.observation[copy] = seen
        elif first:
            whole[:] = np.tile(seen, self.frames)
        else:
            channels = seen.shape[-1]
            whole[..., :-channels] = whole[..., channels:].copy()
            whole[..., -channels:] = seen

    def measure(self, copy: int, goals: AchievedGoals, environment: Any, observation: Any, info: Mapping[str, Any]) -> None:
        """Note what its body achieves."""
        row = goals.one(environment, self.name, observation, info)
        if self.achieved is None:
            self.achieved = np.zeros((len(self.total), *row.shape), row.dtype)
        self.achieved[copy] = row

    def accept(self, copy: int, goal: Array) -> None:
        """Note the goal that the environment sets."""
        if self.desired is None:
            self.desired = np.zeros((len(self.total), *goal.shape), goal.dtype)
        self.desired[copy] = goal


class ParallelCopies(HoldableCopies):
    """`copies` environments made by `make`, stepped one after the other.

    Every episode is seeded on its own from (seed, episode number). An agent whose part ended keeps its last observation, with
    `Flag.PARKED`, until the episode is over. Absent agents do nothing, and their episodes go on. `goals`: measures what bodies achieve;
    `desired`: the environment sets the goals; `masks`: of actions, in infos (`masks_in_infos`);
    `images`: how images are prepared, None: by the default settings; `metrics`: keys of infos whose
    numbers are averaged over episodes.

    Where agents take turns (`TurnBasedParallel`) each step is the move of one agent; the others have `Flag.WAITING`. The flag `FIRST` of an
    agent stands at its first turn, and each of its rewards is the sum since its turn before; what is paid before the first turn counts
    for nothing.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        agents: Sequence[str],
        copies: int,
        seed: int = 0,
        goals: AchievedGoals | None = None,
        desired: bool = False,
        masks: Mapping[Any, int] | None = None,
        images: ImageSettings | None = None,
        metrics: Sequence[str] = (),
    ) -> None:
        self._goals, self._desired, self._metrics = goals, desired, tuple(metrics)
        self._environments: list[Any] = []
        try:
            for _ in range(copies):
                self._environments.append(make())
            self._table = translations(self._environments[0], agents, masks, images)
            skip = 1
            if images is not None and FrameSkip.needed(images):
                self._refuse_frames(images)
                self._environments = [FrameSkip(environment, images) for environment in self._environments]
                skip = images.frame_skip
            self.reduced_images = {
                agent: encoder.source
                for agent, translation in self._table.items()
                if isinstance(encoder := translation.encode, ImageEncoder) and encoder.source[:2] != encoder.shape[:2]
            }
            self.flattened = _flattened(self._environments[0], agents)
            self.turn_based = isinstance(self._environments[0], TurnBasedParallel)
            limit = episode_limit(self._environments[0])
            self.episode_limit = None if limit is None else -(-limit // skip)
        except BaseException:
            self.close()
            raise
        super().__init__({agent: translation.layout for agent, translation in self._table.items()}, copies, seed)
        self._start_anew()

    def _refuse_frames(self, images: ImageSettings) -> None:
        """`EnvironmentProblem` where an action cannot be repeated: it may be illegal then."""
        if images.frame_skip == 1 and images.sticky_actions == 0:
            return
        key = "frame_skip" if images.frame_skip > 1 else "sticky_actions"
        if isinstance(self._environments[0], TurnBasedParallel):
            text = "the agents act in turns, and an action of another turn is not repeated"
        elif any(translation.layout.mask for translation in self._table.values()):
            text = "the actions have a mask, and a repeated action may be illegal"
        else:
            return
        raise problem(f"{text}; write {0 if key == 'sticky_actions' else 1}", "environment", "images", key)

    def _start_anew(self, first_episode: int = 0) -> None:
        super()._start_anew(first_episode)
        possible = self._environments[0].possible_agents
        self._seats = [_AgentSlot(agent, name, self._table[agent], self.copies) for agent, name in zip(self.agents, possible, strict=True)]
        self._base = [_MEMBER] * self.copies
        self._steps = [0] * self.copies
        self._infos: list[dict[str, list[float]]] = [{} for _ in range(self.copies)]
        """numbers of the running episode by their keys"""

    def step(self, actions: Mapping[str, Array]) -> TickResult:
        """One step of every copy, or its reset where the last tick ended its episode."""
        for seat in self._seats:
            given = actions.get(seat.agent)
            seat.actions = self._idle(seat) if given is None else seat.translation.decode(given)
            seat.reward = [0.0] * self.copies
        for copy, environment in enumerate(self._environments):
            if not self._over[copy]:
                self._advance(copy, environment)
            elif self._hold[copy]:
                self._episode[copy] = -1
                for seat in self._seats:
                    seat.flags[copy] = 0
            else:
                self._begin(copy, environment)
        return TickResult({seat.agent: self._batch(seat) for seat in self._seats}, self._episode.copy())

    def _idle(self, seat: _AgentSlot) -> list[Any]:
        """Actions of an agent for which none are given: the null action, or where it is masked the first legal choices."""
        layout = seat.translation.layout
        if not layout.mask:
            return [seat.translation.null] * self.copies
        choices = legal_choices(seat.observation[:, -layout.mask_size :], layout.actions)
        return seat.translation.decode(np.stack([legal.argmax(axis=1) for legal in choices], axis=1))

    def _batch(self, seat: _AgentSlot) -> AgentBatch:
        achieved = desired = None
        if self._goals is not None:
            space = self._goals.space
            achieved = np.zeros((self.copies, space.achieved_size), space.achieved_dtype) if seat.achieved is None else seat.achieved.copy()
            desired = None if seat.desired is None else seat.desired.copy()
        return AgentBatch(seat.observation.copy(), np.array(seat.reward, np.float32), np.array(seat.flags, np.uint16), achieved, desired)

    def _begin(self, copy: int, environment: Any) -> None:
        """Reset one copy; agents that take no part in the episode (yet) are no members."""
        episode = self._next_number(copy)
        evaluation, _ = self._schedule.draw()
        self._base[copy] = _MEMBER | (_EVALUATION if evaluation else 0)
        self._steps[copy], self._infos[copy] = 0, {}
        seed = int(episode_generator(self._seed, episode, Stream.ENVIRONMENT).integers(2**31))
        observations, infos = environment.reset(seed=seed)
        turns = isinstance(environment, TurnBasedParallel)
        for seat in self._seats:
            here = seat.name in (environment.agents if turns else observations)
            seat.active[copy] = seat.joined[copy] = here
            seat.begun[copy] = begins = here and seat.name in observations
            seat.total[copy], seat.length[copy] = 0.0, 0
            seat.flags[copy] = self._base[copy] | (_FIRST if begins else _WAITING) if here else 0
            if begins:
                seat.see(copy, observations[seat.name], infos.get(seat.name, {}), first=True)
                self._measure(copy, seat, environment, observations, infos)
                if self._goals is not None and self._desired:
                    seat.accept(copy, self._goals.desired(infos.get(seat.name, {})))

    def _measure(self, copy: int, seat: _AgentSlot, environment: Any, observations: Mapping[str, Any], infos: Mapping[str, Any]) -> None:
        if self._goals is not None:
            inside = getattr(environment, "unwrapped", environment)
            seat.measure(copy, self._goals, inside, observations[seat.name], infos.get(seat.name, {}))

    def _advance(self, copy: int, environment: Any) -> None:
        """Step one copy with the actions of the agents whose part goes on."""
        seats = self._seats
        observations, rewards, terminations, truncations, infos = environment.step(
            {seat.name: seat.actions[copy] for seat in seats if seat.active[copy]}
        )
        self._steps[copy] += 1
        left, turns = environment.agents, isinstance(environment, TurnBasedParallel)
        base, over = self._base[copy], 0 if left else _OVER
        earlier = environment.earlier if isinstance(environment, FrameSkip) else {}
        for seat in seats:
            name = seat.name
            if not seat.active[copy]:
                flags = (base | _PARKED) if seat.joined[copy] else 0
                if name in left:  # an agent enters, or returns, in the middle of an episode
                    seat.active[copy] = seat.joined[copy] = True
                    seat.begun[copy] = name in observations
                    if seat.begun[copy]:
                        seat.see(copy, observations[name], infos.get(name, {}), first=True)
                    flags = base | (_FIRST if seat.begun[copy] else _WAITING)
                seat.flags[copy] = flags | over if flags else 0
                continue
            flags = base | over
            if name in observations:
                for frame in earlier.get(name, ())[1 - seat.frames :] if seat.frames > 1 else ():
                    seat.see(copy, frame, {})
                seat.see(copy, observations[name], infos.get(name, {}))
                self._measure(copy, seat, environment, observations, infos)
                if not seat.begun[copy] and name in left:
                    flags |= _FIRST
                    rewards = {**rewards, name: 0.0}
                seat.begun[copy] = True
            elif turns and name in left:
                flags |= _WAITING
            seat.reward[copy] = reward = float(rewards.get(name, 0.0))
            seat.total[copy] += reward
            if name not in left:
                flags |= _TRUNCATED if truncations.get(name, False) and not terminations.get(name, False) else _TERMINATED
                seat.active[copy] = False
                seat.length[copy] = self._steps[copy]
            seat.flags[copy] = flags
        self._note(copy, infos)
        if over:
            self._over[copy] = True
            self._record(copy)

    def _note(self, copy: int, infos: Mapping[str, Any]) -> None:
        for key in self._metrics:
            for info in infos.values():
                value = info.get(key)
                if isinstance(value, (bool, int, float, np.number, np.bool_)) and np.isfinite(value):
                    self._infos[copy].setdefault(key, []).append(float(value))

    def _record(self, copy: int) -> None:
        members = [seat for seat in self._seats if seat.joined[copy]]
        self._records.append(
            EpisodeRecord(
                episode=int(self._episode[copy]),
                members=tuple(seat.agent for seat in members),
                rewards=tuple(seat.total[copy] for seat in members),
                lengths=tuple(seat.length[copy] for seat in members),
                evaluation=bool(self._base[copy] & _EVALUATION),
                metrics={f"info.{key}": float(np.mean(values)) for key, values in self._infos[copy].items()},
            )
        )

    def set_present(self, agents: Collection[str]) -> None:
        """Nothing changes: the others continue, and absent agents do nothing."""

    def render(self, copy: int) -> NDArray[np.uint8]:
        """The environment's own picture; it must have been made with `render_mode: rgb_array`."""
        picture = self._environments[copy].render()
        if not isinstance(picture, np.ndarray):
            raise ConfigurationError("the environment draws no pictures: set environment.options.render_mode to rgb_array")
        return picture

    def close(self) -> None:
        """Close the environments of all copies."""
        while self._environments:
            self._environments.pop().close()
