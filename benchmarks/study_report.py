"""Metrics of learning experiments, kept in one file, and what is made of them: tables with intervals.

The file beside a document, `docs/results/NAME.csv`, has a line for each figure: experiment, method, seed, steps, name, value. Names that
begin with `eval.` are evaluations at that step; others are training metrics, each the mean over a twentieth of the run, weighted by
episodes. The tables of `docs/results/NAME.md` stand between two comments that name the experiment, and are written anew from the file.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.variance_analysis import analysis_of_variance
from orchestrator.results.statistics.estimate import estimate
from orchestrator.results.statistics.runs_table import ScoreSample

PARTS = 20
"""of a run: training metrics are means over them"""
NOTHING = "–"
"""in a cell: there is no such figure"""
LEAST_RUNS = 5
"""seeds for an interval or a test"""
Key = tuple[str, str, int]
"""experiment, method, seed"""
Curve = list[tuple[int, float]]
"""steps and values"""


def _lines(node: Path) -> Iterator[dict[str, Any]]:
    """What a node has written, as `{"t", "step", "name", "value", ...}`."""
    with (node / "metrics.jsonl").open() as file:
        yield from map(json.loads, file)


# --- the file of metrics ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """A document with its file of metrics.

    `training`: names of metrics of training episodes that are kept; `evaluations`: of others; `agents`: of metrics that agents write, kept
    as means over all agents; `marks`: what else is made of a run, by name, from all that the environment server has written, and from what
    the agents have written of these metrics.
    """

    document: Path
    training: Collection[str]
    evaluations: Collection[str]
    agents: Collection[str] = ()
    marks: Callable[[dict[str, Curve], dict[str, Curve]], dict[str, Curve]] = lambda rows, agents: {}

    @property
    def file(self) -> Path:
        """Where the metrics are."""
        return self.document.with_suffix(".csv")

    def read(self) -> dict[Key, dict[str, Curve]]:
        """All metrics that are kept."""
        found: dict[Key, dict[str, Curve]] = {}
        if self.file.exists():
            with self.file.open(newline="") as file:
                for row in csv.DictReader(file):
                    key = (row["experiment"], row["method"], int(row["seed"]))
                    found.setdefault(key, {}).setdefault(row["name"], []).append((int(row["steps"]), float(row["value"])))
        return found

    def keep(self, experiment: str, method: str, seed: int, directory: Path) -> None:
        """Take the metrics of a finished run into the file, in the place of those of an earlier one."""
        metrics = self.read()
        metrics[experiment, method, seed] = self.summarise(directory)
        self.file.parent.mkdir(exist_ok=True)
        with self.file.open("w", newline="") as file:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow(["experiment", "method", "seed", "steps", "name", "value"])
            for key in sorted(metrics):
                for name, curve in sorted(metrics[key].items()):
                    lines.writerows([*key, steps, name, f"{value:.4g}"] for steps, value in curve)

    def summarise(self, directory: Path) -> dict[str, Curve]:
        """Curves of one run, as far as it has come. What ended after training counts as its last twentieth. The first one is left out: of
        the first episodes only those have ended that succeeded soon."""
        rows: dict[str, Curve] = {}
        when: Curve = []
        for row in _lines(directory / "nodes" / "env-0"):
            rows.setdefault(row["name"], []).append((row["step"], row["value"]))
            when.append((row["t"], row["step"]))
        episodes = dict(rows.get("episodes", []))
        end = min(int(json.loads((directory / "config.json").read_text())["until"]["steps"]), max(steps for _, steps in when))
        reported = self._of_agents(directory, when)
        curves = {name: curve for name, curve in rows.items() if name in self.evaluations} | self.marks(rows, reported)
        for name in self.training:
            parts: dict[int, list[tuple[float, float]]] = {}
            for steps, value in rows.get(name, []):
                parts.setdefault(min(PARTS, -(-steps * PARTS // end)), []).append((value, episodes.get(steps, 0.0)))
            curves[name] = [
                (end * part // PARTS, float(np.average([value for value, _ in windows], weights=[count for _, count in windows])))
                for part, windows in sorted(parts.items())
                if part > 1 and sum(count for _, count in windows)
            ]
        return curves | {name: _means(curve, end) for name, curve in reported.items()}

    def _of_agents(self, directory: Path, when: Curve) -> dict[str, Curve]:
        """The lines of all agents. They count steps of their own: here it is what the environment had played by then."""
        reported: dict[str, Curve] = {}
        for node in sorted((directory / "nodes").glob("agent-*")) if self.agents else ():
            for row in _lines(node):
                if row["name"] in self.agents:
                    reported.setdefault(row["name"], []).append((int(np.interp(row["t"], *zip(*when, strict=True))), row["value"]))
        return reported

    def write(self, tables: dict[str, list[str]]) -> None:
        """Put each table into the document, between the two comments with its name; `ValueError` where they are missing."""
        text = self.document.read_text()
        for name, lines in tables.items():
            pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
            if not pattern.search(text):
                raise ValueError(f"{self.document.name} has no place for {name}: write <!-- {name} --> and <!-- end of {name} --> into it")
            body = "\n".join(lines)
            text = pattern.sub(lambda match, body=body: f"{match[1]}{body}\n{match[2]}", text)
        self.document.write_text(text)


def _means(curve: Curve, end: int) -> Curve:
    """Means over each part of a run."""
    parts: dict[int, list[float]] = {}
    for steps, value in curve:
        parts.setdefault(min(PARTS, max(1, -(-steps * PARTS // end))), []).append(value)
    return [(end * part // PARTS, float(np.mean(values))) for part, values in sorted(parts.items())]


# --- statistics -------------------------------------------------------------------------------------------------------------------------


def cell(values: Sequence[float], form: str) -> str:
    """Interquartile mean over seeds and its 95 % bootstrap interval, `0.97 [0.94, 1.00]`; of fewer than `LEAST_RUNS` seeds each value."""
    if len(values) < LEAST_RUNS:
        return ", ".join(f"{value:{form}}" for value in values) or NOTHING
    found = estimate(ScoreSample.of(values), least=LEAST_RUNS, repeats=10_000)
    if found.value is None:
        return NOTHING
    return f"{found.value:{form}}" + (f" [{found.interval[0]:{form}}, {found.interval[1]:{form}}]" if found.interval else "")


def final(metrics: dict[Key, dict[str, Curve]], experiment: str, name: str) -> dict[str, list[float]]:
    """The last values of a figure, by method."""
    found: dict[str, list[float]] = {}
    for (one, method, _), curves in sorted(metrics.items()):
        if one == experiment and curves.get(name):
            found.setdefault(method, []).append(curves[name][-1][1])
    return found


def differences(values: dict[str, list[float]]) -> str:
    """One-way analysis of variance and Tukey's test between all pairs of methods with `LEAST_RUNS` seeds or more, as a sentence."""
    found = analysis_of_variance({name: ScoreSample.of(group) for name, group in values.items() if len(group) >= LEAST_RUNS})
    if found is None:
        return ""
    if found.p is None:
        return "All values are equal."
    between = "; ".join(f"{pair.first} and {pair.second} (p = {pair.p:.2g})" for pair in found.apart()) or "no pair"
    return f"Analysis of variance: p = {found.p:.2g}. Apart by Tukey's test at 5 %: {between}."


