"""Field checks: pydantic's errors as problems with places, all at once, and the configuration repaired of its mistakes.

pydantic stops at a wrong component name (it cannot know which keys to expect) and skips the rules of a map whose keys are wrong. So the
data is repaired and validated again until it holds: each mistake is replaced by the default (a misspelt component by the nearest right
one). What comes out is a whole model, on which the cross checks can run where they do not depend on anything broken.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from orchestrator.config.checks.settings_shape import Shape, data_at, kind_of, nearest_keys, places_of, shape_at, shape_of, step
from orchestrator.config.key_names import present_key, present_value, removed_value, replaced_key
from orchestrator.config.parsing.problems import Problem
from orchestrator.config.parsing.yaml_tree import Node, Path, format_path, overlap, place, plain, renamed
from protocols.runtime.component_registry import component, kinds
from protocols.runtime.settings_types import Settings
from protocols.runtime.suggestions import nearest

Model = TypeVar("Model", bound=Settings)
_MOST_ROUNDS = 40
_FOLLOWING = ("missing", "value_error", "union_tag_not_found")
"""errors that a repair may have caused, where one was made there"""


@dataclass
class Validated(Generic[Model]):
    """`model` is None only when nothing could be repaired; it is the given configuration exactly when `problems` is empty."""

    model: Model | None
    tree: Node
    """the given tree with misspelt keys spelt right"""
    problems: list[Problem] = field(default_factory=list)
    broken: set[Path] = field(default_factory=set)
    """paths whose values in `model` are not the given ones"""
    paths: list[Path] = field(default_factory=list)
    """where each problem stands"""


def validate(tree: Node, root: type[Model], stand_ins: Mapping[str, Any]) -> Validated[Model]:
    """Check a tree against a settings class; `stand_ins` are valid values of the required keys at the top, for repairs."""
    result: Validated[Model] = Validated(None, tree)
    data = plain(tree)
    touched: set[Path] = set()
    seen: set[tuple[Path, str]] = set()
    for _ in range(_MOST_ROUNDS):
        try:
            result.model = root.model_validate_json(json.dumps(data), strict=True)
            return result
        except ValidationError as failure:
            mistakes = _grouped(failure, data, root)
        before = deepcopy(data)
        spelt_right: set[Path] = set()
        for path, errors in sorted(mistakes.items(), key=lambda mistake: mistake[1][0]["type"] != "extra_forbidden"):
            kind = errors[0]["type"]
            follows = kind in _FOLLOWING and any(overlap(path, other) for other in touched)
            if not follows and (path, kind) not in seen:
                seen.add((path, kind))
                _report(result, tree, path, errors, before, root)
            if kind == "missing" and path in spelt_right:
                continue
            touched.add(path)
            right = _meant_key(path, before, root) if kind == "extra_forbidden" else None
            holder = data_at(data, path[:-1])
            if right is not None and isinstance(holder, dict) and path[-1] in holder and right not in holder:
                holder[right] = holder.pop(path[-1])
                tree = result.tree = renamed(tree, path, right)
                touched.add((*path[:-1], right))
                spelt_right.add((*path[:-1], right))
                continue
            _repair(data, path, errors[0], before, root, stand_ins)
        if data == before:
            return result
    return result


def _grouped(failure: ValidationError, data: Any, root: type[Settings]) -> dict[Path, list[ErrorDetails]]:
    """Errors by the path of the data they are about: a union of types reports once for each of its members."""
    grouped: dict[Path, list[ErrorDetails]] = defaultdict(list)
    for error in failure.errors(include_url=False):
        grouped[_data_path(error, data, root)].append(error)
    return grouped


def _data_path(error: ErrorDetails, data: Any, root: type[Settings]) -> Path:
    """pydantic's location without the names of components and union members that it weaves in."""
    path: list[str | int] = []
    shape: Shape | None = Shape(model=root)
    chosen = True
    for part in error["loc"]:
        if shape is not None and shape.room is not None and not chosen:
            chosen = True
            continue
        if not isinstance(data, (dict, list)) or (part == "[key]" and part not in data):
            break
        if shape is not None and shape.union:  # of scalars: what is written there has no parts that may be named
            break
        path.append(part)
        shape = step(shape, part, kind_of(data)) if shape is not None else None
        chosen = False
        data = data_at(data, (part,))
    if error["type"] == "union_tag_invalid" and not isinstance(data, str):  # a text is the name of the kind itself
        path.append("kind")
    return tuple(path)


