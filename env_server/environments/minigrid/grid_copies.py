"""K copies of a MiniGrid environment: their episodes, independent of the number of agents in a copy, and copies that belong to one agent
each (several agents of one policy are several actors)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from minigrid.minigrid_env import MiniGridEnv
from numpy.typing import NDArray

from env_server.environments.environment_contracts import AgentBatch, Array, EpisodeRecord, TickResult
from env_server.environments.environment_factory import problem
from env_server.environments.episode_schedule import HoldableCopies, episode_generator
from env_server.environments.minigrid.grid_construction import layout, maker
from env_server.environments.minigrid.grid_encoding import EgocentricViews, EncodedGrid
from env_server.environments.minigrid.settings import MiniGridOptions
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.seeds import Stream
from protocols.spaces.grid_space import AGENT, NOTHING

SUCCESS = "success"
"""metric: share of the episodes that were rewarded"""
NOT_CARRYING = (*NOTHING, 0)
_BARE_HANDED = np.array((1, 0, 0), np.uint8)
"""what the agent's cell shows in its egocentric view while it carries nothing: an empty cell"""
_UP = 3
"""where one looks in one's own egocentric view"""
Places = tuple[NDArray[Any], ...]
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


class MiniGridCopies(HoldableCopies):
    """The environments `minigrid:NAME` for a whole run; all agents have the same layout.

    An observation is the bytes that `protocols.spaces.grid_space` describes. At the tick with `Flag.OVER` they are the grid in which the
    episode ended,
    at the next one that in which another begins. Every episode is seeded on its own from (seed, episode number), or, with `fix_layout`,
    always by the same number.
    """

    def __init__(self, name: str, options: MiniGridOptions, agents: Sequence[str], copies: int, seed: int = 0) -> None:
        make = maker(name, options)
        first = make()
        seen, self._grids = layout(first, options)
        super().__init__(dict.fromkeys(agents, seen), copies, seed)
        self.options = options
        self._most = seen.actions[0]
        self._views = EgocentricViews(copies, first.width, first.height, first.agent_view_size, first.see_through_walls)
        cells, opaque = self._views.cells, self._views.opaque
        self._games = [Game(first if k == 0 else make(), EncodedGrid(cells[k], opaque[k])) for k in range(copies)]
        self._rows = np.arange(copies)
        self._start_anew()

    # --- what depends on the number of agents -------------------------------------------------------------------------------------------

    @abstractmethod
    def _choose(self, actions: Mapping[str, Array]) -> None:
        """Take the actions of the next tick, and reset the rewards of the last one."""

    @abstractmethod
    def _invite(self, copy: int) -> tuple[tuple[str, ...], bool]:
        """An episode begins: its members, and whether it is an evaluation."""

    @abstractmethod
    def _act(self, copy: int, game: Game) -> tuple[bool, bool]:
        """Let the members act, and add to `game.earned`: (terminated, steps used up)."""

    @abstractmethod
    def _look(self, copy: int, game: Game) -> None:
        """Store the position of each agent."""

    @abstractmethod
    def _outcome(self, flags: NDArray[np.uint16]) -> TickResult:
        """What all agents get of the tick; `flags[K]` are those of the members of each copy."""

    def _episode_metrics(self, game: Game) -> dict[str, float]:
        """Metrics of a finished episode, besides `success`."""
        return {}

    # --- a tick -----------------------------------------------------------------------------------------------------------------------

    def step(self, actions: Mapping[str, Array]) -> TickResult:
        """One step of every copy by `actions[agent][K, 1]`, or its reset where the last tick ended its episode. Agents without an
        action turn left."""
        self._choose(actions)
        flags = np.full(self.copies, _MEMBER, np.uint16)
        for copy, game in enumerate(self._games):
            if self._over[copy] and self._hold[copy]:
                flags[copy], self._episode[copy] = 0, -1
                continue
            if self._over[copy]:
                self._begin(copy, game)
                mark = _FIRST
            else:
                mark = self._advance(copy, game)
            flags[copy] |= mark | (_EVALUATION if game.evaluation else 0)
            self._look(copy, game)
        return self._outcome(flags)

    def _in_range(self, chosen: NDArray[np.int64]) -> list[Any]:
        """The same as a list. `ValueError` for an action out of range."""
        if chosen.min() < 0 or chosen.max() >= self._most:
            raise ValueError(f"an action outside its range: there are {self._most}, counted from 0")
        listed: list[Any] = chosen.tolist()
        return listed

    def _begin(self, copy: int, game: Game) -> int:
        """The next episode of a copy; the seed of its layout."""
        episode = self._next_number(copy)
        game.members, game.evaluation = self._invite(copy)
        game.earned, game.length = [0.0] * len(game.members), 0
        level = self.options.layout_seed
        if not self.options.fix_layout:
            level = int(episode_generator(self._seed, episode, Stream.ENVIRONMENT).integers(2**31))
        game.environment.reset(seed=level)
        game.grid.reset(game.environment.grid)
        return level

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
        self._over[copy] = True
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

    def _observation(
        self, place: NDArray[np.int64], carried: NDArray[np.uint8], beside: tuple[Places, NDArray[np.int64]] | None = None
    ) -> NDArray[np.uint8]:
        """`[K, D]` by an agent at `place[K, 3]` (x, y, direction) with the codes `carried[K, 3]` of what it carries, `beside` n other
        bodies: their cells (copy, x, y), and their codes `[n, 3]`."""
        seen = np.empty((self.copies, self._grids.size), np.uint8)
        x, y, direction = place.T
        cells = self._views.cells
        if self._grids.partial is not None:
            if beside is not None:
                others, bodies = beside
                below = cells[others]
                cells[others] = np.stack([*bodies.T[:2], (bodies[:, 2] - direction[others[0]] + _UP) % 4], axis=1)
            in_hands = np.where((carried == NOT_CARRYING).all(axis=1, keepdims=True), _BARE_HANDED, carried)
            view = self._views.see(x, y, direction, in_hands)
            if beside is not None:
                cells[others] = below
            seen[:, self._grids.partial.cells] = view.reshape(self.copies, -1)
            seen[:, self._grids.partial.carried] = carried[:, :2]
        if self._grids.full is not None:
            alone = cells.copy()
            alone[self._rows, x, y, :2] = AGENT, 0
            alone[self._rows, x, y, 2] = direction
            seen[:, self._grids.full.cells] = alone.reshape(self.copies, -1)
            seen[:, self._grids.full.carried] = carried[:, :2]
            if self._grids.crowd is not None and beside is not None:
                alone[beside[0]] = beside[1]
                seen[:, self._grids.crowd.cells] = alone.reshape(self.copies, -1)
                seen[:, self._grids.crowd.carried] = carried[:, :2]
        return seen

    def close(self) -> None:
        """Close all environments."""
        while self._games:
            closing: Any = self._games.pop().environment
            closing.close()


