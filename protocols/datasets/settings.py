"""Settings of runs that learn from a dataset."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from protocols.runtime.settings_types import AlsoAccepts, Settings

EPISODES = "episodes"
"""folder of an agent's directory in a run with `record_episodes`"""


class DatasetSettings(Settings):
    """A dataset as the source of training: each agent learns from its own shard, and the environment is played in evaluations only."""

    path: Annotated[str, Field(min_length=1, max_length=1000)]
    """directory of a dataset (`orchestrate dataset make`), relative to the working directory; every machine of the run needs it"""
    updates_per_tick: Annotated[int, Field(ge=1, le=10_000)] = 10
    """updates of each agent between two step messages. Averaging begins its rounds, and evaluations begin, between step messages only"""


Dataset = Annotated[
    DatasetSettings,
    BeforeValidator(lambda given: {"path": given} if isinstance(given, str) else given),
    AlsoAccepts({"type": "string", "description": "the path alone"}),
]
