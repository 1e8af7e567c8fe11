"""A design becomes cells: one for each combination of factors and each seed, with its whole configuration, checked before any starts."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath

from orchestrator.config.checks.field_checks import validate
from orchestrator.config.loader import Loaded, in_order, load
from orchestrator.config.parsing.problems import Problem, Problems
from orchestrator.config.parsing.yaml_tree import Location, Path, planted
from orchestrator.config.resolved_configuration import flow
from orchestrator.experiments.design import measure_checks as measurable
from orchestrator.experiments.design.experiment_cell import Cell
from orchestrator.experiments.design.experiment_design import ExperimentDesign, SimulationSettings, format_seeds, label_of, parse_seeds
from orchestrator.experiments.design.experiment_reader import SIMULATED, ExperimentFile, examine
from protocols.runtime.errors import UsageError

_APART = ("version", "name", "question", "measure", "compare", "curves_over", "report", "expect", "limits")
"""keys of an experiment file that no cell is made of"""
_ARGUMENT = re.compile(r"argument (\d+)")


@dataclass(frozen=True)
class CellGrid:
    """All cells of a design, in the order of the grid and then by seed, and what deserves a warning."""

    cells: tuple[Cell, ...]
    warnings: tuple[Problem, ...]


def slug(text: str, longest: int) -> str:
    """Small letters, digits and dashes, for names of directories."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:longest].strip("-") or "x"


@dataclass(frozen=True)
class _Override:
    key: str
    value: object
    location: Location

    @property
    def argument(self) -> str:
        return f"{self.key}={flow(self.value)}"


def read_and_make(path: FilePath, small: bool = False) -> tuple[ExperimentFile, CellGrid]:
    """An experiment file and its cells. `Problems` has the mistakes of both at once, unless those of the file are where cells come from."""
    found, problems = examine(path, small)
    errors = [problem for problem in problems if problem.severity == "error"]
    if found is not None and not errors:
        return found, make(found)
    if found is not None and all(re.split(r"[.\[]", problem.path)[0] in _APART for problem in errors):
        problems = in_order([*problems, *_made(found)[1]])
    raise Problems(str(path), problems)


def make(read: ExperimentFile) -> CellGrid:
    """Every cell with its checked configuration. `Problems` names each mistake once, at its place in the experiment file or in the base,
    and the cells that have it where these are not all."""
    cells, problems = _made(read)
    if not any(problem.severity == "error" for problem in problems):
        problems += [*_same(cells, read), *measurable.problems(read, cells)]
    if any(problem.severity == "error" for problem in problems):
        raise Problems(f"{read.path} and {read.base}", in_order(problems))
    return CellGrid(tuple(cells), tuple(in_order(problems)))


def _made(read: ExperimentFile) -> tuple[list[Cell], list[Problem]]:
    found: dict[Problem, list[str]] = {}
    combinations, seeds = read.design.combinations(), read.design.seeds
    made = [
        _cell(read, factors, seed, overrides, found)
        for factors in combinations
        for overrides in [_overrides(read, factors)]
        for seed in seeds
    ]
    problems = [_of_cells(problem, labels, len(made)) for problem, labels in found.items()]
    return [cell for cell in made if cell is not None], problems


def _overrides(read: ExperimentFile, factors: Mapping[str, str]) -> list[_Override]:
    """What all cells have in common, then the factors: later ones win."""
    design = read.design
    given = [_Override(key, value, read.location(("set", key))) for key, value in design.set.items()]
    for name, label in factors.items():
        factor = design.factors[name]
        part = label if isinstance(factor.values, dict) else list(factor.levels()).index(label)
        at: Path = ("factors", name, "values", part)
        for key, value in factor.levels()[label].items():
            where = read.location(at if factor.key is not None else (*at, "set", key))
            given.append(_Override(key, value, where))
    return given


def _cell(
    read: ExperimentFile, factors: Mapping[str, str], seed: int, overrides: Sequence[_Override], found: dict[Problem, list[str]]
) -> Cell | None:
    design = read.design
    label = " ".join([*(f"{name}={value}" for name, value in factors.items()), f"seed {seed}"])
    of_configuration = [one for one in overrides if not one.key.startswith(SIMULATED)]
    arguments = tuple(one.argument for one in of_configuration)
    simulated, mistakes = _simulated(design, overrides)
    try:
        loaded = _load(read.base, arguments, seed, simulated)
    except Problems as problems:
        mistakes += problems.problems
    _note(mistakes, of_configuration, read, label, found)
    if mistakes:
        return None
    _note(loaded.warnings, of_configuration, read, label, found)
    return Cell(dict(factors), seed, arguments, loaded, simulated, command_of(read.base, arguments, seed, simulated))