def require_enough_copies(agents: Sequence[str], copies: int) -> None:
    """`EnvironmentProblem` where an agent would have no copy to play."""
    if copies < len(agents):
        raise problem(
            f"every copy of a MiniGrid environment belongs to one agent, but {len(agents)} agents have {copies} copies: write at least "
            f"{len(agents)}, or options.players: all",
            "environment",
            "copies",
        )


class VectorMiniGrid(MiniGridCopies):
    """`players: one`. Copy k is played by agent k mod N: in its rows alone is `Flag.MEMBER`. An episode goes on when its agent is
    absent: the agent then turns left."""

    def __init__(self, name: str, options: MiniGridOptions, agents: Sequence[str], copies: int, seed: int = 0) -> None:
        require_enough_copies(agents, copies)
        self._present = frozenset(agents)
        super().__init__(name, options, agents, copies, seed)

    def _start_anew(self, first_episode: int = 0) -> None:
        super()._start_anew(first_episode)
        self._place = [(0, 0, 0)] * self.copies
        """x, y, direction"""
        self._carried = [NOT_CARRYING] * self.copies
        self._evaluations = dict.fromkeys(self.agents, 0)
        self._next_evaluated = 0

    def seats(self, copy: int) -> tuple[str, ...]:
        """The one agent that owns the copy."""
        return (self._owner(copy),)

    def _owner(self, copy: int) -> str:
        return self.agents[copy % len(self.agents)]

    # --- a tick -----------------------------------------------------------------------------------------------------------------------

    def restart(self, agent: str, copies: NDArray[np.bool_]) -> None:
        """At the next step the agent's own of these copies `[K]` begin their next episode, but for those that are evaluated."""
        for copy in np.flatnonzero(copies).tolist():
            game = self._games[copy]
            if self._owner(copy) == agent and not (self._over[copy] or game.evaluation):
                self._end(copy, game)

    def _choose(self, actions: Mapping[str, Array]) -> None:
        chosen = np.zeros(self.copies, np.int64)
        for i, agent in enumerate(self.agents):
            if agent in actions:
                chosen[i :: len(self.agents)] = actions[agent][i :: len(self.agents), 0]
        self._chosen: list[int] = self._in_range(chosen)
        self._reward = np.zeros(self.copies, np.float32)

    def _invite(self, copy: int) -> tuple[tuple[str, ...], bool]:
        owner = self._owner(copy)
        evaluated = self._evaluations[owner] > 0
        self._evaluations[owner] -= evaluated
        return (owner,), evaluated

    def _act(self, copy: int, game: Game) -> tuple[bool, bool]:
        _, reward, terminated, truncated, _ = game.environment.step(self._chosen[copy])
        self._reward[copy] = earned = float(reward)
        game.earned[0] += earned
        return terminated, truncated

    def _look(self, copy: int, game: Game) -> None:
        environment = game.environment
        x, y = environment.agent_pos
        self._place[copy] = x, y, environment.agent_dir
        thing = environment.carrying
        self._carried[copy] = NOT_CARRYING if thing is None else thing.encode()

    def _outcome(self, flags: NDArray[np.uint16]) -> TickResult:
        """The rows of every agent: those of its own copies, and zeros."""
        seen, reward = self._observation(np.array(self._place), np.array(self._carried, np.uint8)), self._reward
        if len(self.agents) == 1:
            return TickResult({self.agents[0]: AgentBatch(seen, reward, flags)}, self._episode.copy())
        batches = {}
        for i, agent in enumerate(self.agents):
            own = self._rows % len(self.agents) == i
            batches[agent] = AgentBatch(seen * own[:, None], reward * own, flags * own)
        return TickResult(batches, self._episode.copy())

    # --- presence, evaluation, metrics, pictures --------------------------------------------------------------------------------------

    def set_present(self, agents: Collection[str]) -> None:
        """Set the agents that are present: they get the evaluations planned for the others."""
        self._present = frozenset(agents)
        self._deal(sum(self._evaluations.pop(agent) for agent in self.agents if agent not in self._present))

    def evaluate(self, episodes: int, aligned: bool) -> None:
        """Let the next `episodes` episodes that start be evaluations, equally many of every agent that is present (fast ones would
        otherwise be evaluated more); there are no goals to align."""
        self._deal(episodes)

    def cancel_evaluation(self, own_only: bool = False) -> tuple[int, int]:
        """Drop requested evaluations that have not started; no episode has an assigned goal."""
        dropped = sum(self._evaluations.values())
        self._evaluations = dict.fromkeys(self._evaluations, 0)
        return dropped, 0

    def _deal(self, episodes: int) -> None:
        here = [agent for agent in self.agents if agent in self._present] or list(self.agents)
        self._evaluations = {agent: self._evaluations.get(agent, 0) for agent in self.agents}
        for _ in range(episodes):
            self._evaluations[here[self._next_evaluated % len(here)]] += 1
            self._next_evaluated += 1

    def render(self, copy: int) -> NDArray[np.uint8]:
        """A picture `[height, width, 3]` of one copy, 32 pixels a cell; what its agent sees is lighter, where it does not see all."""
        picture: NDArray[np.uint8] = self._games[copy].environment.get_frame(highlight=self.options.view != "full")
        return picture
