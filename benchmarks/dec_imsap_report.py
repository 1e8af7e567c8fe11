"""Figures of the Dec-IMSAP experiments, kept in one file, and what is made of them: tables with intervals and a picture.

`docs/results/dec_imsap.csv` has a line for each figure: experiment, method, seed, steps, name, value. Names that begin with `eval.` are
evaluations at that step; others are training figures, each the mean over a twentieth of the run, weighted by episodes. The tables of
`docs/results/dec_imsap.md` stand between two comments that name the experiment, and are written anew from the file.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy import stats

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "results" / "dec_imsap.md"
FIGURES = DOCUMENT.with_suffix(".csv")
PARTS = 20
TRAINING = ("success.cooperative", "success.individual", "aligned", "return", "return.normalised", "length")
EVALUATIONS = tuple(
    f"eval.{kind}.{name}"
    for kind in ("own", "aligned")
    for name in (
        "success.cooperative", "success.individual", "aligned", "return", "return.normalised", "return.per_goal", "length", "diversity",
        "specialization", "specialization.published",
    )
)  # fmt: skip
Key = tuple[str, str, int]
"""experiment, method, seed"""
Curve = list[tuple[int, float]]
"""steps and values"""


# --- the file of figures ----------------------------------------------------------------------------------------------------------------


def read() -> dict[Key, dict[str, Curve]]:
    """All figures that are kept."""
    found: dict[Key, dict[str, Curve]] = {}
    if FIGURES.exists():
        with FIGURES.open(newline="") as file:
            for row in csv.DictReader(file):
                key = (row["experiment"], row["method"], int(row["seed"]))
                found.setdefault(key, {}).setdefault(row["name"], []).append((int(row["steps"]), float(row["value"])))
    return found


def keep(experiment: str, method: str, seed: int, directory: Path) -> None:
    """Take the figures of a finished run into the file, in the place of those of an earlier one."""
    figures = read()
    figures[experiment, method, seed] = summarise(directory)
    FIGURES.parent.mkdir(exist_ok=True)
    with FIGURES.open("w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["experiment", "method", "seed", "steps", "name", "value"])
        for key in sorted(figures):
            for name, curve in sorted(figures[key].items()):
                lines.writerows([*key, steps, name, f"{value:.4g}"] for steps, value in curve)


def summarise(directory: Path) -> dict[str, Curve]:
    """Curves of one run. Steps count evaluations too; what ended after training counts as its last twentieth.
    The first one is left out: of the first episodes only those have ended that succeeded soon."""
    rows: dict[str, Curve] = {}
    for line in (directory / "nodes" / "env-0" / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["name"] in {*TRAINING, *EVALUATIONS, "episodes"}:
            rows.setdefault(row["name"], []).append((row["step"], row["value"]))
    episodes = dict(rows.pop("episodes", []))
    end = int(json.loads((directory / "config.json").read_text())["until"]["steps"])
    curves = {name: curve for name, curve in rows.items() if name in EVALUATIONS}
    for name in TRAINING:
        parts: dict[int, list[tuple[float, float]]] = {}
        for steps, value in rows.get(name, []):
            parts.setdefault(min(PARTS, -(-steps * PARTS // end)), []).append((value, episodes.get(steps, 0.0)))
        curves[name] = [
            (end * part // PARTS, float(np.average([value for value, _ in windows], weights=[count for _, count in windows])))
            for part, windows in sorted(parts.items())
            if part > 1 and sum(count for _, count in windows)
        ]
    return curves


# --- statistics -------------------------------------------------------------------------------------------------------------------------


def middle(values: Sequence[float]) -> tuple[float, float, float]:
    """Interquartile mean over seeds and its 95 % bootstrap interval (10,000 resamples of the seeds)."""
    array = np.asarray(values, float)
    resampled = np.random.default_rng(0).choice(array, (10_000, len(array)))
    low, high = np.quantile(stats.trim_mean(resampled, 0.25, axis=1), [0.025, 0.975])
    return float(stats.trim_mean(array, 0.25)), float(low), float(high)


def cell(values: Sequence[float], form: str) -> str:
    """`0.97 [0.94, 1.00]`; with one seed only the value."""
    if not values:
        return "–"
    if len(values) == 1:
        return f"{values[0]:{form}}"
    mean, low, high = middle(values)
    return f"{mean:{form}} [{low:{form}}, {high:{form}}]"


def final(figures: dict[Key, dict[str, Curve]], experiment: str, name: str) -> dict[str, list[float]]:
    """The last values of a figure, by method."""
    found: dict[str, list[float]] = {}
    for (one, method, _), curves in sorted(figures.items()):
        if one == experiment and curves.get(name):
            found.setdefault(method, []).append(curves[name][-1][1])
    return found


def differences(values: dict[str, list[float]]) -> str:
    """One-way analysis of variance and Tukey's test between all pairs of methods, as a sentence."""
    names = [name for name, found in values.items() if len(found) > 1]
    if len(names) < 2:
        return ""
    groups = [values[name] for name in names]
    # Equal values in every seed of every method leave nothing to compare.
    if np.ptp(np.concatenate(groups)) == 0:
        return "All values are equal."
    variance = stats.f_oneway(*groups)
    pairs = stats.tukey_hsd(*groups).pvalue
    apart = [f"{names[i]} and {names[j]} (p = {pairs[i, j]:.2g})" for i, j in combinations(range(len(names)), 2) if pairs[i, j] < 0.05]
    between = "; ".join(apart) if apart else "no pair"
    return f"Analysis of variance: p = {variance.pvalue:.2g}. Apart by Tukey's test at 5 %: {between}."


# --- the document -----------------------------------------------------------------------------------------------------------------------


def rows_of(experiment: str, order: Sequence[str], columns: dict[str, tuple[str, str]], figures: dict[Key, dict[str, Curve]]) -> list[str]:
    """Lines of a Markdown table: methods by figures (title: name, form)."""
    found = {title: final(figures, experiment, name) for title, (name, _) in columns.items()}
    lines = ["| method | seeds | steps | " + " | ".join(columns) + " |", "|---" * (len(columns) + 3) + "|"]
    for method in order:
        steps = [curves["return"][-1][0] for (one, name, _), curves in figures.items() if (one, name) == (experiment, method)]
        if steps:
            cells = [cell(found[title].get(method, []), form) for title, (_, form) in columns.items()]
            lines.append(f"| {method} | {len(steps)} | {np.mean(steps) / 1e6:.2f} M | " + " | ".join(cells) + " |")
    return lines


def write(tables: dict[str, list[str]]) -> None:
    """Put each table into the document, between the two comments with its name; `ValueError` where they are missing."""
    text = DOCUMENT.read_text()
    for name, lines in tables.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"{DOCUMENT.name} has no place for {name}: write <!-- {name} --> and <!-- end of {name} --> into it")
        body = "\n".join(lines)
        text = pattern.sub(lambda match, body=body: f"{match[1]}{body}\n{match[2]}", text)
    DOCUMENT.write_text(text)
