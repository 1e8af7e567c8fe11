"""The engines by name, and what to do about one that a run server has left behind."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import cast

from orchestrator.launch.engine import Engine
from orchestrator.launch.leftover_processes import sweep
from protocols.runtime.errors import UsageError

ENGINES = {
    "local": "orchestrator.launch.local_engine:LocalEngine",
    "slurm": "orchestrator.launch.slurm.slurm_engine:SlurmEngine",
    "ray": "orchestrator.launch.ray.ray_engine:RayEngine",
    "ssh": "orchestrator.launch.ssh.ssh_engine:SshEngine",
}
"""name to `module:class`; a module is imported when its engine is asked for, and imports what it needs only when it is used"""


def make_engine(name: str, directory: Path) -> Engine:
    """The engine of that name for the run in `directory`."""
    if name not in ENGINES:
        raise UsageError(f"there is no launch engine {name}; there are {', '.join(ENGINES)}")
    module, _, kind = ENGINES[name].partition(":")
    return cast(Engine, getattr(import_module(module), kind)(directory))


def clean_up(directory: Path, engine: str) -> tuple[list[int], list[str]]:
    """End what a run server that is gone has left: processes here, by their marks, and what its engine has noted elsewhere.

    Returns the numbers of the processes that were killed here, and in words what could not be reached, each with its cure.
    """
    left = make_engine(engine, directory).release() if engine in ENGINES else []
    return sweep(directory), left
