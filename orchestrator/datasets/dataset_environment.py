"""The environment of a configuration, as manifests of datasets state it."""

from __future__ import annotations

import env_server.environments.registry as registry
from env_server.settings import EnvironmentSettings
from protocols.datasets.manifest import DatasetEnvironment


def dataset_environment(settings: EnvironmentSettings) -> DatasetEnvironment:
    """Id, options with defaults written out, wrappers and images."""
    dumped = settings.model_dump(mode="json")
    options = registry.complete_options(settings)
    return DatasetEnvironment(id=settings.id, options=options, wrappers=dumped["wrappers"], images=dumped["images"])
