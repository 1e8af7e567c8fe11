"""A YAML document as a tree in which every key and every value has its place in the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

Path = tuple[str | int, ...]
"""Keys and list indices from the top."""


@dataclass(frozen=True)
class Location:
    """Where something was written: a file's line and column (from 1), or an argument or flag."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(frozen=True)
class Scalar:
    """A text, number, boolean or null."""

    location: Location
    value: str | int | float | bool | None


@dataclass(frozen=True)
class MapEntry:
    """A key's place and its value."""

    key: Location
    value: Node


@dataclass(frozen=True)
class Map:
    """Keys and values, in the order of the file."""

    location: Location
    entries: dict[str, MapEntry] = field(default_factory=dict)


@dataclass(frozen=True)
class List:
    """Items in order."""

    location: Location
    items: tuple[Node, ...] = ()


Node = Scalar | Map | List


def format_path(path: Path) -> str:
    """A path as text, for example `network.topology.edges[0][1]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def plain(node: Node) -> Any:
    """The tree as dicts, lists and scalars (new ones: the caller may change them)."""
    if isinstance(node, Map):
        return {key: plain(entry.value) for key, entry in node.entries.items()}
    if isinstance(node, List):
        return [plain(item) for item in node.items]
    return node.value


def planted(value: Any, location: Location) -> Node:
    """Dicts, lists and scalars as a tree that was written at `location`."""
    if isinstance(value, dict):
        return Map(location, {str(key): MapEntry(location, planted(item, location)) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return List(location, tuple(planted(item, location) for item in value))
    return Scalar(location, value)


def child(node: Node, part: str | int) -> Node | None:
    """The value at one key or index, or None."""
    if isinstance(node, Map) and part in node.entries:
        return node.entries[str(part)].value
    if isinstance(node, List) and isinstance(part, int) and 0 <= part < len(node.items):
        return node.items[part]
    return None


def find(node: Node, path: Path) -> Node | None:
    """The node at `path`; None where the document does not have it."""
    here: Node | None = node
    for part in path:
        if here is None:
            return None
        here = child(here, part)
    return here


def place(node: Node, path: Path, key: bool = False) -> Location:
    """Where the value at `path` (with `key`: its key) was written; for what is not there, the innermost map or list around it."""
    location = node.location
    here = node
    for number, part in enumerate(path):
        found = child(here, part)
        if found is None:
            break
        location = here.entries[part].key if key and isinstance(here, Map) and number == len(path) - 1 else found.location  # type: ignore[index]
        here = found
    return location


def overlap(one: Path, other: Path) -> bool:
    """Whether one of the paths leads to the other, or both are the same."""
    short = min(len(one), len(other))
    return one[:short] == other[:short]


def changed(node: Node, path: Path, key: Location, change: Callable[[Node | None], Node | None], above: Path = ()) -> Node:
    """A copy of the tree in which `change(value or None)` stands at `path`; None removes it. Maps on the way are made as needed, and a
    null on the way becomes a map; `KeyError` with the path (below `above`) of a scalar or an index that bars the way."""
    part, rest = path[0], path[1:]
    here = (*above, part)
    if isinstance(node, Scalar) and node.value is None and isinstance(part, str):
        node = Map(key)
    if isinstance(node, Map) and isinstance(part, str):
        known = node.entries.get(part)
        value: Node | None = known.value if known else None
        value = changed(value or Map(key), rest, key, change, here) if rest else change(value)
        entries = {name: entry for name, entry in node.entries.items() if value is not None or name != part}
        if value is not None:
            entries[part] = MapEntry(known.key if known and rest else key, value)
        return replace(node, entries=entries)
    if isinstance(node, List) and isinstance(part, int) and 0 <= part < len(node.items):
        item: Node | None = changed(node.items[part], rest, key, change, here) if rest else change(node.items[part])
        return replace(node, items=(*node.items[:part], *((item,) if item is not None else ()), *node.items[part + 1 :]))
    raise KeyError(here)


def put(node: Node, path: Path, value: Node) -> Node:
    """A copy of the tree in which `value` stands at `path`, as `changed`."""
    return changed(node, path, value.location, lambda _: value)


def renamed(node: Node, path: Path, name: str) -> Node:
    """A copy of the tree in which the last key of `path` is called `name`; its places stay."""
    if len(path) == 1:
        entries = node.entries if isinstance(node, Map) else {}
        return Map(node.location, {name if key == path[0] else key: entry for key, entry in entries.items()})
    return changed(node, path[:-1], node.location, lambda holder: renamed(holder, path[-1:], name) if holder is not None else None)