def _report(result: Validated[Any], tree: Node, path: Path, errors: list[ErrorDetails], data: Any, root: type[Settings]) -> None:
    error, kind = errors[0], errors[0]["type"]
    at_key = "[key]" in error["loc"]
    around = path[:-1] if kind == "union_tag_invalid" and isinstance(data_at(data, path[:-1]), dict) else path
    here, value = shape_at(root, around, data), path[-1] if at_key else data_at(data, path)
    suggestion: str | None = None
    if kind == "extra_forbidden":
        keys, at_key = _keys_around(path, data, root), True
        if (present := present_key(path, root)) in keys:
            text = f"this key is now `{present}`; `orchestrate migrate` renames the keys of a file"
        elif (replacement := replaced_key(path, root)) is not None:
            text = f"this key {replacement}"
        else:
            owners = _kinds_with(shape_at(root, path[:-1], data), [str(path[-1])])
            suggestion = None if owners else nearest(str(path[-1]), keys)
            others = _elsewhere(path, root) or f"the keys here are {', '.join(keys) or 'none'}"
            others = f"it is a key of {', '.join(owners)}; {others}" if owners else others
            text = "unknown key" if suggestion else f"unknown key; {others}"
    elif kind == "union_tag_invalid":
        text = f"{shown(value)} is not one of {', '.join(_kinds(here))}"
        suggestion = nearest(str(value), _kinds(here))
    elif kind == "union_tag_not_found":
        given = list(value) if isinstance(value, dict) else []
        fitting = _kinds_with(here, given) if given else []
        where = f"with {', '.join(map(str, given))} " if fitting else ""
        text = f'the key "kind" is missing; {where}it is one of {", ".join(fitting or _kinds(here))}'
    else:
        choices = [str(choice) for choice in here.choices] if here is not None else []
        removed = removed_value(path, value, root) if kind == "literal_error" else None
        if kind == "literal_error" and (present_choice := present_value(path, value, root)) in choices:
            suggestion = present_choice
        elif kind == "bool_type" and isinstance(value, str):
            suggestion = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(value.lower(), nearest(value, ["true", "false"]))
        elif removed is None and (kind == "literal_error" or (isinstance(value, str) and len(errors) > 1)):
            suggestion = nearest(str(value), choices)
        phrases = list(dict.fromkeys(_phrase(error, value, choices, bool(path) and isinstance(path[-1], int)) for error in errors))
        text = f"{shown(value)} {', and '.join(phrases)}" if phrases[0].startswith(("is ", "has ", "breaks ")) else phrases[0]
        if removed is not None:
            text = f"{shown(value)} {removed}"
        elif isinstance(value, dict) and (wrong := _wrong_keys(errors)):
            text = f"{shown(value)} {wrong}"
        elif text.endswith(" is not a map of keys") and isinstance(value, str) and (kinds_here := _kinds(here)):
            right = nearest(value, kinds_here)
            text += f"; write {{kind: {right}}}" if right is not None else f'; its "kind" is one of {", ".join(kinds_here)}'
        elif text.endswith(" is not a map of keys") and here is not None and here.model is not None and value is True:
            text += "; write {} for the defaults"
        elif kind == "string_type" and isinstance(value, int) and "edges" in path:
            text = f"{shown(value)} is no name of an agent; write agent-{value}"
    if kind != "extra_forbidden":
        result.broken.add(around)
    result.problems.append(Problem(str(place(tree, path, key=at_key)), format_path(path), text, suggestion))
    result.paths.append(path)


def _wrong_keys(errors: Sequence[ErrorDetails]) -> str:
    """What is wrong with the keys of a map that stands where a single value may stand too; "" where they are right."""
    unknown, missing = ([str(one["loc"][-1]) for one in errors if one["type"] == kind] for kind in ("extra_forbidden", "missing"))
    if not unknown and not missing:
        return ""
    text = " and ".join([*(f"has the unknown key {key}" for key in unknown), *(f"lacks the key {key}" for key in missing)])
    cure = f"write {{{', '.join(f'{key}: ...' for key in missing)}}}, or a single value" if missing else f"leave out {', '.join(unknown)}"
    return f"{text}; {cure}"


def _elsewhere(path: Path, root: type[Settings]) -> str:
    """For a key that stands in one or two other places: where. Not for one that stands here with another `kind`."""
    places = places_of(root, str(path[-1]))
    return f"its place is {' or '.join(places)}" if 1 <= len(places) <= 2 and format_path(path) not in places else ""


