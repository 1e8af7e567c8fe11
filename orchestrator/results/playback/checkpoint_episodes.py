"""Episodes of one environment, played by agents from their checkpoints, all in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

import env_server.environments.registry as registry
from orchestrator.results.playback.checkpoint_sources import CheckpointSource
from orchestrator.results.playback.video import outlined
from protocols.runtime.errors import ConfigurationError, ExitCode, MurmurationError, ResourceError, UsageError, error_of
from protocols.runtime.user_code import located
from protocols.spaces.layout import Layout
from protocols.topology import edges

PLAYER = "agent_node.session.acting:PolicyPlayer"
"""the agents' side, loaded when it is needed as the nodes of a run are: it brings torch"""
FIRST_EPISODE = 2**40
"""episodes are seeded by their number: no run comes so far, so that nothing is played that was trained on"""
_PATIENCE = 1000
"""ticks without an episode after which none will come"""
_GOALS = "one goal given to all members of an episode, all goals in turn (nothing is negotiated)"

Array = NDArray[Any]


class PlaybackPolicy(Protocol):
    """Interface of an agent that plays from a checkpoint."""

    facts: dict[str, int]

    @property
    def goal(self) -> tuple[int, int, int, int] | None:
        """The cell (x, y) that it is after, if its goals are cells, and the sides (width, height) of the grid."""
        ...

    def act(self, observation: Array, reward: Array, flags: Array, episode: Array, achieved: Array | None, goal: Array | None) -> Array:
        """Actions `[K, A]` for what it receives after a tick."""
        ...


@dataclass(frozen=True)
class PlayedEpisode:
    """Result of one episode that was played from checkpoints."""

    members: tuple[str, ...]
    reward: float
    """the sum of all members' rewards, or the reward of the agent that was asked for"""
    length: int
    success: float | None
    """whether it was solved, as far as the environment reports it; with goals the share of members that were rewarded"""
    goal: str = ""
    """the goal that all members were given, or those of all members where they cannot share one"""


