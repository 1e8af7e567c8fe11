"""K copies of a MiniGrid environment. Each belongs to one agent: several agents of one policy are several actors."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from minigrid.minigrid_env import MiniGridEnv
from numpy.typing import NDArray

from env_server.contracts import AgentBatch, Array, EpisodeRecord, Outcome
from env_server.minigrid.encoding import EncodedGrid
from env_server.minigrid.making import layout, maker
from env_server.minigrid.settings import MiniGridOptions
from env_server.minigrid.views import EgocentricViews
from env_server.schedule import episode_generator
from protocols.errors import ConfigurationError
from protocols.grids import AGENT, NOTHING, Grids
from protocols.messages import Flag, Layout
from protocols.seeds import Stream

SUCCESS = "success"
"""figure: share of the episodes that were rewarded"""
_MEMBER, _FIRST, _TERMINATED, _TRUNCATED, _OVER, _EVALUATION = (
    int(flag) for flag in (Flag.MEMBER, Flag.FIRST, Flag.TERMINATED, Flag.TRUNCATED, Flag.OVER, Flag.EVALUATION)
)
_NOT_CARRYING = (*NOTHING, 0)
_BARE_HANDED = (1, 0, 0)
"""what the agent's cell shows in its egocentric view while it carries nothing: an empty cell"""


class TooFewCopies(ConfigurationError):
    """Some agent would have no copy to play."""


def enough(agents: Sequence[str], copies: int) -> None:
    """`TooFewCopies` where not everybody would have one."""
    if copies < len(agents):
        raise TooFewCopies(
            f"every copy of a MiniGrid environment belongs to one agent, but {len(agents)} agents have {copies} copies: write at least "
            f"{len(agents)}"
        )


@dataclass
class _Game:
    """One copy: its environment, its grid, and the episode that it plays."""

    environment: MiniGridEnv
    grid: EncodedGrid
    total: float = 0.0
    length: int = 0
    evaluation: bool = False
    over: bool = True


