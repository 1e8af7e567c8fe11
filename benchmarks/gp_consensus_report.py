"""Metrics of the distributed Gaussian process, kept in one file, and what is made of them: slopes, a table and a picture.

`docs/results/gp_consensus.csv` has a line for each figure: graph, seed, round, name, value. `disagreement` is the run's figure
`statistics.disagreement` (before the first round: round 0), `nearest` that of the agent nearest to the total, `prediction` how far the
agents' predictions are from those of the model of all data.
"""

from __future__ import annotations

import csv
import re
import statistics
from collections.abc import Mapping, Sequence
from math import ceil, exp, log
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.report.charts.chart_style import Picture, drawing, ticks
from protocols.topology import topology_settings
from protocols.topology.communication_graph import Graph, make_graph
from protocols.topology.mixing_rates import ACCURACY, mixing

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "results" / "gp_consensus.md"
FIGURES, PICTURE = DOCUMENT.with_suffix(".csv"), DOCUMENT.with_suffix(".svg")
AGENTS = 5
COLOURS = {"ring": "#1f6fb4", "star": "#e6830b", "path": "#1a7a4c", "complete": "#8c6bb1"}
FITTED = (1e-3, 1e-13)
"""disagreements, as shares of that at the start, between which the slope is measured: below them nothing is left but the slowest mode and
the figure's rounding"""
PREDICTED = (0, 1, 8, 16, 32, 64, 128)
"""rounds after which predictions are compared"""
Key = tuple[str, int]
"""graph, seed"""
Curve = list[tuple[int, float]]
"""rounds and values"""


# --- the prediction of the spectrum ------------------------------------------------------------------------------------------------------


def graph_of(kind: str) -> Graph:
    """The communication graph of the runs."""
    return make_graph(topology_settings({"kind": kind}), [f"agent-{i}" for i in range(AGENTS)], 0)


def weights_of(kind: str) -> np.ndarray[Any, Any]:
    """W, `[n, n]`, by the rule of Metropolis and Hastings."""
    dense: np.ndarray[Any, Any] = mixing(graph_of(kind).links(0), False).toarray()
    return dense


def slem(kind: str) -> float:
    """Second largest eigenvalue modulus of W; 0 where it is nothing but rounding."""
    found = float(np.sort(np.abs(np.linalg.eigvalsh(weights_of(kind))))[-2])
    return found if found > 1e-12 else 0.0


def rounds_to(rate: float) -> int:
    """Rounds after which rate^k is a millionth."""
    return 1 if rate == 0 else ceil(log(ACCURACY) / log(rate))


# --- what was measured ------------------------------------------------------------------------------------------------------------------


def slope(curve: Sequence[tuple[int, float]]) -> float | None:
    """d ln(disagreement) / d round by least squares over the rounds in which it is within `FITTED`, shares of the first; None where
    there are fewer than five."""
    start = curve[0][1]
    points = [(number, log(value)) for number, value in curve if FITTED[1] * start < value <= FITTED[0] * start]
    return float(np.polyfit(*np.transpose(points), 1)[0]) if len(points) >= 5 else None


def reached(curve: Sequence[tuple[int, float]]) -> int | None:
    """The first round after which the disagreement is a millionth of that at the start."""
    return next((number for number, value in curve if value <= ACCURACY * curve[0][1]), None)


def read() -> dict[Key, dict[str, Curve]]:
    """All metrics that are kept."""
    found: dict[Key, dict[str, Curve]] = {}
    if FIGURES.exists():
        with FIGURES.open(newline="") as file:
            for row in csv.DictReader(file):
                curves = found.setdefault((row["graph"], int(row["seed"])), {})
                curves.setdefault(row["name"], []).append((int(row["round"]), float(row["value"])))
    return found


