"""A checked configuration becomes a run directory, complete enough that its run server needs nothing else."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.config.loader import Loaded


def command_line(config: Path, overrides: Sequence[str], seed: int | None) -> str:
    """One line that repeats the run (under another name)."""
    words = ["orchestrate", "up", str(config), *overrides]
    if seed is not None:
        words += ["--seed", str(seed)]
    return shlex.join(words)


RESUMABLE = ("until", "launch", "metrics", "supervision")
"""sections that may differ when a run goes on: they change how long, where and how it runs, not what it is"""


def prepare_resume(directory: Path, overrides: Sequence[str], seed: int | None) -> Loaded:
    """Make a run that has ended, or was interrupted, ready to go on. `UsageError` while it goes on; `ConfigurationError` for arguments that
    would make another run of it."""
    from orchestrator.config.loader import load
    from orchestrator.config.resolved_configuration import canonical_json, resolved_yaml
    from orchestrator.results import run_directories as runs
    from orchestrator.results.run_files import RunFiles
    from protocols.runtime.errors import ConfigurationError, UsageError

    if runs.lock_held(directory):
        raise UsageError(f"{directory.name} is running; look on: orchestrate attach {directory.name}")
    if seed is not None:
        raise ConfigurationError(f"--seed: another seed is another run; {directory.name} goes on with its own")
    loaded = load(directory / "config.yaml", overrides)
    before = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    after = json.loads(canonical_json(loaded.configuration))
    changed = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
    if forbidden := [key for key in changed if key not in RESUMABLE]:
        raise ConfigurationError(
            f"{', '.join(forbidden)}: would make another run of {directory.name}; when a run goes on only {', '.join(RESUMABLE)} may change"
        )
    if changed:
        (directory / "config.yaml").write_text(resolved_yaml(loaded.configuration), encoding="utf-8")
        (directory / "config.json").write_text(canonical_json(loaded.configuration) + "\n", encoding="utf-8")
    # Who looks on must not take the end of the last segment for that of the next.
    files = RunFiles(directory)
    files.control.unlink(missing_ok=True)
    files.update(state="STARTING", exit_code=None, reason="", ended=None, pid=None)
    return loaded


def prepare_run(loaded: Loaded, runs_dir: Path, name: str | None, command: str) -> Path:
    """Make a new run directory with the configuration as resolved, canonical and given, and the command. Names are never used twice:
    an existing one is a `ConfigurationError`."""
    from orchestrator.config.resolved_configuration import canonical_json, resolved_yaml
    from orchestrator.run_server.run_names import create_run_directory

    directory = create_run_directory(runs_dir, loaded.configuration.name, name)
    (directory / "config.yaml").write_text(resolved_yaml(loaded.configuration, notices=loaded.notices), encoding="utf-8")
    (directory / "config.origin.yaml").write_text(loaded.source, encoding="utf-8")
    (directory / "command.txt").write_text(command + "\n", encoding="utf-8")
    # The run server starts from this one: it comes last.
    (directory / "config.json").write_text(canonical_json(loaded.configuration) + "\n", encoding="utf-8")
    return directory