def _meant_key(path: Path, data: Any, root: type[Settings]) -> str | None:
    """The present name of a key of an earlier version, or the nearest key; None for a key that was replaced or removed."""
    if replaced_key(path, root) is not None:
        return None
    keys = _keys_around(path, data, root)
    present = present_key(path, root)
    if present not in keys and _kinds_with(shape_at(root, path[:-1], data), [str(path[-1])]):
        return None
    return present if present in keys else nearest(str(path[-1]), keys)


def _kinds(shape: Shape | None) -> list[str]:
    """What `kind` may be in a map here; empty where maps have no kinds."""
    if shape is None:
        return []
    if shape.room is not None:
        return kinds(shape.room)
    field = shape.model.model_fields.get("kind") if shape.model is not None else None
    return [str(choice) for choice in shape_of(field.annotation).choices] if field is not None else []


def _kinds_with(shape: Shape | None, keys: list[Any]) -> list[str]:
    """The kinds of components here that have all these keys; empty where they are all kinds that have keys."""
    if shape is None or shape.room is None:
        return []
    by_kind = {kind: set(component(shape.room, kind).settings.by_key()) - {"kind"} for kind in kinds(shape.room)}
    found = [kind for kind, known in by_kind.items() if known.issuperset(keys)]
    return found if len(found) < sum(map(bool, by_kind.values())) else []


def _keys_around(path: Path, data: Any, root: type[Settings]) -> list[str]:
    """The keys that may stand where the last one of `path` stands."""
    around = shape_at(root, path[:-1], data)
    return nearest_keys(around, kind_of(data_at(data, path[:-1]))) if around is not None else []


_PREDICATES = {
    **dict.fromkeys(("int_type", "int_from_float"), "is not a whole number"),
    **dict.fromkeys(("list_type", "tuple_type"), "is not a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type", "dataclass_type"), "is not a map of keys"),
    "int_parsing_size": "is too large a number",
    "float_type": "is not a number",
    "finite_number": "is not a finite number",
    "string_type": "is not a text",
    "bool_type": "is neither true nor false",
    "greater_than_equal": "is less than {ge}, the least allowed",
    "greater_than": "is not more than {gt}",
    "less_than_equal": "is more than {le}, the most allowed",
    "less_than": "is not less than {lt}",
    "string_too_short": "is shorter than {min_length} characters",
    "string_too_long": "is longer than {max_length} characters",
    "string_pattern_mismatch": "breaks the rule for names, {pattern}",
    "too_short": "has {actual_length} entries, but needs at least {min_length}",
    "too_long": "has {actual_length} entries, but needs at most {max_length}",
}
"""by pydantic's type of error, the broken rule as a predicate of the value; in braces what the error's context holds"""


def _phrase(error: ErrorDetails, value: Any, choices: list[str], item: bool) -> str:
    """The broken rule as a predicate of the value (`is less than 1`), or as a sentence where it is not about a value."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "missing":
        return "is missing; the list is too short" if item else "this key is required, but missing"
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"is not {choices[0]}" if len(choices) == 1 else f"is not one of {', '.join(choices) or context.get('expected')}"
    quoted = "; write it in quotes" if kind == "string_type" and isinstance(value, (int, float)) else ""
    return (_PREDICATES[kind].format_map(context) if kind in _PREDICATES else f"is refused: {error['msg']}") + quoted


def shown(value: Any) -> str:
    """A value as it is written, cut when it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _repair(data: Any, path: Path, error: ErrorDetails, before: Any, root: type[Settings], stand_ins: Mapping[str, Any]) -> None:
    """Change `data` in place so that this mistake is gone."""
    if not path:
        return
    holder = data_at(data, path[:-1])
    if error["type"] == "union_tag_invalid" and isinstance(holder, dict):
        around = shape_at(root, path[:-1], before)
        close = nearest(str(holder.get("kind")), kinds(around.room)) if around is not None and around.room is not None else None
        if close is not None:
            holder["kind"] = close
            return
        path = path[:-1]
    elif error["type"] == "missing":
        path = path if len(path) == 1 else path[:-1]
    while len(path) > 1 and not isinstance(data_at(data, path[:-1]), dict):
        path = path[:-1]
    holder = data_at(data, path[:-1])
    if not isinstance(holder, dict):
        return
    missing = holder.pop(path[-1], None) is None
    if len(path) == 1 and path[0] in stand_ins and (missing or error["type"] != "extra_forbidden"):
        holder[path[0]] = deepcopy(stand_ins[str(path[0])])
