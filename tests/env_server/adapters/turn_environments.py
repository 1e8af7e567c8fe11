"""Environments with turns and action masks, whose transitions are known."""

from __future__ import annotations

from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv

CHOICES = 4
SEEDS = 2**16
"""a seed counts modulo this, so that it is exact in an observation"""


def legal(moves: int, place: int) -> np.ndarray:
    """The mask of an agent by its place, after so many moves of the game; never without a legal choice."""
    return ((7 * moves + 3 * place + np.arange(CHOICES)) % 3 != 0).astype(np.int8)


class Knockout(AECEnv):
    """Three agents in a random order of turns. Each move pays all that are left something; now and then one of them is out of the game,
    mostly while it waits. It ends with the last one, or after 12 moves. An agent observes the number of moves, its place, and the seed."""

    metadata = {"name": "knockout", "is_parallelizable": False, "render_modes": []}

    def __init__(self, mask: Literal["observation", "info", "none"] = "observation") -> None:
        super().__init__()
        self.possible_agents = ["ann", "bob", "cyd"]
        self.mask = mask
        self.render_mode = None

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        seen = spaces.Box(0, SEEDS, (3,), np.float32)
        if self.mask != "observation":
            return seen
        return spaces.Dict({"observation": seen, "action_mask": spaces.Box(0, 1, (CHOICES,), np.int8)})

    def action_space(self, agent: str) -> spaces.Space[Any]:
        return spaces.Discrete(CHOICES)

    def observe(self, agent: str) -> Any:
        place = self.possible_agents.index(agent)
        seen = np.array([self.moves, place, self.seed], np.float32)
        return {"observation": seen, "action_mask": legal(self.moves, place)} if self.mask == "observation" else seen

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        self.seed = (seed or 0) % SEEDS
        self.random = np.random.default_rng(self.seed)
        self.moves = 0
        self.agents = self.possible_agents[:]
        self.rewards, self._cumulative_rewards = dict.fromkeys(self.agents, 0.0), dict.fromkeys(self.agents, 0.0)
        self.terminations, self.truncations = dict.fromkeys(self.agents, False), dict.fromkeys(self.agents, False)
        self._inform()
        self.agent_selection = self.agents[self.random.integers(3)]

    def _inform(self) -> None:
        asked = self.mask == "info"
        self.infos = {
            agent: {"action_mask": legal(self.moves, self.possible_agents.index(agent))} if asked else {} for agent in self.agents
        }

    def step(self, action: int | None) -> None:
        if self.terminations[self.agent_selection] or self.truncations[self.agent_selection]:
            self._was_dead_step(action)
            return
        if self.mask != "none":
            assert legal(self.moves, self.possible_agents.index(self.agent_selection))[action], (self.agent_selection, action)
        self._cumulative_rewards[self.agent_selection] = 0.0
        self.moves += 1
        self.rewards = {agent: float(self.random.integers(-3, 4)) for agent in self.agents}
        if self.random.random() < 0.2:
            self.terminations[self.agents[self.random.integers(len(self.agents))]] = True
        left = [agent for agent in self.agents if not self.terminations[agent]]
        if len(left) == 1:
            self.terminations[left[0]] = True
        elif self.moves == 12:
            self.truncations = dict.fromkeys(self.agents, True)
        self._accumulate_rewards()
        self._inform()
        self.agent_selection = left[self.random.integers(len(left))]
        self._deads_step_first()

    def render(self) -> None:
        return None

    def close(self) -> None:
        return None


def played(seed: int, actions: dict[int, int]) -> dict[str, list[tuple[int, int, float, int, bool]]]:
    """For each agent its steps (moves before, action, reward, moves after, terminated), as PettingZoo's own loop gives them. `actions` by
    the number of moves before each."""
    environment = Knockout("none")
    environment.reset(seed=seed)
    steps: dict[str, list[tuple[int, int, float, int, bool]]] = {agent: [] for agent in environment.possible_agents}
    last: dict[str, tuple[int, int]] = {}
    for agent in environment.agent_iter():
        observation, reward, terminated, truncated, _ = environment.last()
        now = int(observation[0])
        if agent in last:
            steps[agent].append((*last[agent], float(reward), now, bool(terminated)))
        action = None if terminated or truncated else actions[now]
        if action is not None:
            last[agent] = now, action
        environment.step(action)
    return steps


class TwoDials(gymnasium.Env):
    """Two dials with 3 and 2 positions; after t steps the position t % 3 of the first and t % 2 of the second are blocked. It shows a
    picture. `form`: how the mask is given in `info`."""

    def __init__(self, form: Literal["tuple", "array", "short"] = "tuple") -> None:
        self.observation_space = spaces.Box(0, 255, (2, 2, 3), np.uint8)
        self.action_space = spaces.MultiDiscrete([3, 2])
        self.form = form

    def _result(self) -> tuple[np.ndarray, dict[str, Any]]:
        first, second = np.arange(3) != self.t % 3, np.arange(2) != self.t % 2
        mask: Any = (first.astype(np.int8), second.astype(np.int8))
        if self.form != "tuple":
            mask = np.concatenate(mask)[: 4 if self.form == "short" else 5]
        return np.full((2, 2, 3), self.t, np.uint8), {"action_mask": mask, "passed": self.t, "done": self.t == 7, "text": "no number"}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return self._result()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert action[0] != self.t % 3 and action[1] != self.t % 2, (self.t, action)
        self.t += 1
        seen, info = self._result()
        return seen, 1.0, self.t == 7, False, info
