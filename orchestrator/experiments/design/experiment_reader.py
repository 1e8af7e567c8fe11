"""From an experiment file to a checked design, or to everything that is wrong with it, each mistake with its line and column."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from pydantic import TypeAdapter, ValidationError

from orchestrator.config.checks.cross_checks import Finding
from orchestrator.config.checks.field_checks import validate
from orchestrator.config.loader import in_order
from orchestrator.config.parsing.file_kinds import taken_for_experiment
from orchestrator.config.parsing.problems import Problem, Problems
from orchestrator.config.parsing.yaml_reader import UnreadableYaml, read_file
from orchestrator.config.parsing.yaml_tree import Location, Map, Node, Path, Scalar, changed, find, format_path, place
from orchestrator.config.resolved_configuration import flow
from orchestrator.config.shipped_configurations import locate
from orchestrator.experiments.design.experiment_design import ExperimentDesign, Factor, Label
from protocols.runtime.errors import SchemaError
from protocols.runtime.suggestions import nearest

VERSION = 1
MOST_CELLS = 100_000
OWN_KEYS = {"seed": "seeds: lists the seeds", "name": "cells get names of their own"}
"""keys of a configuration that an experiment sets itself"""
SIMULATED = "simulate."
"""with this prefix a factor's key is one of the simulation, not of the configuration"""

_STAND_INS: Mapping[str, Any] = {"version": 1, "name": "experiment", "base": "base.yaml", "measure": [{"metric": "return"}]}
_LABEL: TypeAdapter[str] = TypeAdapter(Label)


@dataclass(frozen=True)
class ExperimentFile:
    """A checked design, and where everything of it stands."""

    path: FilePath
    design: ExperimentDesign
    tree: Node
    source: str
    """the text of the file"""
    small: bool
    warnings: tuple[Problem, ...] = ()

    @property
    def base(self) -> FilePath:
        """The configuration that is varied."""
        return FilePath(os.path.normpath(self.path.parent / self.design.base))

    @property
    def name(self) -> str:
        """Directory of the experiment: small forms have one of their own."""
        return f"{self.design.name}-small" if self.small else self.design.name

    def location(self, path: Path, key: bool = False) -> Location:
        """Where a value, or its key, stands."""
        return place(self.tree, path, key)


def read(path: FilePath, small: bool = False) -> ExperimentFile:
    """Read and check an experiment file; with `small`, as its section `small` changes it. `Problems` with every mistake at once,
    `SchemaError` for a file of a newer version."""
    found, problems = examine(path, small)
    if found is None or any(problem.severity == "error" for problem in problems):
        raise Problems(str(path), problems)
    return found


def examine(path: FilePath, small: bool = False) -> tuple[ExperimentFile | None, list[Problem]]:
    """The file with its mistakes replaced by what may stand there, and all problems, in order; None where nothing could be made of it.
    `Problems` for a file of another kind, `SchemaError` as of `read`."""
    path = locate(path)
    try:
        tree, source, problems = read_file(path, str(path))
    except UnreadableYaml as unreadable:
        raise Problems(str(path), in_order(unreadable.problems)) from unreadable
    if (mistaken := taken_for_experiment(tree, str(path))) is not None:
        raise Problems(str(path), [mistaken])
    _refuse_newer(tree)
    changed_tree = _small(tree, problems)
    if small and "small" not in tree.entries:
        problems.append(Problem(str(tree.location), "small", "there is no section small, which --small asks for"))
    # Both forms are checked, whichever is wanted: an edit of one may break the other.
    whole = _checked(tree, problems)
    less = _checked(changed_tree, problems, _labels_of(whole))
    design = less if small else whole
    problems = in_order(problems)
    if design is None:
        return None, problems
    return ExperimentFile(path, design, changed_tree if small else tree, source, small, tuple(problems)), problems


def _refuse_newer(tree: Node) -> None:
    version = find(tree, ("version",))
    if isinstance(version, Scalar) and type(version.value) is int and version.value > VERSION:
        raise SchemaError(f"{version.location}  version: {version.value} is newer than this program reads ({VERSION}); update it")


