"""A configuration written out whole: as commented YAML, as canonical JSON, and as the digest of what can change results."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any

from orchestrator.config.checks.settings_shape import data_at, shape_at
from orchestrator.config.configuration import Configuration
from orchestrator.config.parsing.yaml_tree import Location, Map, Node, Path, find, format_path, planted
from protocols.runtime.component_registry import kinds, load_plugins
from protocols.runtime.settings_types import Settings

WIDTH = 140
_COMMENT_COLUMN = 44
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./+-]*(:[A-Za-z0-9_./+-]+)*")
"""texts that no YAML reader takes for anything else: numbers start with a digit, a sign or a dot"""
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(us|ms|s|min|h|d|B|KiB|MiB|GiB)")

OUTSIDE_DIGEST: tuple[tuple[str, ...], ...] = (
    ("name",),
    ("metrics",),
    ("record_episodes",),
    ("security",),
    ("network", "bind"),
    ("network", "advertise"),
    ("network", "control_port"),
    ("network", "transport"),
    ("launch", "engine"),
    ("launch", "placement"),
    ("launch", "resources"),
    ("supervision", "keep_checkpoints"),
)
"""what may differ between two runs that should come to the same: names, addresses, and how much is written down"""


def recorded(text: str | bytes) -> Configuration:
    """The configuration of a run, from the JSON in its directory; its plugins are imported first."""
    load_plugins(json.loads(text).get("plugins", ()))
    return Configuration.model_validate_json(text)


def canonical_json(configuration: Settings | dict[str, Any]) -> str:
    """One line, keys sorted, no spaces, defaults written out: equal texts for equal configurations."""
    data = configuration.model_dump(mode="json") if isinstance(configuration, Settings) else configuration
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(configuration: Configuration) -> str:
    """SHA-256 (hexadecimal) of the canonical JSON without `OUTSIDE_DIGEST`."""
    data = configuration.model_dump(mode="json")
    for *way, last in OUTSIDE_DIGEST:
        del data_at(data, tuple(way))[last]
    return hashlib.sha256(canonical_json(data).encode()).hexdigest()


def origins_of(configuration: Settings, tree: Node) -> dict[str, str]:
    """Path of every value of the configuration -> where it was written, or `default`."""
    origins = {}
    for path in _value_paths(planted(configuration.model_dump(mode="json"), Location("default"))):
        written = find(tree, path)
        origins[format_path(path)] = str(written.location) if written is not None else "default"
    return origins


def _value_paths(node: Node, path: Path = ()) -> Iterator[Path]:
    """Lists count as one value."""
    if isinstance(node, Map) and node.entries:
        for key, entry in node.entries.items():
            yield from _value_paths(entry.value, (*path, key))
    else:
        yield path


def resolved_yaml(configuration: Configuration, origins: Mapping[str, str] | None = None, notices: Sequence[str] = ()) -> str:
    """Every key, as YAML that loads back to the same configuration. Beside each key stands its meaning; with `origins`, where its value
    was written. `notices` are comments above."""
    lines = ["# yaml-language-server: $schema=schema.json"] if origins is None else []
    lines += [f"# {notice}" for notice in notices]
    for index, (key, value) in enumerate(configuration.model_dump(mode="json").items()):
        if index and isinstance(value, dict):
            lines.append("")
        lines += _entry(key, value, configuration, (), origins)
    return "\n".join(lines) + "\n"


def _entry(key: str, value: Any, owner: Any, path: Path, origins: Mapping[str, str] | None) -> Iterator[str]:
    indent = "  " * len(path)
    path = (*path, key)
    meaning = _meaning(owner, key, path) if origins is None else origins.get(format_path(path), "")
    inner = owner.get(key) if isinstance(owner, dict) else getattr(owner, key, None)
    opens = isinstance(inner, Settings) or (isinstance(value, dict) and bool(value) and path[-1] in ("overrides", "pins", "options"))
    text = f"{indent}{flow(key)}:" if opens else f"{indent}{flow(key)}: {flow(value)}"
    commented = f"{text:<{_COMMENT_COLUMN - 1}} # {meaning}"
    if not meaning:
        yield text
    elif len(commented) <= WIDTH:
        yield commented
    else:
        prefix = f"{indent}# "
        yield from wrap(
            meaning, WIDTH - 20, initial_indent=prefix, subsequent_indent=prefix, break_long_words=False, break_on_hyphens=False
        )
        yield text
    if opens:
        for name, item in value.items():
            yield from _entry(name, item, inner, path, origins)


def _meaning(owner: Any, key: str, path: Path) -> str:
    if not isinstance(owner, Settings):
        return ""
    if key == "kind":
        around = shape_at(Configuration, path[:-1], {})
        if around is not None and around.room is not None:
            return " | ".join(kinds(around.room))
    description = type(owner).by_key()[key].description
    return " ".join(description.split()) if description else ""


def flow(value: Any) -> str:
    """A value in one line of YAML 1.2: texts plain where they stay texts, else in double quotes as JSON writes them."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{flow(str(key))}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    if isinstance(value, str):
        return value if _stays_text(value) else _quoted(value)
    return json.dumps(value)


def _quoted(text: str) -> str:
    """In double quotes; letters beyond U+FFFF in one escape, where JSON would write two halves that YAML does not join."""
    written = json.dumps(text, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else f"\\U{ord(letter):08X}" for letter in written)


def _stays_text(text: str) -> bool:
    if _QUANTITY.fullmatch(text):
        return True
    return bool(_PLAIN.fullmatch(text)) and text.lower() not in ("null", "true", "false", "y", "n", "yes", "no", "on", "off")
