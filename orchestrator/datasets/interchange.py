"""Datasets become those of other libraries, and the other way round."""

from __future__ import annotations

import shutil
from pathlib import Path

import env_server.environments.registry as registry
from orchestrator.config.configuration import Configuration
from orchestrator.datasets.dataset_environment import dataset_environment
from orchestrator.datasets.formats.minari_format import MinariSource, export_minari, is_minari
from orchestrator.datasets.formats.origin import ImportedDataset
from orchestrator.datasets.formats.vault_format import VaultSource, export_vault, is_vault
from orchestrator.datasets.recording import Progress
from protocols.datasets.dataset_reader import Dataset
from protocols.datasets.dataset_writer import DatasetWriter
from protocols.datasets.manifest import DatasetError, Manifest
from protocols.runtime.errors import UsageError
from protocols.topology import edges


def export_dataset(dataset: Dataset, output: Path, form: str, progress: Progress) -> None:
    """Write `dataset` to the directory `output`, which exists when it is complete. `form`: minari or vault."""
    if output.exists():
        raise DatasetError(f"{output} exists, and datasets are never overwritten; remove it, or choose another name")
    temporary = output.with_name(f".{output.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
    try:
        if form == "minari":
            export_minari(dataset, temporary, output.name, progress)
        else:
            export_vault(dataset, temporary, progress)
        temporary.rename(output)
    except OSError as error:
        raise DatasetError(f"{output} can't be written: {error.strerror or error}; choose another place") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def import_dataset(source: Path, output: Path, configuration: Configuration | None) -> Manifest:
    """Make a dataset of one of Minari or of vaults. `configuration`: of its environment and the number of agents; None for a dataset that
    was exported. `UsageError` where it is needed, or where `source` is neither."""
    found: ImportedDataset
    if is_minari(source):
        found = MinariSource(source)
    elif is_vault(source):
        found = VaultSource(source)
    else:
        text = "it is no dataset of Minari (metadata.json with data_format) and no vault (metadata.json with structure_shape)"
        raise UsageError(f"{source}: {text}; name the directory of one")
    if configuration is not None:
        names, settings = configuration.agent_names(), configuration.environment.model_copy(update={"supervisor": None})
        layouts = registry.describe(settings, names, edges(configuration.network.topology, names, configuration.seed)).layouts
        environment, seed = dataset_environment(settings), 0
    elif found.origin is not None:
        environment, layouts, seed = found.origin.environment, found.origin.layouts, found.origin.seed
    else:
        raise UsageError(f"{source}: it does not state its environment; name its configuration: --environment CONFIG")
    if goals := [agent for agent, layout in layouts.items() if layout.goals is not None]:
        raise UsageError(f"environment.id: {goals[0]} has goals in {environment.id}, and datasets hold none; write environment.goals: null")
    with DatasetWriter(output, environment, layouts, seed) as writer:
        begun = -1
        for parts in found.episodes(layouts):
            while parts and begun < next(iter(parts.values())).behaviour:
                begun = writer.begin_behaviour(*found.behaviours[begun + 1])
            if parts:
                writer.add(parts)
        return writer.close()
