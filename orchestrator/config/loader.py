"""From a file, arguments and flags to a checked configuration, or to everything that is wrong with it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from orchestrator.config.checks.component_check import check_components
from orchestrator.config.checks.cross_checks import Rule, RuleContext, run_checks
from orchestrator.config.checks.field_checks import Validated, validate
from orchestrator.config.checks.inapplicable_features import adjusted, agent_count_adjustments, feature_adjustments, without_foreign_options
from orchestrator.config.checks.learner_choice import learner_adjustments, named_learners, with_learner
from orchestrator.config.checks.machine_resources import MachineResources
from orchestrator.config.configuration import Configuration
from orchestrator.config.key_names import VERSION, accepted_names
from orchestrator.config.parsing.command_line_overrides import OverrideRefused, apply, parse
from orchestrator.config.parsing.fault_traces import expand_traces
from orchestrator.config.parsing.file_kinds import taken_for_configuration
from orchestrator.config.parsing.problems import Problem, Problems
from orchestrator.config.parsing.yaml_reader import UnreadableYaml, read_file
from orchestrator.config.parsing.yaml_tree import List, Location, Map, MapEntry, Node, Scalar, find, plain, planted, put
from orchestrator.config.resolved_configuration import digest, flow, origins_of
from orchestrator.config.rules import RULES
from orchestrator.config.shipped_configurations import find_shipped, locate
from protocols.runtime.component_registry import load_plugins
from protocols.runtime.errors import AuthenticationError, SchemaError
from protocols.runtime.settings_types import replaces_component

DICTIONARY = FilePath("dictionary")
"""stands for the file where a configuration is given as a dictionary; what it extends is looked for from the working directory"""
LONGEST_CHAIN = 16
"""files that extend one another"""

_STAND_INS = {"until": {"episodes": 1}, "environment": {"id": "landmarks"}}


@dataclass(frozen=True)
class Loaded:
    """A checked configuration and where each of its values came from."""

    configuration: Configuration
    origins: dict[str, str]
    """path of every value -> `file:line:column`, `argument n`, `flag --name` or `default`"""
    source: str
    """the text of the file as given"""
    digest: str
    """SHA-256 of everything that can change results"""
    path: FilePath
    warnings: list[Problem] = field(default_factory=list)
    """warnings, notices of features that were switched off or of observations that are flattened, and choices"""

    @property
    def notices(self) -> list[str]:
        """One line for each feature that was switched off, for each observation space that is flattened, and for each value that was
        chosen."""
        return [problem.message for problem in self.warnings if problem.severity in ("notice", "choice")]


def load(
    given: FilePath | str | Mapping[str, Any],
    overrides: Sequence[str] = (),
    flags: Mapping[str, Any] = {},
    *,
    strict: bool = False,
    machine: MachineResources | None = None,
    rules: Sequence[Rule] = RULES,
    amend: Callable[[Configuration], Configuration] = lambda configuration: configuration,
) -> Loaded:
    """Read, join and check a configuration: models' defaults < files it extends < the file < `overrides` < `flags`.

    `overrides` are arguments `key.path=value`; `flags` are paths to plain values (None: not given). Raises `Problems` with every mistake
    at once (with `strict`, warnings count), `SchemaError` when the file is of a newer version. `given` is a file, the name of a shipped
    configuration (`odmar/far`), or the contents of a file as a dictionary. `machine` is what the checks measure against, by default this
    one. `rules` are the cross checks that count, and `amend` changes what they look at beforehand, in ways that no file may (more agents
    than a run can have). `AuthenticationError` (exit 4) where all is right, and messages would leave this machine in the open.
    """
    path = DICTIONARY if isinstance(given, Mapping) else locate(FilePath(given))
    subject = str(path) if not overrides else f"{path} + {len(overrides)} argument{'s' if len(overrides) > 1 else ''}"
    problems: list[Problem] = []
    parsed = []
    for number, argument in enumerate(overrides, start=1):
        try:
            parsed.append(parse(argument, number))
        except OverrideRefused as refused:
            problems.append(refused.problem)
    try:
        tree, source = read_chain(path, problems, given if isinstance(given, Mapping) else None)
    except UnreadableYaml as unreadable:
        raise Problems(subject, in_order([*unreadable.problems, *problems])) from unreadable
    if (mistaken := taken_for_configuration(tree, str(path))) is not None:
        raise Problems(subject, [mistaken])
    _load_plugins([find(tree, ("plugins",)), *(one.value for one in parsed if one.parts == ("plugins",))])
    for override in parsed:
        if override.parts == ("environment", "id"):
            tree, dropped = without_foreign_options(tree, plain(override.value))
            problems += dropped
    tree = with_learner(tree)
    for override in parsed:
        try:
            tree = named_learners(apply(tree, override, Configuration))
        except OverrideRefused as refused:
            problems.append(refused.problem)
    for name, value in flags.items():
        if value is not None:
            tree = put(tree, tuple(name.split(".")), planted(value, Location(f"flag --{name.rsplit('.', 1)[-1]}")))
    tree, outdated = _of_this_version(with_learner(tree))
    problems += outdated
    tree, doubled = accepted_names(tree, Configuration)
    problems += doubled
    tree, mistaken_traces = expand_traces(tree)
    problems += mistaken_traces
    validated = validate(tree, Configuration, _STAND_INS)
    problems += validated.problems
    if validated.model is not None:
        context = RuleContext(amend(validated.model), machine or MachineResources.here())
        if rules is RULES:
            validated, context, notices = _switch_off(validated, context)
            problems += notices
        problems += run_checks(rules, context, validated.tree, validated.broken)
        validated.model = context.configuration
    errors = [problem for problem in problems if problem.severity == "error"]
    if validated.model is None or errors or (strict and any(problem.severity != "choice" for problem in problems)):
        raise Problems(subject, in_order(problems))
    configuration = validated.model
    check_components(configuration)
    if (reach := configuration.exposed) and not configuration.encrypted:
        raise AuthenticationError(
            f"{reach}, and security.mode is none, so that others could read and send messages of the run. Write security.mode=auto "
            "(encrypted, and only processes of this run are admitted), or keep to this machine: network.bind=127.0.0.1; nothing was started"
        )
    return Loaded(configuration, origins_of(configuration, validated.tree), source, digest(configuration), path, in_order(problems))


def _switch_off(validated: Validated[Configuration], context: RuleContext) -> tuple[Validated[Configuration], RuleContext, list[Problem]]:
    """The configuration with features switched off that do not apply, and a notice of each. Nothing changes while a section that decides
    about them is broken."""
    notices: list[Problem] = []
    if any(path[:1] in (("environment",), ("agents",), ("exchange",), ("network",)) for path in validated.broken):
        return validated, context, notices
    for stage in (agent_count_adjustments, learner_adjustments, feature_adjustments):
        if not (found := list(stage(context, validated.tree))):
            continue
        notices += [one.notice(validated.tree) for one in found if one.text]
        again = validate(adjusted(validated.tree, found), Configuration, _STAND_INS)
        if again.model is None or len(again.problems) > len(validated.problems):
            return validated, context, [*notices, *again.problems]
        validated, context = again, context.updated(again.model)
    return validated, context, notices


def read_chain(path: FilePath, problems: list[Problem], contents: Mapping[str, Any] | None = None) -> tuple[Node, str]:
    """The file laid over the file it `extends`, and so on, and the text of the first; mistakes that leave a tree go to `problems`.

    `contents` take the place of what the file `path` holds. Maps are merged key by key, lists and components of another kind replaced.
    `UnreadableYaml` for text that cannot be read.
    """
    trees: list[Map] = []
    text = ""
    seen: list[FilePath] = []
    here: FilePath | None = path
    named_at: Location | None = None
    while here is not None:
        try:
            tree, this_text, mistakes = read_file(here, str(here)) if contents is None or seen else _read_dictionary(contents)
        except UnreadableYaml as unreadable:
            if named_at is not None and not here.exists():
                raise UnreadableYaml([*problems, Problem(str(named_at), "extends", f"there is no file {here}")]) from unreadable
            raise UnreadableYaml([*problems, *unreadable.problems]) from unreadable
        problems += mistakes
        text = text or this_text
        seen.append(here.resolve())
        entry = tree.entries.get("extends")
        trees.append(Map(tree.location, {key: value for key, value in tree.entries.items() if key != "extends"}))
        here, named_at = _extended(entry, here, seen, problems)
    merged = named_learners(trees[-1])
    for tree in reversed(trees[:-1]):
        identifier = find(tree, ("environment", "id"))
        merged, dropped = without_foreign_options(merged, plain(identifier) if identifier is not None else None)
        problems += dropped
        merged = merge(merged, named_learners(tree))
    return merged, text


def _read_dictionary(contents: Mapping[str, Any]) -> tuple[Map, str, list[Problem]]:
    """As `read_file`, of values that were given by a program: its tree, and its text as YAML."""
    location = Location(str(DICTIONARY))
    tree = Map(location, {key: MapEntry(location, planted(value, location)) for key, value in contents.items()})
    return tree, "".join(f"{key}: {flow(value)}\n" for key, value in contents.items()), []


def _extended(
    entry: MapEntry | None, here: FilePath, seen: Sequence[FilePath], problems: list[Problem]
) -> tuple[FilePath, Location] | tuple[None, None]:
    if entry is None:
        return None, None
    place = entry.value.location
    value = entry.value.value if isinstance(entry.value, Scalar) else None
    if not isinstance(value, str) or not value:
        problems.append(Problem(str(place), "extends", "is not the name of a file; write for example extends: base.yaml"))
        return None, None
    base = _short(here.parent / value)
    if not base.exists() and (shipped := find_shipped(value)) is not None:
        base = shipped
    if base.resolve() in seen:
        problems.append(Problem(str(place), "extends", f"goes in a circle: {base} is already part of this chain"))
        return None, None
    if len(seen) >= LONGEST_CHAIN:
        problems.append(Problem(str(place), "extends", f"is more than {LONGEST_CHAIN} files long"))
        return None, None
    return base, place


def _short(path: FilePath) -> FilePath:
    """Without `..` in the middle, where that names the same file (beyond a link it may not)."""
    short = FilePath(os.path.normpath(path))
    return short if short.resolve() == path.resolve() else path


def merge(base: Node, over: Node) -> Node:
    """`over` laid over `base`: maps key by key; lists, scalars, and components whose `kind` differs replace what was there."""
    if not (isinstance(base, Map) and isinstance(over, Map)):
        return over
    old, new = (kind.value if isinstance(kind := find(node, ("kind",)), Scalar) else None for node in (base, over))
    if replaces_component(old, new):
        return over
    entries = dict(base.entries)
    for key, entry in over.entries.items():
        entries[key] = MapEntry(entry.key, merge(entries[key].value, entry.value)) if key in entries else entry
    return Map(over.location, entries)


def _load_plugins(given: Sequence[Node | None]) -> None:
    """Import the modules of `plugins`: installed ones, or those in the working directory or in that of the file that names them. This comes
    before everything that needs the registered components. Processes of the run find the modules by PYTHONPATH."""
    items = [item for node in given if node is not None for item in (node.items if isinstance(node, List) else (node,))]
    modules = [(item.value, item.location) for item in items if isinstance(item, Scalar) and isinstance(item.value, str)]
    if not modules:
        return
    beside = (str(FilePath(location.source).resolve().parent) for _, location in modules if location.line)
    places = list(dict.fromkeys([str(FilePath.cwd()), *beside]))
    sys.path += [place for place in places if place not in sys.path]
    known = [*filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join([*known, *(place for place in places if place not in known)])
    load_plugins([module for module, _ in modules])


def _of_this_version(tree: Node) -> tuple[Node, list[Problem]]:
    """The tree as one of this version, and the problem of an earlier one. `SchemaError` for a later one."""
    version = find(tree, ("version",))
    if not isinstance(version, Scalar) or type(version.value) is not int:
        return tree, []
    if version.value > VERSION:
        raise SchemaError(
            f"{version.location}  version: {version.value} is newer than this program reads ({VERSION}); update it, "
            f"or write the configuration for version {VERSION}"
        )
    if version.value != 1:
        return tree, []
    text = f"1 is an earlier format; run: orchestrate migrate {version.location.source} --write"
    return put(tree, ("version",), Scalar(version.location, VERSION)), [Problem(str(version.location), "version", text)]


def in_order(problems: Sequence[Problem]) -> list[Problem]:
    """Sorted by file, line and column; arguments and flags after them; each once."""

    def position(problem: Problem) -> tuple[int, str, int, int]:
        in_file = re.fullmatch(r"(.*):(\d+):(\d+)", problem.place)
        if in_file is not None:
            return (0, in_file[1], int(in_file[2]), int(in_file[3]))
        argument = re.fullmatch(r"argument (\d+)", problem.place)
        return (1, "", int(argument[1]), 0) if argument is not None else (2, problem.place, 0, 0)

    return sorted(dict.fromkeys(problems), key=position)
