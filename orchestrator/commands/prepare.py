"""A checked configuration becomes a run directory, complete enough that its run server needs nothing else."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.configuration import Loaded


def command_line(config: Path, overrides: Sequence[str], seed: int | None) -> str:
    """One line that repeats the run (under another name)."""
    words = ["orchestrate", "up", str(config), *overrides]
    if seed is not None:
        words += ["--seed", str(seed)]
    return shlex.join(words)


def prepare_run(loaded: Loaded, runs_dir: Path, name: str | None, command: str) -> Path:
    """Make a new run directory with the configuration as resolved, canonical and given, and the command. Names are never used twice:
    an existing one is a `ConfigurationError`."""
    from orchestrator.configuration import canonical_json, resolved_yaml
    from orchestrator.names import create_run_directory

    directory = create_run_directory(runs_dir, loaded.configuration.name, name)
    (directory / "config.yaml").write_text(resolved_yaml(loaded.configuration), encoding="utf-8")
    (directory / "config.origin.yaml").write_text(loaded.source, encoding="utf-8")
    (directory / "command.txt").write_text(command + "\n", encoding="utf-8")
    # The run server starts from this one: it comes last.
    (directory / "config.json").write_text(canonical_json(loaded.configuration) + "\n", encoding="utf-8")
    return directory
