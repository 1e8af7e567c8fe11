"""Pages of the documentation site that are generated at build time: configuration keys and the command line (a hook of mkdocs).

`reference/configuration.md` lists every key of a configuration from the settings classes, and every kind of every registered component with
its keys. `reference/cli.md` contains the help text of every command.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.core import TyperGroup

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from orchestrator.cli.app import app
from orchestrator.config.configuration import Configuration
from orchestrator.config.json_schema import schema_of

_UNITS = {"(us|ms|s": "duration", "([kMG]?B": "size", "[kmg]?bit": "rate"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    files.append(File.generated(config, "reference/configuration.md", content=configuration_page()))
    files.append(File.generated(config, "reference/cli.md", content=command_line_page()))
    return files


def configuration_page() -> str:
    """Every key of a configuration with type, default and meaning."""
    written = schema_of(Configuration)
    definitions = written["$defs"]
    lines = [
        "# Configuration keys",
        "",
        "A configuration is one YAML file. Unknown keys are refused. Durations, sizes and rates carry a unit: `250ms`, `64KiB`, `10mbit`.",
        "On the command line a key is written with dots: `agents.learner.discount=0.95`. `orchestrate validate FILE --print` prints the",
        "whole configuration with every default and its meaning. This page is generated from the settings classes.",
        "",
        "## Top level",
        "",
        *_table(written["properties"]),
    ]
    shown: set[str] = set()
    for key, rule in written["properties"].items():
        for place, name, kind in _sections(key, rule, definitions):
            if name in shown or not definitions[name].get("properties"):
                continue
            shown.add(name)
            title = f"`{place}` with `kind: {kind}`" if kind else f"`{place}`"
            description = _flat(definitions[name].get("description", ""))
            heading = f"{'###' if '.' in place or kind else '##'} {title} {{#{name}}}"
            lines += ["", heading, "", description, "", *_table(definitions[name]["properties"])]
    return "\n".join(lines) + "\n"


def _sections(place: str, rule: dict[str, Any], definitions: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, str, str]]:
    """(dotted key, definition, kind or "") of a key and of everything below it, depth first."""
    for name, kind in _references(rule):
        if name in above:
            continue
        yield place, name, kind
        for key, inner in definitions[name].get("properties", {}).items():
            yield from _sections(f"{place}.{key}", inner, definitions, (*above, name))


def _references(rule: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "$ref" in rule:
        yield rule["$ref"].rpartition("/")[2], ""
    for option in rule.get("allOf", ()):
        if "then" in option:
            yield option["then"]["$ref"].rpartition("/")[2], option["if"]["properties"]["kind"]["const"]
    for option in rule.get("anyOf", ()):
        yield from _references(option)
    for within in ("items", "additionalProperties"):
        if isinstance(rule.get(within), dict):
            yield from _references(rule[within])


def _table(properties: dict[str, Any]) -> list[str]:
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, rule in properties.items():
        default = "" if "default" not in rule else f"`{_default(rule)}`"
        rows.append(f"| `{key}` | {_type(rule)} | {default} | {_flat(rule.get('description', '')).replace('|', chr(92) + '|')} |")
    return rows


def _flat(text: str) -> str:
    return " ".join(text.split()).replace("<", "&lt;").replace("[", "&#91;")


def _default(rule: dict[str, Any]) -> str:
    default = rule["default"]
    if isinstance(default, float) and _type(rule).startswith("duration"):
        return f"{default:g}s"
    if default is None or isinstance(default, bool):
        return json.dumps(default)
    return '""' if default == "" else str(default)


def _type(rule: dict[str, Any]) -> str:
    if "anyOf" in rule:
        return " or ".join(dict.fromkeys(_type(option) for option in rule["anyOf"]))
    if "$ref" in rule:
        return f"[section](#{rule['$ref'].rpartition('/')[2]})"
    if "kind" in rule.get("properties", {}):
        return "`kind`: " + ", ".join(f"`{kind}`" for kind in rule["properties"]["kind"].get("enum", ()))
    if "const" in rule:
        return f"`{rule['const']}`"
    if "enum" in rule:
        return ", ".join(f"`{choice}`" for choice in rule["enum"])
    if rule.get("type") == "array":
        return f"list of {_type(rule.get('items', {}))}"
    for part, name in _UNITS.items():
        if part in rule.get("pattern", ""):
            return name
    names = {"integer": "integer", "number": "number", "boolean": "true or false", "string": "text", "null": "null", "object": "map"}
    bounds = "".join(
        f" {sign} {rule[bound]:g}" if abs(rule[bound]) < 1e9 else ""
        for bound, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "&lt;"))
        if bound in rule
    )
    return names.get(rule.get("type", ""), "any") + bounds


def command_line_page() -> str:
    """The help text of every command."""
    os.environ["COLUMNS"] = "110"
    program = typer.main.get_command(app)
    lines = ["# Command line", "", "The help of every command, as `orchestrate COMMAND --help` prints it. This page is generated.", ""]
    context = program.make_context("orchestrate", [], resilient_parsing=True)
    lines += ["## orchestrate", "", "```text", program.get_help(context), "```", ""]
    return "\n".join(lines + _commands(program, context, "orchestrate"))


def _commands(group: Any, context: Any, above: str) -> list[str]:
    lines = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        inner = command.make_context(name, [], parent=context, resilient_parsing=True)
        lines += [f"## {above} {name}", "", "```text", command.get_help(inner).replace("```", ""), "```", ""]
        if isinstance(command, TyperGroup):
            lines += _commands(command, inner, f"{above} {name}")
    return lines
