"""YAML 1.2 text into a tree with places, within limits: nothing that can execute, explode or nest without end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.nodes import ScalarNode

from orchestrator.config.parsing.problems import Problem
from orchestrator.config.parsing.yaml_tree import List, Location, Map, MapEntry, Node, Path, Scalar, format_path

LARGEST = 2**20
"""bytes of one file"""
DEEPEST = 32
"""maps and lists inside each other"""
MOST_ALIASES = 100
MOST_VALUES = 200_000
"""values after aliases are expanded"""


class UnreadableYaml(Exception):
    """The text cannot be parsed into a tree; `problems` are the reasons."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems


def read_file(path: FilePath, shown: str) -> tuple[Map, str, list[Problem]]:
    """The tree and text of a configuration file, with the mistakes that leave a tree (duplicate keys, keys that are no texts).

    `shown` is the file's name in messages. `UnreadableYaml` when the file is missing, too large, no UTF-8, or no YAML.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
        text = raw.decode("utf-8-sig")
    except FileNotFoundError:
        raise UnreadableYaml([Problem(shown, "", "there is no such file")]) from None
    except OSError as error:
        raise UnreadableYaml([Problem(shown, "", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - (raw.rfind(b"\n", 0, error.start) + 1) + 1
        raise UnreadableYaml([Problem(f"{shown}:{line}:{column}", "", "is not UTF-8 text; save the file as UTF-8")]) from error
    if len(raw) > LARGEST:
        raise UnreadableYaml([Problem(shown, "", "is larger than 1 MiB, the most a configuration may have")])
    tree, problems = read_text(text, shown)
    if not isinstance(tree, Map):
        shape = "is empty" if isinstance(tree, Scalar) and tree.value is None else "is not a map of keys"
        raise UnreadableYaml(
            [*problems, Problem(str(tree.location), "", f"the file {shape}; it needs keys, for example until: {{time: 5min}}")]
        )
    return tree, text, problems


def read_text(text: str, source: str, only: Location | None = None) -> tuple[Node, list[Problem]]:
    """The tree of one YAML document. `only` places every value at one location (an argument), else places are lines and columns."""
    yaml = YAML(typ="safe", pure=True)
    builder = _Builder(yaml, source, only)
    try:
        tree = builder.document(yaml.parse(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = only or (Location(source, mark.line + 1, mark.column + 1) if mark else Location(source))
        context = f" {error.context}" if error.context else ""
        if context and error.context_mark is not None and error.context_mark.line != mark.line and only is None:
            context += f" that starts in line {error.context_mark.line + 1}"
        raise UnreadableYaml([*builder.problems, Problem(str(place), "", f"is not YAML: {error.problem or error}{context}")]) from error
    except YAMLError as error:
        place = only or Location(source)
        raise UnreadableYaml([*builder.problems, Problem(str(place), "", f"is not YAML: {' '.join(str(error).split())}")]) from error
    return tree, builder.problems


def read_value(text: str, location: Location) -> Node:
    """The tree of a value on the command line; `UnreadableYaml` for duplicate keys too."""
    tree, problems = read_text(text, str(location), only=location)
    if problems:
        raise UnreadableYaml(problems[:1])
    return tree


@dataclass
class _Builder:
    yaml: Any
    source: str
    only: Location | None
    problems: list[Problem] = field(default_factory=list)
    anchors: dict[str, tuple[Node, int]] = field(default_factory=dict)
    aliases: int = 0
    values: int = 0

    def document(self, events: Iterator[Event]) -> Node:
        self.events = events
        tree: Node | None = None
        for event in events:
            if isinstance(event, DocumentStartEvent):
                if tree is not None:
                    raise self.stop(event, (), "has a second document (`---`); a configuration is one")
                if event.version is not None and tuple(event.version) != (1, 2):
                    raise self.stop(event, (), "asks for another YAML version; configurations are YAML 1.2, leave the %YAML line out")
                tree = self.node(next(events), (), 0)
        return tree if tree is not None else Scalar(self.only or Location(self.source, 1, 1), None)

    def at(self, event: Event) -> Location:
        mark = event.start_mark
        return self.only or Location(self.source, mark.line + 1, mark.column + 1)

    def stop(self, event: Event, path: Path, text: str) -> UnreadableYaml:
        return UnreadableYaml([*self.problems, Problem(str(self.at(event)), format_path(path), text)])

    def node(self, event: Event, path: Path, depth: int) -> Node:
        if isinstance(event, AliasEvent):
            return self.alias(event, path)
        if not isinstance(event, (MappingStartEvent, SequenceStartEvent, ScalarEvent)):
            raise self.stop(event, path, "is not YAML: a value is missing")
        before = self.values
        self.count(1, event, path)
        if event.tag is not None:
            raise self.stop(event, path, f"has the tag {event.tag}; tags are not used in configurations")
        if depth >= DEEPEST and not isinstance(event, ScalarEvent):
            raise self.stop(event, path, f"is nested deeper than {DEEPEST} levels")
        node: Node
        if isinstance(event, MappingStartEvent):
            node = self.map(event, path, depth)
        elif isinstance(event, SequenceStartEvent):
            items: list[Node] = []
            while not isinstance(item := next(self.events), SequenceEndEvent):
                items.append(self.node(item, (*path, len(items)), depth + 1))
            node = List(self.at(event), tuple(items))
        else:
            node = Scalar(self.at(event), self.scalar(event, path))
        if event.anchor is not None:
            self.anchors[event.anchor] = (node, self.values - before)
        return node

    def map(self, event: Event, path: Path, depth: int) -> Map:
        entries: dict[str, MapEntry] = {}
        while not isinstance(key_event := next(self.events), MappingEndEvent):
            if not isinstance(key_event, ScalarEvent):
                raise self.stop(key_event, path, "a key is a map, a list or an alias; keys are texts")
            key = key_event.value
            value = self.scalar(key_event, path)
            here = (*path, key)
            if not isinstance(value, str):
                self.problem(key_event, path, f'the key {key or "(nothing)"} is not a text; write "{key}"')
            node = self.node(next(self.events), here, depth + 1)
            if key in entries:
                first = entries[key].key
                self.problem(key_event, here, f"is given twice; the first is in line {first.line}" if first.line else "is given twice")
            else:
                entries[key] = MapEntry(self.at(key_event), node)
        return Map(self.at(event), entries)

    def problem(self, event: Event, path: Path, text: str) -> None:
        self.problems.append(Problem(str(self.at(event)), format_path(path), text))

    def alias(self, event: AliasEvent, path: Path) -> Node:
        self.aliases += 1
        if self.aliases > MOST_ALIASES:
            raise self.stop(event, path, f"is alias number {MOST_ALIASES + 1}; at most {MOST_ALIASES} are read")
        if event.anchor not in self.anchors:
            raise self.stop(event, path, f"*{event.anchor} refers to an anchor that does not stand before it")
        node, size = self.anchors[event.anchor]
        self.count(size, event, path)
        if len(path) + _depth(node) > DEEPEST:
            raise self.stop(event, path, f"is nested deeper than {DEEPEST} levels")
        return node

    def count(self, values: int, event: Event, path: Path) -> None:
        self.values += values
        if self.values > MOST_VALUES:
            raise self.stop(event, path, f"is value number {MOST_VALUES + 1} after aliases are expanded, more than are read")

    def scalar(self, event: ScalarEvent, path: Path) -> str | int | float | bool | None:
        text: str = event.value
        if any(0xD800 <= ord(letter) <= 0xDFFF for letter in text):
            raise self.stop(event, path, "holds half of a surrogate pair, which is no character")
        if not event.implicit[0]:
            return text
        tag = str(self.yaml.resolver.resolve(ScalarNode, text, (True, False)))
        if tag.rsplit(":", 1)[-1] not in ("null", "bool", "int", "float"):
            return text
        try:
            value: int | float | bool | None = self.yaml.constructor.construct_object(ScalarNode(tag, text))
        except ValueError:  # more digits than the interpreter converts: no number that a configuration could mean
            return text
        return value


def _depth(node: Node) -> int:
    if isinstance(node, Map):
        return 1 + max((_depth(entry.value) for entry in node.entries.values()), default=0)
    return 1 + max((_depth(item) for item in node.items), default=0) if isinstance(node, List) else 0