def keep(kind: str, seed: int, curves: Mapping[str, Curve]) -> None:
    """Take the metrics of a run into the file, in the place of those of an earlier one."""
    metrics = read()
    metrics[kind, seed] = dict(curves)
    with FIGURES.open("w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["graph", "seed", "round", "name", "value"])
        for (graph, number), named in sorted(metrics.items()):
            for name, curve in sorted(named.items()):
                lines.writerows([graph, number, round_, name, f"{value:.5g}"] for round_, value in curve)


# --- the document -----------------------------------------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows))


def spread(values: Sequence[float], form: str) -> str:
    """`median (least..greatest)`, or the value that all have."""
    middle, low, high = (format(value, form) for value in (statistics.median(values), min(values), max(values)))
    return middle if low == high else f"{middle} ({low}..{high})"


def of_graph(metrics: Mapping[Key, dict[str, Curve]], kind: str, name: str) -> list[Curve]:
    """One figure's curves of all seeds."""
    return [curves[name] for (graph, _), curves in sorted(metrics.items()) if graph == kind and name in curves]


def rates_table(metrics: Mapping[Key, dict[str, Curve]]) -> str:
    """Prediction of the spectrum and measurement, a line for each graph."""
    rows = []
    for kind in COLOURS:
        curves, rho = of_graph(metrics, kind, "disagreement"), slem(kind)
        if not curves:
            continue
        slopes = [found for curve in curves if (found := slope(curve)) is not None]
        rounds = [found for curve in curves if (found := reached(curve)) is not None]
        after = [dict(curve)[1] for curve in of_graph(metrics, kind, "nearest")]
        rest = [dict(curve)[1] for curve in curves]
        rows.append([
            kind, str(len(curves)), f"{rho:.4f}", f"{log(rho):.4f}" if rho else "-",
            spread(slopes, ".4f") if slopes else "-", spread([exp(found) for found in slopes], ".4f") if slopes else "-",
            str(rounds_to(rho)), spread(rounds, "g") if rounds else "-", f"{max(after):.0e}", spread(rest, ".2g"),
        ])  # fmt: skip
    head = [
        "graph", "runs", "SLEM", "ln SLEM", "measured slope", "e^slope", "rounds to 1e-6, predicted", "measured",
        "distance after one round: nearest agent", "all",
    ]  # fmt: skip
    return table(head, rows)


def prediction_table(metrics: Mapping[Key, dict[str, Curve]]) -> str:
    """How far predictions are from those of the model of all data."""
    rows = []
    for kind in COLOURS:
        curves = [dict(curve) for curve in of_graph(metrics, kind, "prediction")]
        if curves:
            rows.append([kind, *(f"{statistics.median([curve[k] for curve in curves]):.1e}" for k in PREDICTED)])
    return table(["graph", "round 0", *map(str, PREDICTED[1:])], rows)


def write(tables: Mapping[str, str]) -> None:
    """Put each text into the document, between the two comments with its name; `ValueError` where they are missing."""
    text = DOCUMENT.read_text()
    for name, body in tables.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"{DOCUMENT.name} has no place for {name}: write <!-- {name} --> and <!-- end of {name} --> into it")
        text = pattern.sub(lambda match, body=body: f"{match[1]}{body}\n{match[2]}", text)
    DOCUMENT.write_text(text)


def draw(metrics: Mapping[Key, dict[str, Curve]], picture: Path = PICTURE) -> None:
    """Disagreement over rounds: the median over seeds and their range, and the slope that the spectrum predicts, dotted."""
    title = f"Sums of a Gaussian process averaged by {AGENTS} agents"
    with drawing(4.2) as (figure, (axis,)):
        for kind, colour in COLOURS.items():
            curves = of_graph(metrics, kind, "disagreement")
            if not curves:
                continue
            length = min(map(len, curves))
            values = np.maximum([[value for _, value in curve[:length]] for curve in curves], 1e-17)
            rounds, rho = np.arange(length), slem(kind)
            middle = np.median(values, axis=0)
            axis.plot(rounds, middle, color=colour, label=f"{kind}, SLEM {rho:.3f}", linewidth=1.6)
            axis.fill_between(rounds, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, linewidth=0)
            if rho:
                ends = np.array([5, min(length - 1, 5 + log(1e-14) / log(rho))])
                axis.plot(ends, 3 * middle[5] * rho ** (ends - 5), ":", color=colour, linewidth=1)
        axis.set(yscale="log", ylim=(3e-17, 3), xlim=(0, 150), title=title)
        axis.set(xlabel="rounds", ylabel="distance from the exact total, as a share of it")
        ticks(axis)
        axis.legend(fontsize=8, title="dotted: the predicted slope", title_fontsize=7)
    picture.write_text(Picture(picture.stem, title, f"{title}, by graph: {', '.join(COLOURS)}.", figure).svg)
