"""K copies of a MiniGrid environment in which all agents play together."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from env_server.environments.environment_contracts import AgentBatch, Array, TickResult
from env_server.environments.episode_schedule import episode_generator
from env_server.environments.minigrid.grid_bodies import SharedGridBodies, nearest_cells
from env_server.environments.minigrid.grid_construction import maker
from env_server.environments.minigrid.grid_copies import NOT_CARRYING, SUCCESS, Game, MiniGridCopies, Places
from env_server.environments.minigrid.grid_rendering import draw
from env_server.environments.minigrid.settings import MiniGridOptions
from protocols.runtime.seeds import Stream
from protocols.spaces.grid_space import AGENT, COLOURS

MOST_NAMED = 32
"""agents up to which each has a figure of its own"""
_LAYOUTS = 16
"""layouts that are tried before anything starts"""


class SharedMiniGrid(MiniGridCopies):
    """`players: all`. Agents that are present when an episode begins are its members: the first has the place that the level gives, the
    others the free cells nearest to it. Each step they act one after the other, in an order that is drawn for that step. The first success
    or failure of any of them ends the episode for all.

    An agent that leaves in the middle of an episode stays in it, and acts by the stand-in (without one it turns left); the next ones are
    played without it. An agent that joins waits for the next ones.
    """

    def __init__(self, name: str, options: MiniGridOptions, agents: Sequence[str], copies: int, seed: int = 0) -> None:
        super().__init__(name, options, agents, copies, seed)
        self._crowds = [SharedGridBodies(game.environment) for game in self._games]

    def _start_anew(self, first_episode: int = 0) -> None:
        super()._start_anew(first_episode)
        shape = (self.copies, len(self.agents))
        # Under the logical clock a run that goes on from a checkpoint must equal one that was not interrupted: presence is reset.
        self._present = list(range(len(self.agents)))
        self._playing: list[list[int]] = [[] for _ in range(self.copies)]
        """numbers of the members of each copy's episode"""
        self._order: list[np.random.Generator] = [np.random.default_rng(0)] * self.copies
        self._member = np.zeros(shape, bool)
        self._place = np.zeros((*shape, 3), np.int64)
        """x, y, direction"""
        self._carried = np.zeros((*shape, 3), np.uint8)

    # --- a tick -----------------------------------------------------------------------------------------------------------------------

    def _choose(self, actions: Mapping[str, Array]) -> None:
        chosen = np.zeros((self.copies, len(self.agents)), np.int64)
        for i, agent in enumerate(self.agents):
            if agent in actions:
                chosen[:, i] = actions[agent][:, 0]
        self._chosen: list[list[int]] = self._in_range(chosen)
        self._reward = np.zeros(chosen.shape, np.float32)

    def _invite(self, copy: int) -> tuple[tuple[str, ...], bool]:
        self._playing[copy] = self._present
        return tuple(self.agents[i] for i in self._present), self._schedule.draw()[0]

    def _begin(self, copy: int, game: Game) -> int:
        self._crowds[copy].leave()
        level = super()._begin(copy, game)
        # Directions belong to the layout, the order of the turns to the episode.
        self._crowds[copy].enter(len(game.members), episode_generator(level, 0, Stream.TURNS))
        self._order[copy] = episode_generator(self._seed, int(self._episode[copy]), Stream.TURNS)
        self._member[copy] = False
        self._member[copy, self._playing[copy]] = True
        return level

    def _act(self, copy: int, game: Game) -> tuple[bool, bool]:
        playing, chosen = self._playing[copy], self._chosen[copy]
        order = self._order[copy].permutation(len(playing)).tolist()
        turns = self._crowds[copy].take_turns([chosen[i] for i in playing], order)
        game.earned = [total + more for total, more in zip(game.earned, turns.earned, strict=True)]
        self._reward[copy, playing] = turns.earned if self.options.reward == "own" else sum(turns.earned)
        return turns.terminated, turns.truncated

    def _look(self, copy: int, game: Game) -> None:
        for i, body in zip(self._playing[copy], self._crowds[copy].bodies, strict=True):
            self._place[copy, i] = *body.cell, body.direction
            self._carried[copy, i] = NOT_CARRYING if body.carried is None else body.carried.encode()

    def _outcome(self, flags: NDArray[np.uint16]) -> TickResult:
        """Rows of copies without the agent are zeros."""
        batches = {}
        for i, agent in enumerate(self.agents):
            here = self._member[:, i]
            seen = self._observation(self._place[:, i], self._carried[:, i], self._others(i))
            batches[agent] = AgentBatch(seen * here[:, None], self._reward[:, i].copy(), flags * here)
        return TickResult(batches, self._episode.copy())

    def _others(self, i: int) -> tuple[Places, NDArray[np.int64]]:
        """Of all bodies but that of agent i: where they are (copy, x, y), and their codes `[n, 3]`."""
        names = np.delete(np.arange(len(self.agents)), i)
        copy, which = np.nonzero(self._member[:, names])
        x, y, direction = self._place[copy, names[which]].T
        return (copy, x, y), np.stack([np.full(len(copy), AGENT), 1 + which % (COLOURS - 1), direction], axis=1)

    # --- presence, evaluation, metrics, pictures --------------------------------------------------------------------------------------

    def set_present(self, agents: Collection[str]) -> None:
        """Set the agents that play the episodes that begin from now on; all, where none is present."""
        here = [i for i, agent in enumerate(self.agents) if agent in agents]
        self._present = here or list(range(len(self.agents)))

    def _episode_metrics(self, game: Game) -> dict[str, float]:
        """Which of the members were rewarded themselves."""
        if len(self.agents) > MOST_NAMED:
            return {}
        return {f"{SUCCESS}.{agent}": float(earned > 0) for agent, earned in zip(game.members, game.earned, strict=True)}

    def render(self, copy: int) -> NDArray[np.uint8]:
        """A picture `[height, width, 3]` of one copy, 32 pixels a cell; what any agent sees is lighter, where they do not see all."""
        return draw(self._games[copy].environment, self._crowds[copy], self._playing[copy], self.options.view != "full")


def room(name: str, options: MiniGridOptions, agents: int) -> None:
    """`EnvironmentProblem` where so many agents find no place in one of the first layouts: the one that is fixed, or some."""
    environment: Any = maker(name, options)()
    try:
        for more in range(1 if options.fix_layout else _LAYOUTS):
            environment.reset(seed=(options.layout_seed + more) % 2**31)
            x, y = environment.agent_pos
            nearest_cells(environment.grid, (int(x), int(y)), agents)
    finally:
        environment.close()
