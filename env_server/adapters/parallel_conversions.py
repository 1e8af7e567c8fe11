"""Conversions to PettingZoo's Parallel API: AEC environments, whose agents act in turns, Gymnasium environments with one agent, and
dictionary observations in the form of Gymnasium-Robotics (`observation`, `achieved_goal`, `desired_goal`)."""

from __future__ import annotations

from typing import Any

from gymnasium.spaces import Dict
from pettingzoo.utils import BaseParallelWrapper
from pettingzoo.utils.conversions import aec_to_parallel

from env_server.goals.achieved_goals import ACHIEVED, DESIRED

AGENT = "agent_0"
OBSERVATION = "observation"


def parallel_from_aec(environment: Any) -> Any:
    """The same environment with the Parallel API: all agents act simultaneously where its metadata have `is_parallelizable: True`, else
    in turns."""
    parallelizable = environment.metadata.get("is_parallelizable", False)
    return aec_to_parallel(environment) if parallelizable else TurnBasedParallel(environment)


class TurnBasedParallel(BaseParallelWrapper[Any, Any, Any]):  # type: ignore[misc]
    """An AEC environment, `env`, whose agents take turns. A step is the move of the agent that is on turn; actions of others are ignored.

    Results hold the agent that is on turn next, and those whose part has ended: what `last()` returns for them, with the reward that was
    summed since their own turn before. All other `agents` wait.
    """

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.possible_agents = list(environment.possible_agents)
        self.agents: list[Any] = []

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[Any, Any], dict[Any, Any]]:
        """Observation and info of the agent that begins."""
        self.env.reset(seed=seed, options=options)
        observations, _, _, _, infos = self._next()
        return observations, infos

    def step(self, actions: dict[Any, Any]) -> tuple[dict[Any, Any], dict[Any, float], dict[Any, bool], dict[Any, bool], dict[Any, Any]]:
        """The move of the agent on turn."""
        self.env.step(actions[self.env.agent_selection])
        return self._next()

    def _next(self) -> tuple[dict[Any, Any], dict[Any, float], dict[Any, bool], dict[Any, bool], dict[Any, Any]]:
        """Take the agents whose part has ended out of the game, until one is on turn that plays."""
        results: tuple[dict[Any, Any], ...] = ({}, {}, {}, {}, {})
        while self.env.agents:
            agent = self.env.agent_selection
            observation, reward, terminated, truncated, info = self.env.last()
            for found, value in zip(results, (observation, float(reward), bool(terminated), bool(truncated), info), strict=True):
                found[agent] = value
            if not (terminated or truncated):
                break
            self.env.step(None)
        self.agents = list(self.env.agents)
        observations, rewards, terminations, truncations, infos = results
        return observations, rewards, terminations, truncations, infos


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


def episode_limit(environment: Any) -> int | None:
    """Steps after which an environment with the Parallel API cuts its episodes off: `max_episode_steps` of its Gymnasium specification,
    or PettingZoo's attribute `max_cycles`. None where it has neither, and where agents take turns, since each step is then one move."""
    if isinstance(environment, TurnBasedParallel):
        return None
    limit = getattr(getattr(environment, "spec", None), "max_episode_steps", None)
    if limit is None:
        limit = getattr(getattr(environment, "unwrapped", None), "max_cycles", None)
    return limit if isinstance(limit, int) and limit > 0 else None


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
