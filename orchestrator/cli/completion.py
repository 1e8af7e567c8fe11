"""Shell completion of the names of runs and shipped configurations, and of configuration keys (`orchestrate --install-completion`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from protocols.runtime.errors import MurmurationError

CONFIG = "A YAML file, or the name of a shipped configuration."
"""help of the argument that `complete_configurations` completes"""


def complete_runs(context: typer.Context, incomplete: str) -> list[str]:
    """Names of runs in the folder that `--runs-dir` gives, the newest first."""
    from orchestrator.results import run_directories as runs

    folder = Path(str(context.find_root().params.get("runs_dir") or "runs"))
    return [run.name for run in runs.all_runs(folder) if run.name.startswith(incomplete)]


def complete_configurations(incomplete: str) -> list[str]:
    """Names of shipped configurations; where none fits, shells complete names of files."""
    from orchestrator.config.shipped_configurations import shipped_configurations

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
    from orchestrator.config.shipped_configurations import locate

    try:
        tree, _ = read_chain(locate(file), [])
    except (MurmurationError, UnreadableYaml, OSError):
        return {}
    data = plain(tree)
    return data if isinstance(data, dict) else {}


def _keys(chosen: dict[str, Any]) -> Iterator[str]:
    """Every key that may be given, sections that may be null included."""
    from orchestrator.config.checks.settings_shape import Shape, default_at, shape_at
    from orchestrator.config.configuration import Configuration

    def below(shape: Shape, path: tuple[str, ...], data: Any) -> Iterator[str]:
        kind = data.get("kind") if isinstance(data, dict) else None
        if shape.room is not None and kind is None:
            default = default_at(Configuration, path, chosen)
            kind = default.get("kind") if isinstance(default, dict) else None
        owner = shape.settings(kind)
        keys = list(owner.by_key()) if owner is not None else ["kind"] if shape.room is not None else []
        if path and (not keys or shape.nullable):
            yield ".".join(path)
        for key in keys:
            found = shape_at(owner, (key,), {}) if owner is not None else Shape()
            if found is not None:
                yield from below(found, (*path, key), data.get(key) if isinstance(data, dict) else None)

    yield from below(Shape(model=Configuration), (), chosen)


def _values(key: str, chosen: dict[str, Any]) -> list[str]:
    """What a key may be set to, where that is one of a few names."""
    from orchestrator.config.checks.settings_shape import shape_at
    from orchestrator.config.configuration import Configuration
    from protocols.runtime.component_registry import kinds

    path = tuple(key.split("."))
    around, shape = shape_at(Configuration, path[:-1], chosen), shape_at(Configuration, path, chosen)
    if path[-1] == "kind" and around is not None and around.room is not None:
        return kinds(around.room)
    if shape is None:
        return []
    owner = around.settings(_inside(chosen, path[:-1]).get("kind")) if around is not None else None
    field = owner.by_key().get(path[-1]) if owner is not None else None
    truth = ["true", "false"] if field is not None and field.annotation is bool else []
    return [*map(str, shape.choices), *truth, *(["null"] if shape.nullable else [])]


def _inside(data: Any, path: tuple[str, ...]) -> dict[str, Any]:
    for part in path:
        data = data.get(part) if isinstance(data, dict) else None
    return data if isinstance(data, dict) else {}
