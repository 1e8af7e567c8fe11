"""PettingZoo's AEC environments, in which agents take turns, as Parallel ones."""

from __future__ import annotations

from typing import Any

from protocols.runtime.errors import ConfigurationError


def parallel_from_aec(environment: Any) -> Any:
    """The same environment with the Parallel API; `ConfigurationError` for games whose turns cannot be taken at once."""
    from pettingzoo.utils.conversions import aec_to_parallel

    if not environment.metadata.get("is_parallelizable", False):
        name = environment.metadata.get("name", type(environment).__name__)
        environment.close()
        raise ConfigurationError(
            f"{name} is played in strict turns (its metadata do not say is_parallelizable): agents that act at once cannot play it"
        )
    return aec_to_parallel(environment)