def _small(tree: Node, problems: list[Problem]) -> Node:
    """The tree as the section `small` changes it. What stands below `set.` there is laid over `set` after all that is in it."""
    section = find(tree, ("small",))
    if not isinstance(section, Map):
        return tree
    for key, entry in section.entries.items():
        parts = tuple(key.split("."))
        if parts[0] == "small" or not all(parts):
            problems.append(Problem(str(entry.key), f"small.{key}", "is no path of this file; write for example factors.delay.values"))
            continue
        path: Path = ("set", ".".join(parts[1:])) if parts[0] == "set" and len(parts) > 1 else parts
        try:
            if path[0] == "set" and len(path) > 1:
                tree = changed(tree, path, entry.key, lambda _: None)  # so that it comes last
            tree = changed(tree, path, entry.key, lambda _, new=entry.value: new)  # type: ignore[misc]
        except KeyError:
            problems.append(Problem(str(entry.key), f"small.{key}", "there is no such place in this file"))
    return tree


def _checked(tree: Node, problems: list[Problem], labels: Mapping[str, Sequence[str]] = {}) -> ExperimentDesign | None:
    """`labels` are those of the whole form: what the small one has left out of them, it does not expect anything of."""
    result = validate(tree, ExperimentDesign, _STAND_INS)
    if result.model is not None:
        with suppress(KeyError, TypeError, ValueError):  # factors are wrong, which is reported below
            result.model = result.model.called(labels)
    if result.model is not None and labels:
        result.model = _without(result.model, labels)
    # What is wrong in both forms is reported once.
    said = {(problem.place, problem.path) for problem in problems}
    problems += [problem for problem in result.problems if (problem.place, problem.path) not in said]
    if result.model is None:
        return None
    for found in _broken_rules(result.model):
        if any(found.path[: len(broken)] == broken for broken in result.broken):
            continue
        problem = Problem(str(place(result.tree, found.path, key=found.key)), format_path(found.path), found.text, found.suggestion)
        if (problem.place, problem.path) not in said:
            problems.append(problem)
    return result.model


def _labels_of(design: ExperimentDesign | None) -> Mapping[str, Sequence[str]]:
    """The labels; none where factors are wrong, which is reported elsewhere."""
    try:
        return design.labels() if design is not None else {}
    except (KeyError, TypeError, ValueError):
        return {}


def _without(design: ExperimentDesign, labels: Mapping[str, Sequence[str]]) -> ExperimentDesign:
    """The design without expectations and comparisons of groups that it has not, but the whole form has."""
    kept = _labels_of(design)

    def gone(chosen: Mapping[str, str]) -> bool:
        return any(label in labels.get(name, ()) and label not in kept.get(name, ()) for name, label in chosen.items())

    expect = [one for one in design.expect if not gone(one.where) and not gone(one.relative_to or {})]
    compare = None if design.compare is not None and gone(design.compare.baseline) else design.compare
    return design.model_copy(update={"expect": expect, "compare": compare})


def _broken_rules(design: ExperimentDesign) -> Iterator[Finding]:
    """Rules between keys. What needs the labels of factors waits until these are right."""
    broken = list(_factors(design))
    yield from broken
    yield from _settings(design)
    yield from _measures(design)
    if broken:
        return
    yield from _combinations(design)
    yield from _groups(design)


def _factors(design: ExperimentDesign) -> Iterator[Finding]:
    setters: dict[str, str] = {}
    for name, factor in design.factors.items():
        at: Path = ("factors", name)
        if name in ("seed", "metric", "value"):
            yield Finding(at, f'"{name}" is a column of results.csv already; call it otherwise', key=True)
        if not factor.values:
            yield Finding((*at, "values"), "is empty: a factor has at least one value")
            continue
        mistakes = list(_values(factor, at))
        yield from mistakes
        if mistakes:
            continue
        for key in dict.fromkeys(key for keys in factor.levels().values() for key in keys):
            if (other := setters.setdefault(key, name)) != name:
                yield Finding((*at, "key"), f"sets {key}, as the factor {other} does: a key belongs to one factor")
            yield from _own_key(key, (*at, "key"))
            if key.startswith(SIMULATED) and design.with_ != "simulate":
                yield Finding((*at, "key"), f"{key} is a key of simulations; write with: simulate")


