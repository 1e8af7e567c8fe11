"""The experience of a training run (`record_episodes`) as a dataset of quality `replay`: what its agents have in files is joined by the
numbers of episodes."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from safetensors import SafetensorError, safe_open

import env_server.environments.registry as registry
from orchestrator.config.resolved_configuration import recorded
from orchestrator.datasets.dataset_environment import dataset_environment
from orchestrator.datasets.recording import Progress
from orchestrator.results.run_directories import Run
from orchestrator.results.run_files import RunFiles
from protocols.datasets.dataset_writer import DatasetWriter
from protocols.datasets.manifest import DatasetError, Manifest
from protocols.datasets.settings import EPISODES
from protocols.datasets.shard_episodes import CURE, ShardEpisode, decode_part
from protocols.runtime.errors import UsageError
from protocols.topology import edges

QUALITY = "replay"


def collect_run(output: Path, run: Run, progress: Progress = lambda name, done, total: None) -> Manifest:
    """All training episodes of a run by number, that is, in the order in which they began. Of two episodes of one number, which a run that
    goes on from a checkpoint plays again, the later one counts. `UsageError` where the run goes on, or has kept no episodes."""
    if not run.over:
        raise UsageError(f"{run.name} goes on; wait for its end, or end it: orchestrate down {run.name}")
    configuration = recorded(RunFiles(run.directory).configuration_json())
    if not configuration.record_episodes:
        raise UsageError(f"{run.name} has kept no episodes; start it anew with record_episodes=true")
    names, settings = configuration.agent_names(), configuration.environment.model_copy(update={"supervisor": None})
    layouts = registry.describe(settings, names, edges(configuration.network.topology, names, configuration.seed)).layouts
    places: dict[int, dict[str, tuple[Path, int]]] = {}
    for agent in names:
        for path in sorted((run.directory / "nodes" / agent / EPISODES).glob("*.safetensors")):
            for row, number in enumerate(_numbers(path)):
                places.setdefault(number, {})[agent] = (path, row)
    if not places:
        raise UsageError(f"{run.name} has no training episode in nodes/AGENT/{EPISODES}; train longer: raise until")

    @lru_cache(maxsize=2 * len(names))
    def episodes(agent: str, path: Path) -> list[ShardEpisode]:
        try:
            return list(decode_part(path.read_bytes(), layouts[agent], 1, str(path)))
        except OSError as error:
            raise DatasetError(f"{path}: {error.strerror}; {CURE}") from None

    with DatasetWriter(output, dataset_environment(settings), layouts, configuration.seed) as writer:
        writer.begin_behaviour(QUALITY, run.name)
        progress(QUALITY, 0, len(places))
        for done, number in enumerate(sorted(places), 1):
            writer.add({agent: episodes(agent, path)[row] for agent, (path, row) in places[number].items()})
            progress(QUALITY, done, len(places))
        return writer.close()


def _numbers(path: Path) -> list[int]:
    """Of the episodes in a file; the rest is not read."""
    try:
        with safe_open(path, framework="numpy") as file:
            return [int(number) for number in file.get_tensor("episode")]
    except (OSError, SafetensorError) as error:
        raise DatasetError(f"{path}: it is no whole file of episodes ({error}); {CURE}") from None
