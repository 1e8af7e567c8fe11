"""The tables and the picture of docs/results/offline.md, from the files of results that are there.

    python benchmarks/offline_report.py

Runs are made by `offline_reference.py`, `offline_transfer.py` and `orchestrate experiment`, whose `results.csv` is kept under
docs/results/experiments.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import offline_reference as reference
import offline_transfer as transfer
from study_report import NOTHING, Report, cell

from orchestrator.report.charts.chart_style import Picture
from orchestrator.report.charts.experiment_charts import Axis, heatmap
from orchestrator.results.statistics.estimate import Estimate, estimate
from orchestrator.results.statistics.runs_table import ScoreSample

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "results" / "offline.md"
PICTURE = DOCUMENT.with_name("offline_transfer.svg")
EXPERIMENTS = ("offline_faults", "offline_prison", "offline_pursuit")
"""experiments whose tables stand on the page"""
FOURFOLD = (("2", 8), ("4", 16), ("8", 32))
"""training data, and a world of four times as many agents"""
Lines = list[str]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Lines:
    """Lines of a Markdown table."""
    return ["| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows)]


# --- the reference experiment -------------------------------------------------------------------------------------------------------


def reference_table(lines: Sequence[Mapping[str, str]], data: str, form: str) -> Lines:
    """Rows by returns with 3, 5 and 10 agents. With `shards`: and how far a seed is above the pooled run of the same seed with 3."""
    found: dict[tuple[str, str], dict[int, list[float]]] = {}
    for line in lines:
        if line["data"] == data:
            returns = [float(line[f"n{count}"]) for count in reference.COUNTS]
            found.setdefault((line["form"], line["row"]), {})[int(line["seed"])] = returns
    rows = []
    for row in reference.ROWS:
        runs, pooled = found.get((form, row), {}), found.get(("pooled", row), {})
        if not runs:
            continue
        cells = [cell([run[place] for _, run in sorted(runs.items())], ".1f") for place in range(len(reference.COUNTS))]
        if form == "shards":
            cells.append(cell([run[0] - pooled[seed][0] for seed, run in sorted(runs.items()) if seed in pooled], "+.1f"))
        published = reference.PUBLISHED[data].get(row)
        cells.append(", ".join(NOTHING if value is None else f"{value:.1f}" for value in published) if published else NOTHING)
        rows.append([f"`{row}`", str(len(runs)), *cells])
    if not rows:
        return [f"No runs yet: `python benchmarks/offline_reference.py run --data {data} --form {form}`."]
    apart = ["above pooled, N = 3"] if form == "shards" else []
    head = ["row", "seeds", *(f"N = {count}" for count in reference.COUNTS), *apart, "other implementation, N = 3, 5, 10"]
    return table(head, rows)


# --- the transfer matrix ------------------------------------------------------------------------------------------------------------

Returns = Mapping[tuple[str, str, int], Mapping[int, float]]


def ratios(returns: Returns, row: str, train: str, count: int) -> list[float]:
    """(R - U) / (R' - U) of each seed, in a world of `count` agents: R the return of the policy trained with `train`, R' that of the
    policy of the same row and seed trained with data of `count` agents, U that of uniform actions. Seeds without R', or with R' <= U, are
    left out."""
    uniform = returns[("random", "-", 0)][count]
    found = []
    for (name, data, seed), mine in sorted(returns.items()):
        trained_there = returns.get((row, str(count), seed))
        if (name, data) == (row, train) and trained_there is not None and trained_there[count] > uniform:
            found.append((mine[count] - uniform) / (trained_there[count] - uniform))
    return found


def own_table(returns: Returns) -> Lines:
    """Returns of policies in worlds of as many agents as they were trained with, and of those that are not learnt."""
    rows = [[f"`{anchor}`", *(cell([returns[anchor, "-", 0][count]], ".1f") for count in transfer.COUNTS)] for anchor in transfer.ANCHORS]
    for row in transfer.ROWS:
        cells = [
            cell([mine[count] for (name, train, _), mine in sorted(returns.items()) if (name, train) == (row, str(count))], ".1f")
            for count in transfer.COUNTS
        ]
        rows.append([f"`{row}`", *cells])
    return table(["row", *(f"N = {count}" for count in transfer.COUNTS)], _filled(rows))


def transfer_table(returns: Returns) -> Lines:
    """`ratios`: rows and training data by worlds."""
    rows = [
        [f"`{row}`", train, *(cell(ratios(returns, row, train, count), ".2f") for count in transfer.COUNTS)]
        for row in transfer.ROWS
        for train in transfer.TRAINED
    ]
    return table(["row", "trained with", *(f"M = {count}" for count in transfer.COUNTS)], _filled(rows))


def fourfold_table(returns: Returns) -> Lines:
    """`ratios` in worlds of four times as many agents as in the data."""
    rows = [[f"`{row}`", *(cell(ratios(returns, row, train, count), ".2f") for train, count in FOURFOLD)] for row in transfer.ROWS]
    return table(["row", *(f"{train} → {count}" for train, count in FOURFOLD)], _filled(rows))


def _filled(rows: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """Without rows that have no figure."""
    return [row for row in rows if any(text[:1].isdigit() or text[:1] == "-" for text in row[-len(transfer.COUNTS) :])]


def picture(returns: Returns, file: Path = PICTURE) -> None:
    """Heat maps of `ratios`, one for each row: training data by worlds; the interquartile mean over seeds."""
    maps: dict[str, dict[tuple[str, str], Estimate]] = {}
    for row in transfer.ROWS:
        for train in transfer.TRAINED:
            for count in transfer.COUNTS:
                if values := ratios(returns, row, train, count):
                    maps.setdefault(row, {})[train, str(count)] = estimate(ScoreSample.of(values))
    if maps:
        title = "Policies from data of few agents in worlds of many"
        text = f"{title}: 0 as uniform actions, 1 as the policy trained there; panels: {', '.join(maps)}. The table has all values."
        sides = {"trained with": list(transfer.TRAINED), "agents of the world": [str(count) for count in transfer.COUNTS]}
        drawn: Picture = heatmap(file.stem, title, text, sides, maps, Axis("ratio"), ".2f")
        file.write_text(drawn.svg)


# --- experiments --------------------------------------------------------------------------------------------------------------------


def experiment_table(name: str, results: Path = DOCUMENT.parent / "experiments") -> Lines:
    """The measure `return` of an experiment by its factors."""
    file = results / name / "results.csv"
    if not file.exists():
        return [f"No runs yet: `orchestrate experiment configs/experiments/{name}.yaml`."]
    with file.open(newline="") as rows:
        lines = [line for line in csv.DictReader(rows) if line["metric"] == "return"]
    factors = [key for key in lines[0] if key not in ("seed", "metric", "value")]
    groups: dict[tuple[str, ...], list[float]] = {}
    for line in lines:
        groups.setdefault(tuple(line[key] for key in factors), []).append(float(line["value"]))
    shown = table([*factors, "seeds", "return"], [[*group, str(len(values)), cell(values, ".1f")] for group, values in groups.items()])
    return [*shown, "", f"[Report](experiments/{name}/report.md), [data](experiments/{name}/results.csv)."]


# --- the document -------------------------------------------------------------------------------------------------------------------


def tables() -> dict[str, Lines]:
    """All tables of the page, by the names of their places."""
    lines, returns = reference.results(), transfer.read()
    found = {f"{data}-{form}": reference_table(lines, data, form) for data in reference.MIXTURES for form in ("pooled", "shards")}
    if any(key[0] in transfer.ROWS for key in returns):
        found |= {"own": own_table(returns), "transfer": transfer_table(returns), "fourfold": fourfold_table(returns)}
    else:
        found |= {name: ["No runs yet: `python benchmarks/offline_transfer.py`."] for name in ("own", "transfer", "fourfold")}
    return found | {name: experiment_table(name) for name in EXPERIMENTS}


def main() -> None:
    """Write the tables and the picture anew."""
    Report(DOCUMENT, (), ()).write(tables())
    returns = transfer.read()
    if any(key[0] in transfer.ROWS for key in returns):
        picture(returns)


if __name__ == "__main__":
    main()
