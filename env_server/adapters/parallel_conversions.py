"""Conversions to PettingZoo's Parallel API: AEC environments, in which agents take turns, Gymnasium environments with one agent, and
dictionary observations in the form of Gymnasium-Robotics (`observation`, `achieved_goal`, `desired_goal`)."""

from __future__ import annotations

from typing import Any

from gymnasium.spaces import Dict
from pettingzoo.utils import BaseParallelWrapper
from pettingzoo.utils.conversions import aec_to_parallel

from env_server.goals.achieved_goals import ACHIEVED, DESIRED
from protocols.runtime.errors import ConfigurationError

AGENT = "agent_0"
OBSERVATION = "observation"


def parallel_from_aec(environment: Any) -> Any:
    """The same environment with the Parallel API; `ConfigurationError` for games that are played in strict turns."""
    if not environment.metadata.get("is_parallelizable", False):
        name = environment.metadata.get("name", type(environment).__name__)
        environment.close()
        raise ConfigurationError(
            f"{name} is played in strict turns (its metadata have no is_parallelizable: True): agents cannot act simultaneously in it"
        )
    return aec_to_parallel(environment)


class SingleAgentParallel(BaseParallelWrapper[str, Any, Any]):  # type: ignore[misc]
    """One Gymnasium environment, `env`, with the Parallel API."""

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.possible_agents = [AGENT]
        self.agents: list[str] = []

    def observation_space(self, agent: str) -> Any:
        """The environment's."""
        return self.env.observation_space

    def action_space(self, agent: str) -> Any:
        """The environment's."""
        return self.env.action_space

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """First observation and infos, by agent."""
        observation, info = self.env.reset(seed=seed, options=options)
        self.agents = [AGENT]
        return {AGENT: observation}, {AGENT: info}

    def step(self, actions: dict[str, Any]) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Any]]:
        """One step with the only agent's action."""
        observation, reward, terminated, truncated, info = self.env.step(actions[AGENT])
        if terminated or truncated:
            self.agents = []
        return {AGENT: observation}, {AGENT: float(reward)}, {AGENT: bool(terminated)}, {AGENT: bool(truncated)}, {AGENT: info}


def has_goals(environment: Any) -> bool:
    """Whether agents of an environment with the Parallel API observe dictionaries with goals."""
    possible = getattr(environment, "possible_agents", None) or []
    return any(isinstance(space := environment.observation_space(agent), Dict) and {OBSERVATION, ACHIEVED} <= set(space.spaces)
               for agent in possible[:1])  # fmt: skip


class GoalDictionaries(BaseParallelWrapper[Any, Any, Any]):  # type: ignore[misc]
    """`env` with goals in infos; observations are the entry `observation`."""

    @property
    def unwrapped(self) -> Any:
        """The environment inside."""
        return getattr(self.env, "unwrapped", self.env)

    def observation_space(self, agent: Any) -> Any:
        """Of the entry `observation`."""
        return self.env.observation_space(agent)[OBSERVATION]

    def goal_space(self, agent: Any) -> Any:
        """Of the entry `achieved_goal`."""
        return self.env.observation_space(agent)[ACHIEVED]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[Any, Any], dict[Any, Any]]:
        """First observations and infos, by agent."""
        return self._split(*self.env.reset(seed=seed, options=options))

    def step(self, actions: dict[Any, Any]) -> tuple[dict[Any, Any], Any, Any, Any, dict[Any, Any]]:
        """One step."""
        observations, rewards, terminations, truncations, infos = self.env.step(actions)
        seen, infos = self._split(observations, infos)
        return seen, rewards, terminations, truncations, infos

    @staticmethod
    def _split(observations: dict[Any, Any], infos: dict[Any, Any]) -> tuple[dict[Any, Any], dict[Any, Any]]:
        goals = {agent: {key: whole[key] for key in (ACHIEVED, DESIRED) if key in whole} for agent, whole in observations.items()}
        return (
            {agent: whole[OBSERVATION] for agent, whole in observations.items()},
            {agent: {**infos.get(agent, {}), **goals[agent]} for agent in observations},
        )
