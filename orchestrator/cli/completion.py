"""Shell completion of the names of runs and shipped configurations, and of configuration keys (`orchestrate --install-completion`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from orchestrator.config.shipped_configurations import locate, shipped_configurations
from orchestrator.results import run_directories as runs
from protocols.runtime.errors import MurmurationError


def complete_runs(context: typer.Context, incomplete: str) -> list[str]:
    """Names of runs in the folder that `--runs-dir` gives, the newest first."""
    folder = Path(str(context.find_root().params.get("runs_dir") or "runs"))
    return [run.name for run in runs.all_runs(folder) if run.name.startswith(incomplete)]


def complete_configurations(incomplete: str) -> list[str]:
    """Names of shipped configurations; where none fits, shells complete names of files."""
    return [name for name in shipped_configurations() if name.startswith(incomplete) and not name.startswith("experiments/")]


def complete_overrides(context: typer.Context, incomplete: str) -> list[str]:
    """Keys of the configuration as `key.path=`, for the components that the file chooses; after the sign the values that the key may have.

    Where the shell splits words at `=` (bash), `incomplete` is the value alone, and key and sign are earlier words.
    """
    file, given = context.params.get("config") or context.params.get("what"), list(context.params.get("overrides") or [])
    chosen = _contents(Path(str(file))) if file is not None else {}
    if incomplete == "=" and given:
        return _values(given[-1], chosen)
    if given[-1:] == ["="] and len(given) > 1:
        return [value for value in _values(given[-2], chosen) if value.startswith(incomplete)]
    key, sign, start = incomplete.partition("=")
    if sign:
        return [f"{key}={value}" for value in _values(key, chosen) if value.startswith(start)]
    return [f"{path}=" for path in _keys(chosen) if path.startswith(incomplete)]


def _contents(file: Path) -> dict[str, Any]:
    """The file with those that it extends, as plain data; empty where it cannot be read."""
    from orchestrator.config.loader import read_chain
    from orchestrator.config.parsing.yaml_reader import UnreadableYaml
    from orchestrator.config.parsing.yaml_tree import plain

    try:
        tree, _ = read_chain(locate(file), [])
    except (MurmurationError, UnreadableYaml, OSError):
        return {}
    data = plain(tree)
    return data if isinstance(data, dict) else {}


def _keys(chosen: dict[str, Any]) -> Iterator[str]:
    """Every key that may be given, sections that may be null included."""
    from orchestrator.config.checks.settings_shape import Shape, data_at, default_at, kind_of, shape_at
    from orchestrator.config.configuration import Configuration

    def below(shape: Shape, path: tuple[str, ...], data: Any) -> Iterator[str]:
        kind = kind_of(data)
        if shape.room is not None and kind is None:
            kind = kind_of(default_at(Configuration, path, chosen))
        owner = shape.settings(kind)
        keys = list(owner.by_key()) if owner is not None else ["kind"] if shape.room is not None else []
        if path and (not keys or shape.nullable):
            yield ".".join(path)
        for key in keys:
            found = shape_at(owner, (key,), {}) if owner is not None else Shape()
            if found is not None:
                yield from below(found, (*path, key), data_at(data, (key,)))

    yield from below(Shape(model=Configuration), (), chosen)


def _values(key: str, chosen: dict[str, Any]) -> list[str]:
    """What a key may be set to, where that is one of a few names."""
    from orchestrator.config.checks.settings_shape import field_at, shape_at
    from orchestrator.config.configuration import Configuration
    from protocols.runtime.component_registry import kinds

    path = tuple(key.split("."))
    around, shape = shape_at(Configuration, path[:-1], chosen), shape_at(Configuration, path, chosen)
    if path[-1] == "kind" and around is not None and around.room is not None:
        return kinds(around.room)
    if shape is None:
        return []
    field = field_at(Configuration, path, chosen)
    truth = ["true", "false"] if field is not None and field.annotation is bool else []
    return [*map(str, shape.choices), *truth, *(["null"] if shape.nullable else [])]
