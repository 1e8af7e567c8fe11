"""K copies of a MiniGrid environment. Each belongs to one agent: several agents of one policy are several actors."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from env_server.environments.environment_contracts import AgentBatch, Array, TickResult
from env_server.environments.minigrid.grid_copies import NOT_CARRYING, Game, MiniGridCopies
from env_server.environments.minigrid.settings import MiniGridOptions
from protocols.runtime.errors import ConfigurationError
from protocols.spaces.grid_space import AGENT


class TooFewCopies(ConfigurationError):
    """Some agent would have no copy to play."""


def require_enough_copies(agents: Sequence[str], copies: int) -> None:
    """`TooFewCopies` where an agent would have none."""
    if copies < len(agents):
        raise TooFewCopies(
            f"every copy of a MiniGrid environment belongs to one agent, but {len(agents)} agents have {copies} copies: write at least "
            f"{len(agents)}, or options.players: all"
        )


class VectorMiniGrid(MiniGridCopies):
    """`players: one`. Copy k is played by agent k mod N: in its rows alone is `Flag.MEMBER`. An episode goes on when its agent is
    absent: the agent then turns left."""

    def __init__(self, name: str, options: MiniGridOptions, agents: Sequence[str], copies: int, seed: int = 0) -> None:
        require_enough_copies(agents, copies)
        self._present = frozenset(agents)
        super().__init__(name, options, agents, copies, seed)

    def _start_anew(self) -> None:
        super()._start_anew()
        self._x, self._y, self._direction = ([0] * self.copies for _ in range(3))
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
            if self._owner(copy) == agent and not (game.over or game.evaluation):
                self._end(copy, game)

    def _choose(self, actions: Mapping[str, Array]) -> None:
        chosen = np.zeros(self.copies, np.int64)
        for i, agent in enumerate(self.agents):
            if agent in actions:
                chosen[i :: len(self.agents)] = actions[agent][i :: len(self.agents), 0]
        self._chosen: list[int] = self._in_range(chosen)
        self._reward = np.zeros(self.copies, np.float32)

    def _invite(self, copy: int, game: Game) -> None:
        owner = self._owner(copy)
        game.members, game.evaluation = (owner,), self._is_evaluation(owner)

    def _enter(self, copy: int, game: Game, level: int) -> None:
        """It is where it is."""

    def _act(self, copy: int, game: Game) -> tuple[bool, bool]:
        _, reward, terminated, truncated, _ = game.environment.step(self._chosen[copy])
        self._reward[copy] = earned = float(reward)
        game.earned[0] += earned
        return terminated, truncated

    def _look(self, copy: int, game: Game) -> None:
        environment = game.environment
        self._x[copy], self._y[copy] = environment.agent_pos
        self._direction[copy] = environment.agent_dir
        thing = environment.carrying
        self._carried[copy] = NOT_CARRYING if thing is None else thing.encode()

    def _observation(self) -> NDArray[np.uint8]:
        """`[K, D]`."""
        seen = np.empty((self.copies, self._grids.size), np.uint8)
        carried = np.array(self._carried, np.uint8)
        if self._grids.partial is not None:
            view = self._views.see(self._x, self._y, self._direction, self._in_hands(carried))
            seen[:, self._grids.partial.cells] = view.reshape(self.copies, -1)
            seen[:, self._grids.partial.carried] = carried[:, :2]
        if self._grids.full is not None:
            cells = self._views.cells.copy()
            cells[self._rows, self._x, self._y, :2] = AGENT, 0
            cells[self._rows, self._x, self._y, 2] = self._direction
            seen[:, self._grids.full.cells] = cells.reshape(self.copies, -1)
            seen[:, self._grids.full.carried] = carried[:, :2]
        return seen

    def _outcome(self, flags: NDArray[np.uint16]) -> TickResult:
        """The rows of every agent: those of its own copies, and zeros."""
        seen, reward = self._observation(), self._reward
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

    def _episode_metrics(self, game: Game) -> dict[str, float]:
        return {}

    def render(self, copy: int) -> NDArray[np.uint8]:
        """A picture `[height, width, 3]` of one copy, 32 pixels a cell; what its agent sees is lighter, where it does not see all."""
        picture: NDArray[np.uint8] = self._games[copy].environment.get_frame(highlight=self.options.view != "full")
        return picture
