"""`orchestrate sweep`: arguments `key=a,b,c` become an experiment file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.config.parsing.yaml_reader import UnreadableYaml, read_text
from orchestrator.config.parsing.yaml_tree import Location, plain
from orchestrator.config.resolved_configuration import flow
from orchestrator.experiments.design.cell_generation import slug
from orchestrator.experiments.running.experiment_store import FILE as STORE
from protocols.runtime.errors import ConfigurationError, UsageError

FILE = "sweep.yaml"


def arguments(given: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
    """Key and values of each argument. `UsageError` for what is none."""
    for number, argument in enumerate(given, start=1):
        key, sign, text = argument.partition("=")
        if not sign or not key.strip() or not text.strip():
            raise UsageError(
                f'argument {number}: "{argument}" is not key=value,value,...; write for example network.links.0.delay=0ms,50ms'
            )
        place = Location(f"argument {number}")
        try:
            node, problems = read_text(f"[{text}]", str(place), only=place)
        except UnreadableYaml as unreadable:
            raise UsageError(f"argument {number}: {text!r} {unreadable.problems[-1].text}") from None
        if problems:
            raise UsageError(f"argument {number}: {problems[0].path}: {problems[0].text}")
        yield key.strip(), plain(node)


def labelled(values: Sequence[Any]) -> list[Any] | dict[str, Any]:
    """The values themselves where they can be names, else a map with names made of them: the `kind` of components, or a number."""
    texts = [flow(value) for value in values]
    simple = all(isinstance(value, (str, int, float, bool, type(None))) for value in values)
    if simple and not any(set(",=") & set(text) for text in texts):
        return list(values)
    names: dict[str, Any] = {}
    for number, value in enumerate(values, start=1):
        kind = str(value.get("kind") or "") if isinstance(value, dict) else ""
        names[kind if kind and kind not in names else f"value {number}"] = value
    return names


def design(
    config: Path, directory: Path, name: str, given: Sequence[str], seeds: str, metrics: Sequence[str], simulate: bool
) -> dict[str, Any]:
    """The experiment as plain values; `base` is relative to `directory`."""
    common: dict[str, Any] = {}
    factors: dict[str, Any] = {}
    for key, values in arguments(given):
        if len(values) == 1 and not key.startswith("simulate."):
            common[key] = values[0]
            continue
        factors[_name(key, factors)] = {"key": key, "values": labelled(values)}
    result: dict[str, Any] = {"version": 1, "name": name, "base": os.path.relpath(config, directory)}
    if simulate:
        result["with"] = "simulate"
    if common:
        result["set"] = common
    return {
        **result,
        "factors": factors,
        "seeds": _seeds(seeds),
        "measure": [{"metric": one} for one in metrics],
    }


def _seeds(text: str) -> str | list[int]:
    """`0..4`, `0`, or `0,2`."""
    parts = text.split(",")
    if not all(part.strip().isdigit() for part in parts):
        if ".." in text:
            return text
        raise UsageError(f'--seeds: "{text}" is no seeds; write for example 0..4, 3, or 0,2,5')
    return [int(part) for part in parts]


def _name(key: str, taken: Mapping[str, Any]) -> str:
    """The last part of the key that is a word; more of it where that is taken."""
    words = [part for part in key.split(".") if not part.isdigit()]
    for length in range(1, len(words) + 1):
        name = "_".join(words[-length:])
        if name not in taken:
            return name
    raise UsageError(f"{key} is given twice; write all its values in one argument")


def default_name(config: Path, given: Sequence[str]) -> str:
    """`4agents_ring-delay-kind`, of the configuration's file and the keys."""
    keys = [_name(key, {}) for key, values in arguments(given) if len(values) > 1]
    return slug("-".join([config.stem, *keys]), 40)


def write(directory: Path, values: Mapping[str, Any], command: str) -> Path:
    """`sweep.yaml` in the experiment's directory. `ConfigurationError` where another one was played there: names are not used twice."""
    lines = [f"# made by: {command}"]
    for key, value in values.items():
        if isinstance(value, dict) and value:
            lines += [f"{key}:", *(f"  {flow(name)}: {flow(one)}" for name, one in value.items())]
        else:
            lines.append(f"{key}: {flow(value)}")
    text = "\n".join(lines) + "\n"
    path = directory / FILE
    body = text.partition("\n")[2]
    played = (directory / STORE).is_file()
    if played and path.is_file() and path.read_text(encoding="utf-8").partition("\n")[2] != body:
        raise ConfigurationError(
            f"{path} is another sweep; give this one a --name of its own, or go on with: orchestrate experiment {path}"
        )
    directory.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