class CheckpointPlayback:
    """A run's environment with one copy, and its agents. In environments whose copies have one agent each, only the one asked for (the
    first, where none was) plays; in all others all agents do, and with an agent that was asked for, it is in every episode.
    """

    def __init__(self, source: CheckpointSource, greedy: bool, seed: int | None, pictures: bool) -> None:
        configuration = source.played or source.configuration
        settings = configuration.environment.model_copy(update={"copies": 1, "supervisor": None})
        self._id = settings.id
        self.seed = configuration.seed if seed is None else seed
        self.agent = source.agent
        names = configuration.agent_names()
        pairs = edges(configuration.network.topology, names, configuration.seed)
        if registry.is_single_player(settings):
            self.agent = source.agent or names[0]
            names = [self.agent]
        elif source.agent is not None:
            pairs = [pair for pair in pairs if source.agent in pair]
        self.checkpoints = {name: source.checkpoint(source.trained(name)) for name in names}
        self._environment = registry.create(registry.drawn(settings) if pictures else settings, names, pairs, self.seed)
        try:
            if pictures:
                self._check_pictures(settings.id)
            self._space = getattr(self._environment, "goal_space", None)
            party = int(getattr(self._environment, "episode_members", 0))
            import_module("torch").set_num_threads(1)  # one row at a time: more threads only wait for each other
            module, _, kind = PLAYER.partition(":")
            make = cast(Callable[..., PlaybackPolicy], getattr(import_module(module), kind))
            plain = source.configuration.model_dump(mode="json")
            if source.played is not None:  # as many entities as are observed there
                plain["agents"]["entities"] = source.played.model_dump(mode="json")["agents"]["entities"]
            layouts = {name: self._environment.layout(name) for name in names}
            self.players = {}
            for name in names:
                team = source.team_layouts(name, layouts)
                self.players[name] = make(source.trained(name), plain, team, self.checkpoints[name], greedy, self.seed, party)
        except BaseException:
            self._environment.close()
            raise

    @property
    def goals(self) -> str:
        """How goals come about; empty in environments without."""
        return _GOALS if self._space is not None else ""

    def layout(self, agent: str) -> Layout:
        """What a player of the agent sees and does; another one may take its place in `players`."""
        return self._environment.layout(agent)

    def _check_pictures(self, identifier: str) -> None:
        """`UsageError` where the environment can't be drawn, whatever its makers raise then."""
        try:
            self._environment.reset(self.seed, FIRST_EPISODE)
            self._environment.render(0)
        except Exception as error:
            why = f": {error}" if str(error) and not isinstance(error, ConfigurationError) else ""
            raise UsageError(f"--video: {identifier} draws no pictures of itself in memory (rgb_array){why}; leave out --video") from error

    def play(self, episodes: int, show: Callable[[NDArray[np.uint8]], None] | None = None) -> Iterator[PlayedEpisode]:
        """The episodes, one after the other; `show` gets the picture of every step of them."""
        environment = self._environment
        with closing(environment):
            with self._calling():
                outcome = environment.reset(self.seed, FIRST_EPISODE)
            played, idle = 0, 0
            while True:
                self._give_goals()
                idle = 0 if outcome.episode[0] >= 0 else idle + 1
                if idle > _PATIENCE:
                    raise ResourceError("no episode begins: the agents that are needed for one are not connected with one another")
                if played == episodes:
                    self._show(show)
                    return
                actions = {}
                for name, player in self.players.items():
                    own = outcome.agents[name]
                    actions[name] = player.act(own.observation, own.reward, own.flags, outcome.episode, own.achieved, own.goal)
                if not idle:
                    self._show(show)  # now that all agents have stated their goals
                with self._calling():
                    outcome = environment.step(actions)
                for record in environment.finished():
                    played += 1
                    yield self._played(record)

    @contextmanager
    def _calling(self) -> Iterator[None]:
        """What the environment raises becomes one error with its cause, exit code 20 as for a run whose environment server gives up."""
        try:
            yield
        except MurmurationError:
            raise
        except Exception as error:
            text = f"the environment {self._id} raised {located(error)}; correct it there, and check it by orchestrate check-env {self._id}"
            raise error_of(ExitCode.ENVIRONMENT, text) from error

    def _show(self, show: Callable[[NDArray[np.uint8]], None] | None) -> None:
        if show is None:
            return
        picture = self._environment.render(0)
        goals = [player.goal for player in self.players.values()]
        sides = next((goal[2:] for goal in goals if goal is not None), None)
        show(picture if sides is None else outlined(picture, [goal and goal[:2] for goal in goals], *sides))

    def _give_goals(self) -> None:
        if self._space is None:
            return
        environment: Any = self._environment
        for offer in environment.offers():
            number = offer.episode - FIRST_EPISODE
            random = np.random.default_rng((self.seed, number))
            for place, member in enumerate(offer.members):
                if self._space.count:
                    goal = (number + (0 if self._space.common else place)) % self._space.count
                else:
                    goal = self._space.draw(random)
                environment.set_goal(offer.episode, member, goal, False)

    def _goal_text(self, record: Any) -> str:
        space: Any = self._space
        if not space.count:
            return str(space.name(record.goals[0]))
        return " ".join(space.label(goal) for goal in (record.goals[:1] if space.common else record.goals))

    def _played(self, record: Any) -> PlayedEpisode:
        rewards: Sequence[float] = record.rewards
        members: tuple[str, ...] = record.members
        success = record.metrics.get("success")
        if self._space is not None:
            success = float(np.mean(record.reached or [reward > 0 for reward in rewards]))
        goal = self._goal_text(record) if self._space is not None and record.goals else ""
        total = sum(rewards) if self.agent is None else rewards[members.index(self.agent)]
        return PlayedEpisode(members, float(total), max(record.lengths, default=0), success, goal)
