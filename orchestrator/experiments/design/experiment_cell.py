"""A cell: one combination of an experiment's factors, with one seed.

Its identity is SHA-256 over what can change its results: the digest of its configuration (how often metrics are written counts here:
windows of other lengths are other metrics), the contents of files that it names, the settings of a simulation, the seed, and the version
of the code. Cells of other code or another configuration are other cells.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path as FilePath

from orchestrator.config.configuration import Configuration
from orchestrator.config.loader import Loaded
from orchestrator.experiments.design.experiment_design import SimulationSettings
from protocols.faults.node_faults.fault_log import FILE as TRACE


@dataclass(frozen=True)
class Cell:
    """One combination of factors with one seed: what one run or simulation of an experiment measures."""

    factors: Mapping[str, str]
    seed: int
    overrides: tuple[str, ...]
    """arguments that make it of the base"""
    loaded: Loaded = field(repr=False)
    simulated: SimulationSettings | None
    """settings of the simulation; None for a run of processes"""
    command: str
    """the command that repeats it"""

    @property
    def configuration(self) -> Configuration:
        """As checked."""
        return self.loaded.configuration

    def identity(self, code: str) -> str:
        """SHA-256 (hexadecimal) of configuration, code and seed."""
        simulated = self.simulated.model_dump(mode="json") if self.simulated is not None else None
        parts = [self.loaded.digest, self.configuration.metrics.every, simulated, self.seed, code]
        # Only where there are any: identities of cells without files stay what they were.
        parts += [{name: _contents(FilePath(name)) for name in names}] if (names := _files(self.configuration)) else []
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def label(self) -> str:
        """`delay=50ms topology=ring seed 3`."""
        return " ".join([*(f"{name}={label}" for name, label in self.factors.items()), f"seed {self.seed}"])

    @property
    def nodes(self) -> int:
        """Processes of the run that learn or play; 1 for a simulation."""
        return 1 if self.simulated is not None else self.configuration.agents.count + 1

    @property
    def cores(self) -> float:
        """Processor cores by the configuration; a simulation computes on one."""
        resources = self.configuration.launch.resources
        return 1.0 if self.simulated is not None else resources.agent.cores * self.configuration.agents.count + resources.env.cores

    @property
    def memory(self) -> int:
        """Bytes by the configuration, until it is known better."""
        resources = self.configuration.launch.resources
        return 2**29 if self.simulated is not None else resources.agent.memory * self.configuration.agents.count + resources.env.memory


def _files(configuration: Configuration) -> list[str]:
    """What the configuration refers to: files of delays, and the run of which the faults are played again."""
    named = list(_named(configuration.model_dump(mode="json")))
    if configuration.faults is not None and configuration.faults.mode == "replay" and configuration.faults.trace is not None:
        named.append(configuration.faults.trace)
    return sorted(set(named))


def _named(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if value.get("dist") == "empirical" and isinstance(value.get("file"), str):
            yield value["file"]
        for part in value.values():
            yield from _named(part)
    elif isinstance(value, list):
        for part in value:
            yield from _named(part)


def _contents(path: FilePath) -> str:
    """SHA-256 of a file, or of what a run's nodes recorded of their faults; "" where there is nothing."""
    files = sorted(path.glob(f"nodes/*/{TRACE}")) if path.is_dir() else [path] if path.is_file() else []
    stamps = [(str(file), (stat := file.stat()).st_mtime_ns, stat.st_size) for file in files]
    return _digest(str(path), tuple(stamps)) if files else ""


@lru_cache(maxsize=64)
def _digest(path: str, stamps: tuple[tuple[str, int, int], ...]) -> str:
    """All cells name the same few files: each is read once while it stays the same."""
    digest = hashlib.sha256()
    for file, _, size in stamps:
        digest.update(f"{FilePath(file).relative_to(path)} {size} ".encode() + FilePath(file).read_bytes())
    return digest.hexdigest()
