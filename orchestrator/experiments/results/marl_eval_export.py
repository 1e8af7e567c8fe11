"""An experiment in the layout of marl-eval: one factor is the algorithm, each combination of the others a task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from orchestrator.experiments.results.experiment_results import ExperimentResults
from orchestrator.results.run_files import read_json
from orchestrator.results.statistics.curve_statistics import at_steps
from orchestrator.results.statistics.runs_table import Floats, RunRow, describe
from protocols.runtime.errors import UsageError
from protocols.runtime.suggestions import hint

_NAMED = 3
"""runs that are named in a message"""
Run = dict[str, dict[str, int | list[float]]]
Layout = dict[str, dict[str, dict[str, dict[str, Run]]]]
"""environment -> task -> algorithm -> seed -> step"""


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
    steps = np.asarray(np.unique(np.round(np.linspace(np.ceil(first.steps[0]), np.floor(last.end), points))), float)
    rows = [row for row in results.table.rows if row.metric in wanted]
    lacking = [row for row in rows if row.curve is None or row.value is None or not isfinite(row.value)]
    if lacking and not common_seeds:
        some = "; ".join(f"{describe(row)} ({row.why_not})" for row in lacking[:_NAMED])
        more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
        raise UsageError(f"marl-eval requires all runs whole: {some}{more} lacking; --common-seeds leaves out seeds that are not whole")
    left_out = {row.seed for row in lacking}
    if left_out.issuperset(results.design.seeds):
        raise UsageError("no seed is whole in all groups: orchestrate experiment makes what is missing, --retry-failed what has failed")
    whole = [row for row in rows if row.seed not in left_out]
    content = {_environment(results): _layout(sorted(whole, key=lambda row: (row.seed, wanted.index(row.metric))), factor, steps)}
    count = sum(cell.seed not in left_out for cell in results.cells)
    seeds = tuple(seed for seed in results.design.seeds if seed in left_out)
    return MarlEvalExport(content, wanted, count, (int(steps[0]), int(steps[-1])), seeds, axis)


def _layout(rows: Iterable[RunRow], algorithm: str, steps: Floats) -> dict[str, dict[str, dict[str, Run]]]:
    """Task -> algorithm -> seed -> its curves at the steps, and its final values as absolute metrics."""
    found: dict[str, dict[str, dict[str, Run]]] = {}
    for row in rows:
        task = " ".join(f"{name}={value}" for name, value in row.factors.items() if name != algorithm) or "all"
        empty: Run = {f"step_{number}": {"step_count": round(step)} for number, step in enumerate(steps.tolist())}
        methods = found.setdefault(task, {})
        run = methods.setdefault(row.factors[algorithm], {}).setdefault(f"seed_{row.seed}", {**empty, "absolute_metrics": {}})
        if row.curve is not None and row.value is not None:
            for number, value in enumerate(at_steps(row.curve, steps).tolist()):
                run[f"step_{number}"][row.metric] = [value]
            run["absolute_metrics"][row.metric] = [row.value]
    return {task: dict(sorted(methods.items())) for task, methods in sorted(found.items())}


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


def _environment(results: ExperimentResults) -> str:
    if results.design.with_ == "simulate":
        return "simulation"
    directory = next(cell.directory for cell in results.cells if cell.state == "DONE" and cell.directory is not None)
    return str(read_json(directory / "config.json")["environment"]["id"])
