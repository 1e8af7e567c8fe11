"""An experiment in the layout of marl-eval: one factor is the algorithm, each combination of the others a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import ArrayLike

from orchestrator.experiments.results.experiment_results import ExperimentResults
from orchestrator.results import run_directories as runs
from orchestrator.results.statistics.curve_statistics import at_steps
from orchestrator.results.statistics.runs_table import RunRow, RunsTable, describe
from protocols.runtime.errors import UsageError
from protocols.runtime.suggestions import hint

_TASK = "factors beside the algorithm"
"""no name that a factor has"""
_NAMED = 3
"""runs that are named in a message"""


@dataclass(frozen=True)
class MarlEvalExport:
    """What was written, and what was not."""

    content: Layout
    metrics: tuple[str, ...]
    runs: int
    steps: tuple[int, int]
    """first and last common step"""
    left_out: tuple[int, ...]
    """seeds that are not whole in all groups"""
    axis: str
    """what the steps count"""


def marl_eval(results: ExperimentResults, algorithm: str | None, metrics: Sequence[str], points: int, common_seeds: bool) -> MarlEvalExport:
    """These measures (none: the first) at `points` common steps, from where the last curve begins to where the first one ends.

    `algorithm`: the factor that is it; None: the only one, or else that of the baseline. `results` must have curves over steps
    (`load(directory, over_time=False)`). `UsageError` for an unknown factor or measure, for runs that are missing unless `common_seeds`
    leaves their seeds out everywhere, for measures that have no curves, and for curves that have no steps in common.
    """
    factor = _named("--algorithm", algorithm, list(results.design.factors)) if algorithm is not None else _algorithm(results)
    titles = [measure.title for measure in results.design.measure]
    wanted = tuple(_named("--metric", metric, titles) for metric in metrics) or (titles[0],)
    axis = _axis(results, wanted)
    curves = [(row.metric, row.curve) for row in results.table.rows if row.curve is not None and row.metric in wanted]
    if not curves:
        raise UsageError(f"no run of {results.design.name} has a curve of {' or '.join(wanted)}: {_why_no_curve(results, wanted)}")
    (late, first), (early, last) = max(curves, key=lambda one: one[1].steps[0]), min(curves, key=lambda one: one[1].end)
    if last.end - first.steps[0] < 1:
        raise UsageError(
            f"curves have no {axis} in common: one of {late} begins at {first.steps[0]:g}, one of {early} ends at {last.end:g}. Nothing is "
            "made up where a run has no value: export a measure that all runs write more often, with --metric"
        )
    steps = np.unique(np.round(np.linspace(np.ceil(first.steps[0]), np.floor(last.end), points)))
    lacking = [row for row in results.table.rows if row.metric in wanted and not _whole(row)]
    if lacking and not common_seeds:
        some = "; ".join(f"{describe(row)} ({row.why_not})" for row in lacking[:_NAMED])
        more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
        raise UsageError(f"marl-eval requires all runs whole: {some}{more} lacking; --common-seeds leaves out seeds that are not whole")
    table, environment = RunsTable.of(_with_task(row, factor) for row in results.table.rows), _environment(results)
    content = layout(table, wanted, steps, environment=environment, algorithm=factor, task=_TASK, common_seeds=common_seeds)
    kept = {seed for methods in content[environment].values() for found in methods.values() for seed in found}
    if not kept:
        raise UsageError("no seed is whole in all groups: orchestrate experiment makes what is missing, --retry-failed what has failed")
    left_out = tuple(seed for seed in results.design.seeds if f"seed_{seed}" not in kept)
    whole = sum(cell.seed not in left_out for cell in results.cells)
    return MarlEvalExport(content, wanted, whole, (int(steps[0]), int(steps[-1])), left_out, axis)


def _axis(results: ExperimentResults, wanted: Sequence[str]) -> str:
    """That of all these measures. `UsageError` where one counts rounds and another steps: there is one `step_count` for all."""
    found = {title: results.design.axis_of(results.design.measure_named(title)) for title in wanted}
    if len(set(found.values())) > 1:
        said = ", ".join(f"{title} is over {axis}" for title, axis in found.items())
        raise UsageError(f"{said}, and the layout has one count for all: export them one by one, with --metric and -o")
    return next(iter(found.values()))


def _why_no_curve(results: ExperimentResults, wanted: Sequence[str]) -> str:
    done = [row for row in results.table.rows if row.metric in wanted and not row.failure]
    if not done:
        return "orchestrate experiment makes what is missing, --metric names another measure"
    others = dict.fromkeys(row.metric for row in results.table.rows if row.curve is not None)
    there = f"; curves have {', '.join(others)} (--metric)" if others else ", nor has any other measure of it"
    return f"a run has one number of it, not one of several over time, and can't be exported{there}"


def _named(option: str, asked: str, known: Sequence[str]) -> str:
    if asked not in known:
        meant = f" ({meant})" if (meant := hint(asked, known)) else ""
        raise UsageError(f"{option} {asked}: there is {', '.join(known) or 'none'}{meant}")
    return asked


def _algorithm(results: ExperimentResults) -> str:
    factors, compare = list(results.design.factors), results.design.compare
    if len(factors) == 1:
        return factors[0]
    if compare is not None and len(compare.baseline) == 1:
        return next(iter(compare.baseline))
    raise UsageError(f"which factor is the algorithm? --algorithm {' or '.join(factors) or '(it varies nothing)'}")


def _whole(row: RunRow) -> bool:
    return row.curve is not None and row.value is not None and isfinite(row.value)


def _with_task(row: RunRow, algorithm: str) -> RunRow:
    others = [f"{name}={value}" for name, value in row.factors.items() if name != algorithm]
    task = {_TASK: " ".join(others) or "all"}
    return RunRow({algorithm: row.factors[algorithm], **task}, row.seed, row.metric, row.value, row.curve, row.failure)


def _environment(results: ExperimentResults) -> str:
    if results.design.with_ == "simulate":
        return "simulation"
    directory = next(cell.directory for cell in results.cells if cell.state == "DONE" and cell.directory is not None)
    return str(runs.read_json(directory / "config.json")["environment"]["id"])


Run = dict[str, dict[str, int | list[float]]]
Layout = dict[str, dict[str, dict[str, dict[str, Run]]]]


def layout(
    table: RunsTable,
    metrics: Sequence[str],
    steps: ArrayLike,
    *,
    environment: str,
    algorithm: str,
    task: str = "",
    common_seeds: bool = False,
) -> Layout:
    """Curves of `metrics` at common `steps`, and final values as absolute metrics.

    `environment`: its name. `algorithm`, `task`: the factors that hold these names; without a task, all runs are of one of the
    environment's name. Factors other than these two would let several runs fall together: then choose rows before. A `ValueError` names the
    runs that lack something; with `common_seeds` only seeds are taken that every algorithm has in every task: what is left out then is for
    the caller to report.
    """
    wanted = np.asarray(steps, float)
    chosen: dict[tuple[str, str], dict[int, Run]] = {}
    faults: list[str] = []
    for run in table.runs():
        names = run.factors.get(task, environment) if task else environment, run.factors.get(algorithm)
        if names[1] is None:
            raise ValueError(f"{describe(run)} has no factor {algorithm}, which is to be the algorithm")
        seeds = chosen.setdefault((names[0], names[1]), {})
        if run.seed in seeds:
            raise ValueError(
                f"several runs are {names[1]} on {names[0]} with seed {run.seed}: choose among the rows by their other factors first"
            )
        entry, lacks = _run(table, run, metrics, wanted)
        seeds[run.seed] = entry if not lacks else {}
        faults += lacks
    everywhere = set.intersection(*(set(seeds) for seeds in chosen.values())) if chosen else set()
    whole = {seed for seed in everywhere if all(seeds[seed] for seeds in chosen.values())}
    uneven = [
        f"{name} on {where} has no seed {seed}"
        for (where, name), seeds in chosen.items()
        for seed in sorted({s for found in chosen.values() for s in found} - set(seeds))
    ]
    if (faults or uneven) and not common_seeds:
        raise ValueError(
            "marl-eval requires all runs whole: " + "; ".join([*faults, *uneven]) + "; make them again, or take common seeds only"
        )
    result: Layout = {environment: {}}
    for (where, name), seeds in sorted(chosen.items()):
        result[environment].setdefault(where, {})[name] = {f"seed_{seed}": seeds[seed] for seed in sorted(whole)}
    return result


def _run(
    table: RunsTable, run: RunRow, metrics: Sequence[str], steps: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
) -> tuple[Run, list[str]]:
    """A run's entry, and what it lacks."""
    entry: Run = {f"step_{number}": {"step_count": round(float(step))} for number, step in enumerate(steps)}
    final: dict[str, int | list[float]] = {}
    lacks = []
    for metric in metrics:
        row = next((row for row in table.rows if row.run == run.run and row.metric == metric), None)
        if row is None or row.curve is None or row.value is None or not isfinite(row.value):
            lacks.append(f"{describe(run)} has no {metric}" + (f" ({row.why_not})" if row and row.failure else ""))
            continue
        values = at_steps(row.curve, steps)
        if np.isnan(values).any():
            lacks.append(f"{describe(run)} has {metric} only from {row.curve.steps[0]:g} to {row.curve.end:g}")
            continue
        for number, value in enumerate(values):
            entry[f"step_{number}"][metric] = [float(value)]
        final[metric] = [row.value]
    entry["absolute_metrics"] = final
    return entry, lacks
