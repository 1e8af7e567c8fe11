"""The JSON layout of marl-eval, so that its plots, and those of BenchMARL, can be made of our runs.

    {environment: {task: {algorithm: {"seed_3": {"step_0": {"step_count": 0, "return": [0.1]}, ..., "absolute_metrics": {"return":
    [0.7]}}}}}}

(Gorsane et al. 2022; the layout is described in marl-eval's README.) It knows no runs that are missing, and wants all of them at the same
steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import numpy as np
from numpy.typing import ArrayLike

from orchestrator.results.statistics.curve_statistics import at_steps
from orchestrator.results.statistics.runs_table import RunRow, RunsTable, describe

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
    the caller to tell.
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
            "marl-eval wants all runs whole: " + "; ".join([*faults, *uneven]) + "; make them again, or take common seeds only"
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
