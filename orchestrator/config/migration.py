"""Configurations and experiments of version 1 with the keys and values of the present version; comments and layout stay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath

from orchestrator.config.key_names import VERSION, present_key, present_value
from orchestrator.config.parsing.file_kinds import taken_for_configuration
from orchestrator.config.parsing.problems import Problems
from orchestrator.config.parsing.yaml_reader import UnreadableYaml, read_file
from orchestrator.config.parsing.yaml_tree import List, Location, Map, Node, Path, Scalar, find, format_path


@dataclass(frozen=True)
class Change:
    """One text at a place of the file, and its replacement."""

    location: Location
    path: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.location}  {self.path}: {self.old} -> {self.new}"


@dataclass(frozen=True)
class Migration:
    """The changes of one file, and its text with them."""

    changes: list[Change]
    text: str


def migration_of(file: FilePath) -> Migration:
    """What `orchestrate migrate` changes in a file. `Problems` where it cannot be read."""
    try:
        tree, text, problems = read_file(file, str(file))
    except UnreadableYaml as unreadable:
        raise Problems(str(file), unreadable.problems) from unreadable
    if problems:
        raise Problems(str(file), problems)
    found = list(_of_experiment(tree) if taken_for_configuration(tree, str(file)) is not None else _of_configuration(tree))
    changes = sorted(dict.fromkeys(found), key=lambda change: (change.location.line, change.location.column))
    return Migration(changes, _changed_text(text, changes))


def _of_configuration(tree: Map) -> Iterator[Change]:
    version = find(tree, ("version",))
    if isinstance(version, Scalar) and version.value == 1:
        yield Change(version.location, "version", "1", str(VERSION))
        yield from _below(tree, ())


def _of_experiment(tree: Map) -> Iterator[Change]:
    """Keys under `set`, and those of factors with what their values hold."""
    given = find(tree, ("set",))
    if isinstance(given, Map):
        for name, entry in given.entries.items():
            yield from _dotted(name, entry.key)
            yield from _below(entry.value, _present(name))
    factors = find(tree, ("factors",))
    for factor in factors.entries.values() if isinstance(factors, Map) else ():
        key = find(factor.value, ("key",))
        if isinstance(key, Scalar) and isinstance(key.value, str):
            yield from _dotted(key.value, key.location)
            values = find(factor.value, ("values",))
            for item in [entry.value for entry in values.entries.values()] if isinstance(values, Map) else getattr(values, "items", ()):
                yield from _below(item, _present(key.value))


def _present(dotted: str) -> Path:
    path: Path = ()
    for part in dotted.split("."):
        path = (*path, present_key((*path, part)) or part)
    return path


def _dotted(name: str, location: Location) -> Iterator[Change]:
    new = format_path(_present(name))
    if new != name:
        yield Change(location, name, name, new)


def _below(node: Node, path: Path) -> Iterator[Change]:
    """Renamed keys and values of the tree that stands at `path`, whose keys have their present names."""
    if isinstance(node, Map):
        for name, entry in node.entries.items():
            new = present_key((*path, name))
            if new is not None and new not in node.entries:
                yield Change(entry.key, format_path((*path, name)), name, new)
            yield from _below(entry.value, (*path, new or name))
    elif isinstance(node, List):
        for index, item in enumerate(node.items):
            yield from _below(item, (*path, index))
    elif isinstance(node.value, str) and (value := present_value(path, node.value)) is not None:
        yield Change(node.location, format_path(path), node.value, value)


def _changed_text(text: str, changes: list[Change]) -> str:
    """Every change made at its line and column, the last one first, so that places before it stay valid."""
    lines = text.splitlines(keepends=True)
    for change in reversed(changes):
        row, start = change.location.line - 1, change.location.column - 1
        start += lines[row][start] in "\"'"
        if not lines[row].startswith(change.old, start):
            raise Problems(str(change.location), [])
        end = start + len(change.old)
        lines[row] = lines[row][:start] + change.new + _aligned(lines[row][end:], len(change.new) - len(change.old))
    return "".join(lines)


def _aligned(rest: str, longer: int) -> str:
    """The rest of a line, its comment kept in its column where there is room."""
    before, mark, comment = rest.partition("  #")
    padding = len(before) - len(before.rstrip(" "))
    if not mark or '"' in before or "'" in before:
        return rest
    return before.rstrip(" ") + " " * max(0, padding - longer) + mark + comment