def _values(factor: Factor, at: Path) -> Iterator[Finding]:
    values: dict[Any, Any] = factor.values if isinstance(factor.values, dict) else dict(enumerate(factor.values))
    if factor.key is None and isinstance(factor.values, list):
        yield Finding(at, "has a list of values, but no key that they are of; write key: network.topology")
        return
    seen: dict[str, Any] = {}
    for part, value in values.items():
        here: Path = (*at, "values", part)
        label = part if isinstance(part, str) else flow(value)
        if factor.key is None and not (
            isinstance(value, dict) and set(value) == {"set"} and isinstance(value["set"], dict) and value["set"]
        ):
            yield Finding(here, "sets no keys; without key: a value is {set: {a.b: 1, c.d: 2}}")
        try:
            _LABEL.validate_python(label)
        except ValidationError:
            rule = "with a comma or an equals sign, or too long; write values: {NAME: VALUE}" if isinstance(part, int) else "is no name"
            yield Finding(here, f"{label!r} {rule}: names have 1 to 60 letters, without commas and equals signs", key=isinstance(part, str))
        if label in seen:
            yield Finding(here, f"{label} is given twice")
        seen[label] = value


def _own_key(key: str, path: Path) -> Iterator[Finding]:
    if key in OWN_KEYS:
        yield Finding(path, f'"{key}" is set by the experiment itself: {OWN_KEYS[key]}')


def _settings(design: ExperimentDesign) -> Iterator[Finding]:
    for key in design.set:
        yield from _own_key(key, ("set", key))
        if key.startswith(SIMULATED):
            yield Finding(("set", key), f"stands in the section simulate: write simulate: {{{key.removeprefix(SIMULATED)}: ...}}", key=True)


def _measures(design: ExperimentDesign) -> Iterator[Finding]:
    titles: dict[str, None] = {}
    if design.with_ == "simulate" and design.curves_over == "time":
        yield Finding(("curves_over",), "curves of a simulation are over rounds; leave it out")
    for number, measure in enumerate(design.measure):
        if measure.title in titles:
            yield Finding(("measure", number), f'a measure is called "{measure.title}" already; give one of them a name:')
        titles[measure.title] = None
        if design.with_ == "simulate" and measure.node not in (None, "summary"):
            yield Finding(("measure", number, "node"), "a simulation has no nodes with metrics; leave it out")
    for number, expected in enumerate(design.expect):
        at: Path = ("expect", number)
        if expected.metric not in titles:
            rule = f"{expected.metric} is not measured; measured are {', '.join(titles)}"
            yield Finding((*at, "metric"), rule, nearest(expected.metric, titles))
        if expected.statistic == "probability_of_improvement" and expected.relative_to is None:
            yield Finding(at, "a probability of improvement is one over another group: give relative_to")


def _combinations(design: ExperimentDesign) -> Iterator[Finding]:
    for number, cell in enumerate(design.cells or []):
        at: Path = ("cells", number)
        missing = [name for name in design.factors if name not in cell]
        if missing:
            yield Finding(at, f"gives no label of {', '.join(missing)}")
        yield from _labels(design, cell, at)
        if cell in (design.cells or [])[:number]:
            yield Finding(at, "is given twice")
    combinations = 1
    for labels in design.labels().values():
        combinations *= len(labels)
    count = (combinations if design.cells is None else len(design.cells)) * len(design.seeds)
    if count > MOST_CELLS:
        yield Finding((), f"has {count} cells; at most {MOST_CELLS} are read")


def _groups(design: ExperimentDesign) -> Iterator[Finding]:
    if design.compare is not None:
        wrong = list(_labels(design, design.compare.baseline, ("compare", "baseline")))
        yield from wrong
        if not wrong:
            try:
                design.tolerated()
            except ValueError as error:
                yield Finding(("compare", "tolerance"), str(error))
    for number, expected in enumerate(design.expect):
        yield from _labels(design, expected.where, ("expect", number, "where"))
        if expected.relative_to is not None:
            yield from _labels(design, expected.relative_to, ("expect", number, "relative_to"))
            if all(expected.where.get(name) == label for name, label in expected.relative_to.items()):
                yield Finding(("expect", number, "relative_to"), "is the same group: nothing differs from where")
            for name, label in expected.relative_to.items():
                if name in design.factors and name not in expected.where:
                    rule = f"where doesn't name the {name} that is compared with {label}: all runs would be one group; name one there"
                    yield Finding(("expect", number, "relative_to", name), rule)


def _labels(design: ExperimentDesign, chosen: Mapping[str, str], at: Path) -> Iterator[Finding]:
    known = design.labels()
    for name, label in chosen.items():
        if name not in known:
            yield Finding(
                (*at, name), f"there is no factor {name}; factors are {', '.join(known) or 'none'}", nearest(name, known), key=True
            )
        elif label not in known[name]:
            rule = f"{label} is no value of {name}; values are {', '.join(known[name])}"
            yield Finding((*at, name), rule, nearest(label, known[name]))
