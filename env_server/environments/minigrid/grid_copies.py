"""K copies of a MiniGrid environment and their episodes, independent of the number of agents in a copy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from minigrid.minigrid_env import MiniGridEnv
from numpy.typing import NDArray

from env_server.environments.environment_contracts import Array, EpisodeRecord, TickResult
from env_server.environments.episode_schedule import episode_generator
from env_server.environments.minigrid.egocentric_views import EgocentricViews
from env_server.environments.minigrid.grid_construction import layout, maker
from env_server.environments.minigrid.grid_encoding import EncodedGrid
from env_server.environments.minigrid.settings import MiniGridOptions
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.seeds import Stream
from protocols.spaces.grid_space import NOTHING, Grids
from protocols.spaces.layout import Layout

SUCCESS = "success"
"""metric: share of the episodes that were rewarded"""
NOT_CARRYING = (*NOTHING, 0)
_BARE_HANDED = np.array((1, 0, 0), np.uint8)
"""what the agent's cell shows in its egocentric view while it carries nothing: an empty cell"""
_MEMBER, _FIRST, _TERMINATED, _TRUNCATED, _OVER, _EVALUATION = (
    int(flag) for flag in (Flag.MEMBER, Flag.FIRST, Flag.TERMINATED, Flag.TRUNCATED, Flag.OVER, Flag.EVALUATION)
)


@dataclass
class Game:
    """One copy: its environment, its grid, and the episode that it plays."""

    environment: MiniGridEnv
    grid: EncodedGrid
    members: tuple[str, ...] = ()
    earned: list[float] = field(default_factory=list)
    """by each member, so far"""
    length: int = 0
    evaluation: bool = False
    over: bool = True