class VectorMiniGrid:
    """The environments `minigrid:NAME` for a whole run; `VectorEnvironment`.

    Copy k is played by agent k mod N: in its rows alone is `Flag.MEMBER`. An observation is the bytes that `protocols.grids` describes. At
    the tick with `Flag.OVER` they are the grid in which the episode ended, at the next one that in which another begins. Every episode is
    seeded on its own from (seed, episode number), or, with `fix_layout`, always by the same number. Nobody's absence ends one: who says
    nothing turns left.
    """

    def __init__(self, name: str, options: MiniGridOptions, agents: Sequence[str], copies: int, seed: int = 0) -> None:
        enough(agents, copies)
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
        self._games = [_Game(first if k == 0 else make(), EncodedGrid(cells[k], opaque[k])) for k in range(copies)]
        self._rows = np.arange(copies)
        self._present = frozenset(self.agents)
        self._start_anew()

    def _start_anew(self) -> None:
        self._next_episode = 0
        self._episode = np.full(self.copies, -1, np.int64)
        self._x, self._y, self._direction = ([0] * self.copies for _ in range(3))
        self._carried = [_NOT_CARRYING] * self.copies
        self._records: list[EpisodeRecord] = []
        self._evaluations = dict.fromkeys(self.agents, 0)
        self._next_evaluated = 0
        for game in self._games:
            game.over = True

    def layout(self, agent: str) -> Layout:
        """The same for all."""
        if agent not in self.agents:
            raise KeyError(agent)
        return self._layout

    # --- a tick -----------------------------------------------------------------------------------------------------------------------

    def reset(self, seed: int | None = None, first_episode: int = 0) -> Outcome:
        """Start every copy anew; without a seed, with the one of the constructor."""
        self._seed = self._seed if seed is None else seed
        self._start_anew()
        self._next_episode = first_episode
        return self._tick([0] * self.copies)

    def step(self, actions: Mapping[str, Array]) -> Outcome:
        """One step of every copy by its own agent's action, or its reset where the last tick ended its episode."""
        chosen = np.zeros(self.copies, np.int64)
        for i, agent in enumerate(self.agents):
            if agent in actions:
                chosen[i :: len(self.agents)] = actions[agent][i :: len(self.agents), 0]
        most = self._layout.actions[0]
        if chosen.min() < 0 or chosen.max() >= most:
            raise ValueError(f"an action outside its range: there are {most}, counted from 0")
        return self._tick(chosen.tolist())

    def _tick(self, actions: list[int]) -> Outcome:
        reward = np.zeros(self.copies, np.float32)
        flags = np.full(self.copies, _MEMBER, np.uint16)
        for copy, game in enumerate(self._games):
            if game.over:
                self._begin(copy, game)
                mark = _FIRST
            else:
                earned, mark = self._advance(copy, game, actions[copy])
                reward[copy] = earned
            flags[copy] |= mark | (_EVALUATION if game.evaluation else 0)
            environment = game.environment
            self._x[copy], self._y[copy] = environment.agent_pos
            self._direction[copy] = environment.agent_dir
            thing = environment.carrying
            self._carried[copy] = _NOT_CARRYING if thing is None else thing.encode()
        return self._outcome(self._observation(), reward, flags)

    def _begin(self, copy: int, game: _Game) -> None:
        episode, self._next_episode = self._next_episode, self._next_episode + 1
        self._episode[copy] = episode
        game.total, game.length, game.over = 0.0, 0, False
        game.evaluation = self._is_evaluation(self._owner(copy))
        seed = self.options.layout_seed
        if not self.options.fix_layout:
            seed = int(episode_generator(self._seed, episode, Stream.ENVIRONMENT).integers(2**31))
        game.environment.reset(seed=seed)
        game.grid.reset(game.environment.grid)

    def _advance(self, copy: int, game: _Game, action: int) -> tuple[float, int]:
        """(reward, flags beside those of the copy)."""
        _, reward, terminated, truncated, _ = game.environment.step(action)
        game.grid.update(game.environment.grid)
        earned = float(reward)
        game.total += earned
        game.length += 1
        if not (terminated or truncated):
            return earned, 0
        game.over = True
        owner = self._owner(copy)
        self._records.append(
            EpisodeRecord(
                episode=int(self._episode[copy]),
                members=(owner,),
                rewards=(game.total,),
                lengths=(game.length,),
                evaluation=game.evaluation,
                figures={SUCCESS: float(game.total > 0)},
            )
        )
        ended = terminated or self.options.timeout == "terminal"
        return earned, _OVER | (_TERMINATED if ended else _TRUNCATED)

    def _observation(self) -> NDArray[np.uint8]:
        """`[K, D]`."""
        seen = np.empty((self.copies, self._grids.size), np.uint8)
        carried = np.array(self._carried, np.uint8)
        if self._grids.partial is not None:
            hands = np.where((carried == _NOT_CARRYING).all(axis=1, keepdims=True), np.array(_BARE_HANDED, np.uint8), carried)
            view = self._views.see(self._x, self._y, self._direction, hands)
            seen[:, self._grids.partial.cells] = view.reshape(self.copies, -1)
            seen[:, self._grids.partial.carried] = carried[:, :2]
        if self._grids.full is not None:
            cells = self._views.cells.copy()
            cells[self._rows, self._x, self._y, :2] = AGENT, 0
            cells[self._rows, self._x, self._y, 2] = self._direction
            seen[:, self._grids.full.cells] = cells.reshape(self.copies, -1)
            seen[:, self._grids.full.carried] = carried[:, :2]
        return seen

    def _outcome(self, seen: NDArray[np.uint8], reward: NDArray[np.float32], flags: NDArray[np.uint16]) -> Outcome:
        """Everybody's rows: those of its own copies, and zeros."""
        if len(self.agents) == 1:
            return Outcome({self.agents[0]: AgentBatch(seen, reward, flags)}, self._episode.copy())
        batches = {}
        for i, agent in enumerate(self.agents):
            own = self._rows % len(self.agents) == i
            batches[agent] = AgentBatch(seen * own[:, None], reward * own, flags * own)
        return Outcome(batches, self._episode.copy())

    def _owner(self, copy: int) -> str:
        return self.agents[copy % len(self.agents)]

    # --- presence, evaluation, figures, pictures --------------------------------------------------------------------------------------

    def set_present(self, agents: Collection[str]) -> None:
        """Who is there: evaluations that were meant for others become theirs."""
        self._present = frozenset(agents)
        self._deal(sum(self._evaluations.pop(agent) for agent in self.agents if agent not in self._present))

    def evaluate(self, episodes: int, aligned: bool) -> None:
        """Let the next `episodes` episodes that start be evaluations, equally many of every agent that is present (who is quick would else
        be evaluated more); there are no goals to align."""
        self._deal(episodes)

    def _deal(self, episodes: int) -> None:
        here = [agent for agent in self.agents if agent in self._present] or list(self.agents)
        self._evaluations = {agent: self._evaluations.get(agent, 0) for agent in self.agents}
        for _ in range(episodes):
            self._evaluations[here[self._next_evaluated % len(here)]] += 1
            self._next_evaluated += 1

    def _is_evaluation(self, agent: str) -> bool:
        if not self._evaluations[agent]:
            return False
        self._evaluations[agent] -= 1
        return True

    def finished(self) -> list[EpisodeRecord]:
        """Episodes that ended since the last call, with `success`."""
        records, self._records = self._records, []
        return records

    def render(self, copy: int) -> NDArray[np.uint8]:
        """A picture `[height, width, 3]` of one copy, 32 pixels a cell; what its agent sees is lighter, where it does not see all."""
        picture: NDArray[np.uint8] = self._games[copy].environment.get_frame(highlight=self.options.view != "full")
        return picture

    def close(self) -> None:
        """Close all environments."""
        while self._games:
            closing: Any = self._games.pop().environment
            closing.close()


def describe(name: str, options: MiniGridOptions) -> Layout:
    """The layout that `VectorMiniGrid` would have, from one short-lived environment."""
    environment: Any = maker(name, options)()
    try:
        return layout(environment, options)
    finally:
        environment.close()
