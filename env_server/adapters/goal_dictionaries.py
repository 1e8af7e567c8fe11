"""Dictionary observations in the form of Gymnasium-Robotics: `observation`, `achieved_goal`, `desired_goal`."""

from __future__ import annotations

from typing import Any

from gymnasium.spaces import Dict

from env_server.goals.achieved_goals import ACHIEVED, DESIRED

OBSERVATION = "observation"


def has_goals(environment: Any) -> bool:
    """Whether agents of an environment with the Parallel API observe such dictionaries."""
    possible = getattr(environment, "possible_agents", None) or []
    return any(isinstance(space := environment.observation_space(agent), Dict) and {OBSERVATION, ACHIEVED} <= set(space.spaces)
               for agent in possible[:1])  # fmt: skip


class GoalDictionaries:
    """Duck-typed `pettingzoo.ParallelEnv`: observations are the entry `observation`, and the goals are put into infos."""

    def __init__(self, environment: Any) -> None:
        self.environment = environment
        self.metadata = environment.metadata
        self.possible_agents = environment.possible_agents

    @property
    def agents(self) -> Any:
        """Agents whose part goes on."""
        return self.environment.agents

    @property
    def unwrapped(self) -> Any:
        """The environment inside."""
        return getattr(self.environment, "unwrapped", self.environment)

    def observation_space(self, agent: Any) -> Any:
        """Of the entry `observation`."""
        return self.environment.observation_space(agent)[OBSERVATION]

    def action_space(self, agent: Any) -> Any:
        """The environment's."""
        return self.environment.action_space(agent)

    def goal_space(self, agent: Any) -> Any:
        """Of the entry `achieved_goal`."""
        return self.environment.observation_space(agent)[ACHIEVED]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[Any, Any], dict[Any, Any]]:
        """First observations and infos, by agent."""
        return self._split(*self.environment.reset(seed=seed, options=options))

    def step(self, actions: dict[Any, Any]) -> tuple[dict[Any, Any], Any, Any, Any, dict[Any, Any]]:
        """One step."""
        observations, rewards, terminations, truncations, infos = self.environment.step(actions)
        seen, infos = self._split(observations, infos)
        return seen, rewards, terminations, truncations, infos

    @staticmethod
    def _split(observations: dict[Any, Any], infos: dict[Any, Any]) -> tuple[dict[Any, Any], dict[Any, Any]]:
        goals = {agent: {key: whole[key] for key in (ACHIEVED, DESIRED) if key in whole} for agent, whole in observations.items()}
        return (
            {agent: whole[OBSERVATION] for agent, whole in observations.items()},
            {agent: {**infos.get(agent, {}), **goals[agent]} for agent in observations},
        )

    def render(self) -> Any:
        """The environment's picture."""
        return self.environment.render()

    def close(self) -> None:
        """Close the environment."""
        self.environment.close()