class MiniGridCopies(ABC):
    """The environments `minigrid:NAME` for a whole run; `VectorEnvironment`.

    An observation is the bytes that `protocols.spaces.grid_space` describes. At the tick with `Flag.OVER` they are the grid in which the
    episode ended,
    at the next one that in which another begins. Every episode is seeded on its own from (seed, episode number), or, with `fix_layout`,
    always by the same number.
    """

    def __init__(self, name: str, options: MiniGridOptions, agents: Sequence[str], copies: int, seed: int = 0) -> None:
        self.options = options
        self.agents = tuple(agents)
        self.copies = copies
        self._seed = seed
        make = maker(name, options)
        first = make()
        self._layout = layout(first, options)
        if self._layout.grid is None:
            raise ValueError("a MiniGrid environment without a grid")
        self._grids = Grids.from_info(self._layout.grid)
        self._views = EgocentricViews(copies, first.width, first.height, first.agent_view_size, first.see_through_walls)
        cells, opaque = self._views.cells, self._views.opaque
        self._games = [Game(first if k == 0 else make(), EncodedGrid(cells[k], opaque[k])) for k in range(copies)]
        self._rows = np.arange(copies)
        self._hold = np.zeros(copies, bool)
        self._start_anew()

    def _start_anew(self) -> None:
        self._next_episode = 0
        self._episode = np.full(self.copies, -1, np.int64)
        self._records: list[EpisodeRecord] = []
        for game in self._games:
            game.over = True

    def layout(self, agent: str) -> Layout:
        """The same for all."""
        if agent not in self.agents:
            raise KeyError(agent)
        return self._layout

    # --- what depends on the number of agents -------------------------------------------------------------------------------------------

    @abstractmethod
    def _choose(self, actions: Mapping[str, Array]) -> None:
        """Take the actions of the next tick, and reset the rewards of the last one."""

    @abstractmethod
    def _invite(self, copy: int, game: Game) -> None:
        """An episode begins: set `game.members`, and `game.evaluation`."""

    @abstractmethod
    def _enter(self, copy: int, game: Game, level: int) -> None:
        """The layout drawn by the seed `level` is there, with the place of one agent in it."""

    @abstractmethod
    def _act(self, copy: int, game: Game) -> tuple[bool, bool]:
        """Let the members act, and add to `game.earned`: (terminated, steps used up)."""

    @abstractmethod
    def _look(self, copy: int, game: Game) -> None:
        """Store the position of each agent."""

    @abstractmethod
    def _outcome(self, flags: NDArray[np.uint16]) -> TickResult:
        """What all agents get of the tick; `flags[K]` are those of the members of each copy."""

    @abstractmethod
    def _episode_metrics(self, game: Game) -> dict[str, float]:
        """Metrics of a finished episode, besides `success`."""

    @abstractmethod
    def set_present(self, agents: Collection[str]) -> None:
        """Set the agents that are present."""

    @abstractmethod
    def evaluate(self, episodes: int, aligned: bool) -> None:
        """Let the next `episodes` episodes that start be evaluations; there are no goals to align."""

    @abstractmethod
    def render(self, copy: int) -> NDArray[np.uint8]:
        """A picture `[height, width, 3]` of one copy, 32 pixels a cell; what is seen of it is lighter, where not all is."""

    # --- a tick -----------------------------------------------------------------------------------------------------------------------

    def reset(self, seed: int | None = None, first_episode: int = 0) -> TickResult:
        """Start every copy anew; without a seed, with the one of the constructor."""
        self._seed = self._seed if seed is None else seed
        self._start_anew()
        self._next_episode = first_episode
        return self.step({})

    def step(self, actions: Mapping[str, Array]) -> TickResult:
        """One step of every copy by `actions[agent][K, 1]`, or its reset where the last tick ended its episode. Agents without an
        action turn left."""
        self._choose(actions)
        flags = np.full(self.copies, _MEMBER, np.uint16)
        for copy, game in enumerate(self._games):
            if game.over and self._hold[copy]:
                flags[copy], self._episode[copy] = 0, -1
                continue
            if game.over:
                self._begin(copy, game)
                mark = _FIRST
            else:
                mark = self._advance(copy, game)
            flags[copy] |= mark | (_EVALUATION if game.evaluation else 0)
            self._look(copy, game)
        return self._outcome(flags)

    def hold(self, copies: NDArray[np.bool_]) -> None:
        """These copies `[K]` begin no episode until the next call."""
        self._hold = copies.copy()

    def abandon(self, copies: NDArray[np.bool_]) -> None:
        """The running episodes of these copies `[K]` are over, without a record."""
        for copy in np.flatnonzero(copies).tolist():
            self._games[copy].over = True

    @abstractmethod
    def seats(self, copy: int) -> tuple[str, ...]:
        """Agents that can be members of a copy's episodes."""

    def _in_range(self, chosen: NDArray[np.int64]) -> list[Any]:
        """The same as a list. `ValueError` for an action out of range."""
        most = self._layout.actions[0]
        if chosen.min() < 0 or chosen.max() >= most:
            raise ValueError(f"an action outside its range: there are {most}, counted from 0")
        listed: list[Any] = chosen.tolist()
        return listed

    def _begin(self, copy: int, game: Game) -> None:
        episode, self._next_episode = self._next_episode, self._next_episode + 1
        self._episode[copy] = episode
        self._invite(copy, game)
        game.earned, game.length, game.over = [0.0] * len(game.members), 0, False
        level = self.options.layout_seed
        if not self.options.fix_layout:
            level = int(episode_generator(self._seed, episode, Stream.ENVIRONMENT).integers(2**31))
        game.environment.reset(seed=level)
        self._enter(copy, game, level)
        game.grid.reset(game.environment.grid)

    def _advance(self, copy: int, game: Game) -> int:
        """Flags beside those of the copy."""
        terminated, truncated = self._act(copy, game)
        game.grid.update(game.environment.grid)
        game.length += 1
        if not (terminated or truncated):
            return 0
        self._end(copy, game)
        ended = terminated or self.options.timeout == "terminal"
        return _OVER | (_TERMINATED if ended else _TRUNCATED)

    def _end(self, copy: int, game: Game) -> None:
        """Its episode is over."""
        game.over = True
        self._records.append(
            EpisodeRecord(
                episode=int(self._episode[copy]),
                members=game.members,
                rewards=tuple(game.earned),
                lengths=(game.length,) * len(game.members),
                evaluation=game.evaluation,
                metrics={SUCCESS: float(sum(game.earned) > 0)} | self._episode_metrics(game),
            )
        )

    @staticmethod
    def _in_hands(carried: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What the own cell of the egocentric view shows, from the codes `[K, 3]` of what is carried."""
        return np.where((carried == NOT_CARRYING).all(axis=1, keepdims=True), _BARE_HANDED, carried)

    # --- metrics, closing -------------------------------------------------------------------------------------------------------------

    def finished(self) -> list[EpisodeRecord]:
        """Episodes that ended since the last call, with what each member earned itself, and `success`."""
        records, self._records = self._records, []
        return records

    def close(self) -> None:
        """Close all environments."""
        while self._games:
            closing: Any = self._games.pop().environment
            closing.close()


def describe(name: str, options: MiniGridOptions) -> Layout:
    """The layout that the copies would have, from one short-lived environment."""
    environment: Any = maker(name, options)()
    try:
        return layout(environment, options)
    finally:
        environment.close()
