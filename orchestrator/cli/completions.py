"""What a shell completes after `orchestrate`: names of runs, names of shipped configurations, and keys of the configuration.

`orchestrate --install-completion` installs it. Where nothing here fits, shells complete names of files.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from orchestrator.config.checks.settings_shape import Shape


def complete_run(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Names of runs that begin so, newest first, with their state."""
    from orchestrator.results import run_directories

    try:
        runs = run_directories.all_runs(_runs_dir(context))
    except Exception:
        return []  # a completion that fails must not write into the command line
    return [(run.name, run.state.lower()) for run in runs if run.name.startswith(incomplete)]


def complete_configuration(incomplete: str) -> list[str]:
    """Names of shipped configurations that begin so."""
    from orchestrator.config.shipped_configurations import shipped_configurations

    try:
        return [name for name in shipped_configurations() if name.startswith(incomplete) and not name.startswith("experiments/")]
    except Exception:
        return []


def complete_override(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Keys of the configuration that begin so, with their meaning: `agents.count=`. Components have the keys of the kinds that the
    configuration on the command line chooses. Where one section fits, its keys: a key always ends the word."""
    if "=" in incomplete:
        return []
    from orchestrator.config.checks.settings_shape import Shape
    from orchestrator.config.configuration import Configuration

    *above, begun = incomplete.split(".")
    data = _given(context)
    shape: Shape | None = Shape(model=Configuration)
    for part in above:
        shape, data = _below(shape, part, data)
    keys = [key for key in _keys(shape, data) if key.startswith(begun)]
    prefix = "".join(f"{part}." for part in above)
    if len(keys) == 1 and _keys(*(below := _below(shape, keys[0], data))):
        prefix, (shape, data) = f"{prefix}{keys[0]}.", below
        keys = _keys(shape, data)
    return [(f"{prefix}{key}{'.' if _keys(*_below(shape, key, data)) else '='}", _meaning(shape, key, data)) for key in keys]


def _runs_dir(context: typer.Context) -> Path:
    """As the command line or ORCHESTRATE_RUNS gives it."""
    here: Any = context
    while here is not None:
        if (found := here.params.get("runs_dir")) is not None:
            return Path(found)
        here = here.parent
    return Path("runs")


def _given(context: typer.Context) -> Any:
    """The configuration on the command line as plain values; empty where it cannot be read."""
    from orchestrator.config.loader import read_chain
    from orchestrator.config.parsing.yaml_tree import plain
    from orchestrator.config.shipped_configurations import locate

    config = context.params.get("config")
    try:
        return plain(read_chain(locate(Path(config)), [])[0]) if config else {}
    except Exception:
        return {}


def _below(shape: Shape | None, part: str, data: Any) -> tuple[Shape | None, Any]:
    from orchestrator.config.checks.settings_shape import step

    if shape is None:
        return None, None
    inside = data.get(part) if isinstance(data, dict) else None
    return step(shape, part, _kind(data)), inside


def _keys(shape: Shape | None, data: Any) -> list[str]:
    from orchestrator.config.checks.settings_shape import nearest_keys

    return [] if shape is None else nearest_keys(shape, _kind(data))


def _kind(data: Any) -> Any:
    return data.get("kind") if isinstance(data, dict) else None


def _meaning(shape: Shape | None, key: str, data: Any) -> str:
    owner = None if shape is None else shape.settings(_kind(data))
    description = None if owner is None else owner.by_key()[key].description
    return " ".join(description.split()) if description else ""
