"""Reward collection: agents in one plane look for the few small sites that pay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from env_server.environments.reward_collection.collection_parallel import RewardCollectionParallel


def parallel_env(agents: int = 5, gain_seed: int = 0, render_mode: str | None = None, **options: Any) -> RewardCollectionParallel:
    """One world with PettingZoo's Parallel API, options as in `RewardCollectionOptions`; `gain_seed` fixes what the agents' actuators make
    of their actions, until the environment is closed."""
    from env_server.environments.reward_collection.collection_parallel import (
        RewardCollectionParallel,  # pettingzoo is imported only where it is needed
    )
    from env_server.environments.reward_collection.settings import RewardCollectionOptions

    return RewardCollectionParallel(RewardCollectionOptions(**options), agents, gain_seed, render_mode)
