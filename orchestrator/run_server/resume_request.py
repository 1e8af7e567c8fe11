"""`orchestrate up --resume`: what a run that has ended may be given to do, and how its directory is made ready for that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.results import run_directories as runs
from orchestrator.results.kept_outcome import ATTEMPT, counts, is_kept, keep_outcome
from orchestrator.results.run_files import RunFiles, read_json
from orchestrator.run_server.lead.living_run import can_be_taken_over, find_living
from protocols.runtime.atomic_files import unsealed
from protocols.runtime.clock import TrainingLimits
from protocols.runtime.errors import ConfigurationError, ExitCode, UsageError

if TYPE_CHECKING:
    from orchestrator.config.configuration import Configuration
    from orchestrator.config.loader import Loaded

RESUMABLE = ("until", "launch", "metrics", "supervision")
"""sections that may differ when a run goes on: they change how long, where and how it runs, not what it is"""
_ROUNDING = 1e-3
"""seconds by which `trained` in `run.json` may be too small"""


def load_resumed(directory: Path, overrides: list[str], seed: int | None) -> Loaded:
    """The configuration with which a run that has ended, or was interrupted, is to go on; no file changes. `UsageError` while it goes on;
    `ConfigurationError` for arguments that would make another run of it."""
    from orchestrator.config.loader import load

    if runs.lock_held(directory):
        raise UsageError(f"{directory.name} is running; look on: orchestrate attach {directory.name}")
    if seed is not None:
        raise ConfigurationError(f"--seed: another seed is another run; {directory.name} goes on with its own")
    loaded = load(directory / "config.yaml", overrides)
    if forbidden := [key for key in _changed(directory, loaded.configuration) if key not in RESUMABLE]:
        raise ConfigurationError(
            f"{', '.join(forbidden)}: would make another run of {directory.name}; when a run goes on only {', '.join(RESUMABLE)} may change"
        )
    return loaded


def prepare_resume(directory: Path, overrides: list[str], seed: int | None) -> Loaded:
    """Make a run ready to go on, by `load_resumed`: where its processes are running and nothing changes, they are left as they are. The
    record of a run that is done is kept until it has done more."""
    from orchestrator.config.resolved_configuration import canonical_json, resolved_yaml

    settle(directory)
    loaded = load_resumed(directory, overrides, seed)
    changed = _changed(directory, loaded.configuration)
    if not changed and find_living(directory, loaded.configuration) is not None:
        return loaded
    keep_outcome(directory)
    if changed:
        (directory / "config.yaml").write_text(resolved_yaml(loaded.configuration), encoding="utf-8")
        (directory / "config.json").write_text(canonical_json(loaded.configuration) + "\n", encoding="utf-8")
    # Who looks on must not take the end of the last segment for that of the next.
    files = RunFiles(directory)
    files.control.unlink(missing_ok=True)
    files.state.pop(ATTEMPT, None)
    files.update(state="STARTING", exit_code=None, reason="", ended=None, pid=None)
    return loaded


def settle(directory: Path) -> None:
    """A longer run whose run server was killed has left the record of the run open: decide about it, unless the run goes on."""
    if is_kept(directory) and not runs.lock_held(directory) and not can_be_taken_over(directory):
        run = runs.read(directory)
        runs.close_lost(run, int(ExitCode.INTERRUPTED), "its run server was gone when the run was resumed")


def nothing_to_do(directory: Path, configuration: Configuration) -> str:
    """Why a run that is done has nothing left to do with this `until`, with the command that extends it; empty where it goes on."""
    run = runs.read(directory)
    if run.state != "DONE" or not (directory / "summary.json").is_file():
        return ""
    reached = _reached(directory, configuration)
    if not reached:
        return ""
    done = ", ".join(text for text, _ in reached.values())
    more = " ".join(f"until.{key}={value}" for key, (_, value) in reached.items())
    return f"{run.name} is done ({done}): there is nothing to do. To extend it: orchestrate up --resume {run.name} {more}"


def _reached(directory: Path, configuration: Configuration) -> dict[str, tuple[str, str]]:
    """Limits of `until` that the run has reached: key -> (what was done, in words; an example of a larger limit)."""
    until = configuration.until
    record = read_json(directory / "run.json")
    done = counts(directory)
    steps, episodes, seconds = done["steps"], done["episodes"], float(record.get("trained") or 0.0) + _ROUNDING
    if configuration.clock == "logical":
        end = _logical_end(directory)
        if end is None:  # an earlier version, or no checkpoint: nothing is known but the limits that it was given
            before = json.loads((directory / "config.json").read_text(encoding="utf-8")).get("until")
            end = (2**62,) * 3 if before == configuration.until.model_dump(mode="json") else (0, 0, 0)
        tick, steps, episodes = end
        seconds = tick * configuration.tick + _ROUNDING * configuration.tick
        limits = TrainingLimits(until.model_dump(), configuration.tick)
        if limits.reached(tick, steps, episodes) is None:
            return {}
    reached = {}
    if until.steps is not None and steps >= until.steps:
        reached["steps"] = f"{until.steps} steps", f"{2 * until.steps}"
    if until.episodes is not None and episodes >= until.episodes:
        reached["episodes"] = f"{until.episodes} episodes", f"{2 * until.episodes}"
    if until.time is not None and seconds >= until.time:
        reached["time"] = f"{until.time:g} s of training", f"{2 * until.time:g}s"
    return reached


def _logical_end(directory: Path) -> tuple[int, int, int] | None:
    """Tick, steps and episodes at which training ended under the logical clock, by the newest checkpoint; None where it has none."""
    paths = sorted((directory / "nodes" / "env-0" / "checkpoints").glob("*.json"))
    try:
        state = unsealed(paths[-1].read_bytes())
    except (IndexError, OSError, ValueError):
        return None
    end = state["course"].get("end") or (int(paths[-1].stem), state["numbers"]["steps"], state["numbers"]["episodes"])
    return int(end[0]), int(end[1]), int(end[2])


def _changed(directory: Path, configuration: Configuration) -> list[str]:
    """Sections that differ from those of the recorded configuration."""
    from orchestrator.config.resolved_configuration import canonical_json

    before = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    after = json.loads(canonical_json(configuration))
    return sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