# --- tables -----------------------------------------------------------------------------------------------------------------------------


def rows_of(experiment: str, order: Sequence[str], columns: dict[str, tuple[str, str]], metrics: dict[Key, dict[str, Curve]]) -> list[str]:
    """Lines of a Markdown table: methods by metrics (title: name, form)."""
    found = {title: final(metrics, experiment, name) for title, (name, _) in columns.items()}
    lines = ["| method | seeds | steps | " + " | ".join(columns) + " |", "|---" * (len(columns) + 3) + "|"]
    for method in order:
        steps = [_steps(curves) for (one, name, _), curves in metrics.items() if (one, name) == (experiment, method)]
        if steps:
            cells = [cell(found[title].get(method, []), form) for title, (_, form) in columns.items()]
            if set(cells) == {NOTHING}:
                continue
            million = f"{np.mean(steps) / 1e6:.2f} M" if np.mean(steps) >= 1e5 else f"{np.mean(steps):,.0f}"
            lines.append(f"| {method} | {len(steps)} | {million} | " + " | ".join(cells) + " |")
    return lines


def _steps(curves: dict[str, Curve]) -> int:
    """Until where a run has metrics of training, or any."""
    training = [curve[-1][0] for name, curve in curves.items() if curve and not name.startswith("eval.")]
    return max(training or [curve[-1][0] for curve in curves.values() if curve])
