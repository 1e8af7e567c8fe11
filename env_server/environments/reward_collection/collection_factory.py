"""Makes the environment `reward_collection` from its settings."""

from __future__ import annotations

from env_server.environments.environment_factory import EnvironmentContext
from env_server.environments.reward_collection.collection_environment import VectorRewardCollection


def create(context: EnvironmentContext) -> VectorRewardCollection:
    """The vector environment with all copies that the context requests."""
    return VectorRewardCollection(context.options, context.agents, context.copies, context.seed)