def _simulated(design: ExperimentDesign, overrides: Iterable[_Override]) -> tuple[SimulationSettings | None, list[Problem]]:
    """The settings of the simulation, and what is wrong with those that the factors give."""
    if design.with_ != "simulate":
        return None, []
    settings, problems = design.simulate.model_dump(mode="json"), []
    for one in overrides:
        if not one.key.startswith(SIMULATED):
            continue
        name = one.key.removeprefix(SIMULATED)
        checked = validate(planted({**settings, name: one.value}, one.location), SimulationSettings, {})
        problems += [replace(problem, place=str(one.location), path=one.key) for problem in checked.problems]
        if not checked.problems:
            settings[name] = one.value
    return SimulationSettings.model_validate_json(json.dumps(settings), strict=True), problems


def _load(base: FilePath, arguments: Sequence[str], seed: int, simulated: SimulationSettings | None) -> Loaded:
    if simulated is None:
        return load(base, arguments, {"seed": seed})
    from orchestrator.experiments.running.averaging_simulation import loaded

    return loaded(base, arguments, simulated, seed)


def _note(
    problems: Iterable[Problem], overrides: Sequence[_Override], read: ExperimentFile, label: str, found: dict[Problem, list[str]]
) -> None:
    """Places `argument n` become those of the experiment file."""
    for problem in problems:
        match = _ARGUMENT.fullmatch(problem.place)
        location = str(overrides[int(match[1]) - 1].location) if match is not None else problem.place
        if problem.place == str(read.base) and "no such file" in problem.text:
            location = str(read.location(("base",), key=True))
            problem = replace(problem, path="base", text=f"there is no file {read.base}", suggestion=None)
        found.setdefault(replace(problem, place=location), []).append(label)


def _of_cells(problem: Problem, labels: Sequence[str], count: int) -> Problem:
    if len(labels) == count:
        return problem
    others = f" and {len(labels) - 1} more cells" if len(labels) > 1 else ""
    return replace(problem, text=f"{problem.text} (in {labels[0]}{others})")


def _same(cells: Sequence[Cell], read: ExperimentFile) -> list[Problem]:
    """Two combinations that make the same run: a factor that changes nothing of what counts."""
    seen: dict[str, Cell] = {}
    problems = []
    for cell in cells:
        other = seen.setdefault(cell.identity(""), cell)
        if other is not cell:
            differing = [name for name, label in cell.factors.items() if other.factors[name] != label]
            place = str(read.location(("factors", differing[0]), key=True))
            rule = f"{cell.label} and {other.label} are the same run: nothing that can change results differs between them"
            problems.append(Problem(place, f"factors.{differing[0]}", rule))
            break
    return problems


def command_of(base: FilePath, arguments: Sequence[str], seed: int, simulated: SimulationSettings | None) -> str:
    """The shell command that repeats this cell: the base configuration with the cell's arguments and seed."""
    words = ["orchestrate", "up" if simulated is None else "simulate", str(base), *arguments, "--seed", str(seed)]
    for name, value in (simulated.model_dump(exclude_defaults=True) if simulated is not None else {}).items():
        words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return shlex.join(words)


def select(cells: Sequence[Cell], design: ExperimentDesign, chosen: Sequence[str]) -> list[Cell]:
    """Those cells that fit all of `chosen`: `delay=0ms,50ms` or `seed=0..2`. `UsageError` for what no cell could fit."""
    kept = list(cells)
    known = design.labels()
    for text in chosen:
        name, sign, wanted = text.partition("=")
        if not sign or (name not in known and name != "seed"):
            raise UsageError(f'--only: "{text}" is not FACTOR=VALUE; factors are {", ".join([*known, "seed"])}')
        if name == "seed":
            try:
                seeds = parse_seeds(wanted if ".." in wanted else [int(part) for part in wanted.split(",")])
            except ValueError:
                raise UsageError(f'--only: "{text}": seeds are written as 3, 0,2,4 or 0..4') from None
            if strange := [seed for seed in seeds if seed not in design.seeds]:
                there = format_seeds(design.seeds)
                shown = there if isinstance(there, str) else ", ".join(map(str, there))
                raise UsageError(f"--only: {strange[0]} is no seed of it; seeds are {shown}")
            kept = [cell for cell in kept if cell.seed in seeds]
            continue
        labels = [label_of(label, known[name]) for label in wanted.split(",")]
        if wrong := [label for label in labels if label not in known[name]]:
            raise UsageError(f"--only: {wrong[0]} is no value of {name}; values are {', '.join(known[name])}")
        kept = [cell for cell in kept if cell.factors[name] in labels]
    if not kept:
        raise UsageError(f"--only: no cell fits {' and '.join(chosen)}; the file lists its cells")
    return kept
