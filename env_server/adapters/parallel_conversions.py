"""Conversions to PettingZoo's Parallel API: AEC environments, in which agents take turns, and Gymnasium environments with one agent."""

from __future__ import annotations

from typing import Any

from protocols.runtime.errors import ConfigurationError


def parallel_from_aec(environment: Any) -> Any:
    """The same environment with the Parallel API; `ConfigurationError` for games that are played in strict turns."""
    from pettingzoo.utils.conversions import aec_to_parallel

    if not environment.metadata.get("is_parallelizable", False):
        name = environment.metadata.get("name", type(environment).__name__)
        environment.close()
        raise ConfigurationError(
            f"{name} is played in strict turns (its metadata have no is_parallelizable: True): agents cannot act simultaneously in it"
        )
    return aec_to_parallel(environment)


AGENT = "agent_0"


class SingleAgentParallel:
    """Duck-typed `pettingzoo.ParallelEnv` around one Gymnasium environment."""

    def __init__(self, environment: Any) -> None:
        self.environment = environment
        self.metadata = environment.metadata
        self.possible_agents = [AGENT]
        self.agents: list[str] = []

    @property
    def unwrapped(self) -> Any:
        """The Gymnasium environment inside all wrappers."""
        return self.environment.unwrapped

    def observation_space(self, agent: str) -> Any:
        """The environment's."""
        return self.environment.observation_space

    def action_space(self, agent: str) -> Any:
        """The environment's."""
        return self.environment.action_space

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """First observation and infos, by agent."""
        observation, info = self.environment.reset(seed=seed, options=options)
        self.agents = [AGENT]
        return {AGENT: observation}, {AGENT: info}

    def step(self, actions: dict[str, Any]) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Any]]:
        """One step with the only agent's action."""
        observation, reward, terminated, truncated, info = self.environment.step(actions[AGENT])
        if terminated or truncated:
            self.agents = []
        return {AGENT: observation}, {AGENT: float(reward)}, {AGENT: bool(terminated)}, {AGENT: bool(truncated)}, {AGENT: info}

    def render(self) -> Any:
        """The environment's picture."""
        return self.environment.render()

    def close(self) -> None:
        """Close the environment."""
        self.environment.close()
