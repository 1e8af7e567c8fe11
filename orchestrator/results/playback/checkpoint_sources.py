"""From a word on the command line to a run's configuration and the checkpoints of its agents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from orchestrator.config.checks.machine_resources import UNLIMITED
from orchestrator.config.configuration import Configuration
from orchestrator.config.loader import load
from orchestrator.config.resolved_configuration import recorded
from orchestrator.results import run_directories as runs
from orchestrator.results.run_files import RunFiles
from protocols.runtime.errors import ConfigurationError, UsageError
from protocols.spaces.layout import Layout

CHECKPOINTS = "checkpoints"
_KINDS = (".json", ".safetensors")


@dataclass(frozen=True)
class CheckpointSource:
    """What is to be played: agents of a run, each from one checkpoint."""

    directory: Path
    configuration: Configuration
    agent: str | None
    """the one that was asked for"""
    given: Path | None
    """a checkpoint of it that was named; the newest otherwise"""
    played: Configuration | None = None
    """the configuration of the environment and the number of agents that are played, where they are not those of the run"""

    def trained(self, agent: str) -> str:
        """The agent of the run by whose policy an agent acts: itself, or where more agents play than the run has, agent i mod n."""
        names = self.configuration.agent_names()
        return agent if agent in names else names[int(agent.rpartition("-")[2]) % len(names)]

    def team_layouts(self, agent: str, layouts: Mapping[str, Layout]) -> dict[str, Layout]:
        """Layouts of the run's agents for the policy by which `agent` acts, from those of the agents that play: in the place of an agent
        that does not play stands its own."""
        own = self.trained(agent)
        names = self.configuration.agent_names()
        return {name: layouts[agent] if name == own else layouts.get(name, layouts[agent]) for name in names}

    def checkpoint(self, agent: str) -> Path:
        """The manifest of an agent's checkpoint. `UsageError` where it has none."""
        if self.given is not None and agent == self.agent:
            return self.given
        folder = self.directory / "nodes" / agent / CHECKPOINTS
        newest = max(folder.glob("*.json"), default=None)
        if newest is None:
            every = "supervision.checkpoint_interval sets how often they are made, and every run that ends in order makes one at its end"
            raise UsageError(f"{agent} of {self.directory.name} has no checkpoint in {folder}; {every}")
        return newest


def find(runs_dir: Path, what: str | None, agent: str | None, overrides: Sequence[str] = ()) -> CheckpointSource:
    """The run or checkpoint `what` (None: the newest run). `overrides` change the environment and the number of agents that are played.
    `UsageError` for a path of another kind, or an agent that does not play."""
    path = Path(what) if what is not None else None
    given = None
    if path is not None and path.is_file():
        directory, owner, given = _of_checkpoint(path)
        if agent is not None and agent != owner:
            raise UsageError(f"--agent {agent}: {path} is a checkpoint of {owner}; leave out --agent, or name the run {directory.name}")
        agent = owner
    elif path is not None and path.suffix in (*_KINDS, ".yaml", ".yml"):
        raise UsageError(f"there is no file {path}; name a run (orchestrate ps -a lists them) or a file of its nodes/AGENT/{CHECKPOINTS}/")
    else:
        directory = _run(runs_dir, what, path)
    try:
        configuration = recorded(RunFiles(directory).configuration_json())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ConfigurationError(f"{directory / 'config.json'} is of another version: {place}: {first['msg']}") from None
    played = _played(configuration, overrides) if overrides else None
    names = (played or configuration).agent_names()
    if agent is not None and agent not in names:
        raise UsageError(f"--agent {agent}: the agents of {directory.name} are {names[0]}{f' to {names[-1]}' if names[1:] else ''}")
    return CheckpointSource(directory, configuration, agent, given, played)


def _played(configuration: Configuration, overrides: Sequence[str]) -> Configuration:
    """The configuration of a run with another environment, number of agents or of entities; `UsageError` for overrides of other keys."""
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key not in ("agents.count", "agents.entities") and not key.startswith("environment."):
            keys = "environment.KEY=VALUE, agents.count=N or agents.entities=[...]"
            raise UsageError(f"test: {override} changes nothing that is played; write {keys}")
    plain = configuration.model_dump(mode="json") | {"dataset": None, "init_from": None}
    return load(plain, overrides, machine=UNLIMITED).configuration


def _run(runs_dir: Path, what: str | None, path: Path | None) -> Path:
    if path is not None and path.is_dir() and not runs.is_run(path) and not runs.is_run(runs_dir / path):
        raise UsageError(
            f"{path} is no run directory: it has no config.json; name a run, its directory, or a file of its nodes/AGENT/{CHECKPOINTS}/"
        )
    return runs.find(runs_dir, what).directory


def _of_checkpoint(path: Path) -> tuple[Path, str, Path]:
    """(run directory, agent, manifest) of a checkpoint's file."""
    there = path.resolve()
    manifest = there.with_suffix(".json")
    inside = len(there.parents) > 4 and there.parent.name == CHECKPOINTS and there.parents[2].name == "nodes"
    if not inside or there.suffix not in _KINDS or not manifest.is_file():
        shape = f"RUN/nodes/AGENT/{CHECKPOINTS}/NUMBER.json"
        hint = "; a configuration is tried out with orchestrate up" if path.suffix in (".yaml", ".yml") else ""
        raise UsageError(
            f"{path} is no checkpoint of a run: they are {shape}, with the configuration of their run in RUN/config.json{hint}"
        )
    return there.parents[3], there.parents[1].name, manifest
