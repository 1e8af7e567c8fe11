"""Arguments `key.path=value` and `key+=value`, laid over the tree of the file."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.config.checks.settings_shape import default_at, field_at, nearest_keys, shape_at
from orchestrator.config.parsing.problems import Problem
from orchestrator.config.parsing.yaml_reader import UnreadableYaml, read_value
from orchestrator.config.parsing.yaml_tree import List, Location, Node, Path, Scalar, changed, find, format_path, plain, planted, put
from protocols.runtime.settings_types import Settings
from protocols.runtime.suggestions import nearest

_DEFAULT = Location("default")


@dataclass(frozen=True)
class Override:
    """One argument: `parts` as written (an index is still text), and the value's tree."""

    location: Location
    parts: tuple[str, ...]
    value: Node
    append: bool


class OverrideRefused(Exception):
    """An argument that cannot be applied; `problem` is the reason."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def parse(argument: str, number: int) -> Override:
    """`agents.count=8` as an override; values are YAML 1.2 scalars or flow collections. `OverrideRefused` when it is no such thing."""
    location = Location(f"argument {number}")
    name, sign, text = argument.partition("=")
    append = name.endswith("+")
    name = name.removesuffix("+").strip()
    parts = tuple(name.split("."))
    if not sign or not all(parts):
        raise OverrideRefused(
            Problem(str(location), "", f'"{argument}" is not an override; write key.path=value, for example agents.count=8')
        )
    if not text.strip():
        raise OverrideRefused(
            Problem(str(location), name, f"has no value; write {name}=null to remove it, {name}='\"\"' for an empty text")
        )
    try:
        return Override(location, parts, read_value(text, location), append)
    except UnreadableYaml as unreadable:
        problem = unreadable.problems[-1]
        text = problem.message if problem.path else f"{text!r} {problem.text}"
        raise OverrideRefused(Problem(str(location), name, text)) from unreadable


def apply(tree: Node, override: Override, root: type[Settings]) -> Node:
    """The tree with one argument laid over it: the same tree as if the file had been edited at that place.

    Parts of the path that the file does not give start from the models' defaults: lists whole, components with their `kind`.
    null removes a key of an open map (a name under `agents.overrides`, an option), an item of a list, and any key that may not be null;
    where null means something (`exchange.consensus=null`) it is written.
    """
    path: Path = ()
    for number, part in enumerate(override.parts):
        here = find(tree, path)
        path = (*path, int(part) if isinstance(here, List) and part.lstrip("-").isdigit() else part)
        if number < len(override.parts) - 1 or override.append:
            tree = materialised(tree, path, root)
    data = plain(tree)
    shape, around = shape_at(root, path, data), shape_at(root, path[:-1], data)
    removes = isinstance(override.value, Scalar) and override.value.value is None and not override.append
    outer = shape_at(root, path[:-2], data) if len(path) > 1 else None
    named = around is not None and around.is_open_map and not (outer is not None and outer.is_open_map)
    field = field_at(root, path, data)
    optional = shape is not None and not shape.nullable and field is not None and not field.is_required()
    drop = removes and (isinstance(path[-1], int) or named or optional)

    def change(old: Node | None) -> Node | None:
        if not override.append:
            return None if drop else override.value
        if old is None or (isinstance(old, Scalar) and old.value is None):
            old = List(override.location)
        free = shape is None or shape.is_list or (around is not None and around.is_open_map)
        if not isinstance(old, List) or not free:
            raise OverrideRefused(
                Problem(str(override.location), format_path(path), "+= adds to a list, but this is none; write = instead")
            )
        return List(override.location, (*old.items, override.value))

    try:
        return changed(tree, path, override.location, change)
    except KeyError as barred:
        raise OverrideRefused(_barred(tree, barred.args[0], path, override, root)) from None


def materialised(tree: Node, path: Path, root: type[Settings]) -> Node:
    """The tree with the default of a list, or the kind of a component, written out at `path` if nothing stands there."""
    if find(tree, path) is not None:
        return tree
    data = plain(tree)
    shape, default = shape_at(root, path, data), default_at(root, path, data)
    if shape is None or default is None or not (shape.is_list or shape.room is not None):
        return tree
    return put(tree, path, planted(default if shape.is_list else {"kind": default["kind"]}, _DEFAULT))


def _barred(tree: Node, at: Path, path: Path, override: Override, root: type[Settings]) -> Problem:
    """Why the way to `path` ends at `at`: a scalar with parts below it, or an index outside its list."""
    holder = find(tree, at[:-1])
    place = str(override.location)
    if isinstance(holder, List):
        name = format_path(at[:-1])
        if not isinstance(at[-1], int):
            return Problem(place, ".".join(override.parts), f'{name} is a list: "{at[-1]}" is no index')
        size = len(holder.items)
        reach = f"its indices are 0 to {size - 1}" if size else "it is empty"
        return Problem(place, format_path(path), f"index {at[-1]} is outside the list: {reach}; {name}+=... adds to it")
    keys = nearest_keys(shape, None) if (shape := shape_at(root, at[:-2], plain(tree))) is not None and len(at) > 1 else []
    close = nearest(str(at[-2]), keys) if len(at) > 1 and at[-2] not in keys else None
    value = holder.value if isinstance(holder, Scalar) else None
    return Problem(place, format_path(path), f"{format_path(at[:-1])} is {value!r}, which has no keys below it", close)
