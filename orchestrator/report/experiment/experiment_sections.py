"""Sections of an experiment's report without charts: how much each group bears (the amount of a factor at which a share of the first
measure is lost), failures, commands, and what it was made with."""

from __future__ import annotations

from collections import Counter
from math import inf, isfinite
from typing import Any

from orchestrator.report.experiment.experiment_analysis import ExperimentAnalysis, Tolerance, label
from orchestrator.report.report_document import Block, Code, DocumentTable, Fold, Listing, Paragraph, Section, Strong, Word, Words
from orchestrator.results.number_text import NOTHING, alone, counted, duration
from orchestrator.results.run_files import read_json
from orchestrator.results.statistics.estimate import CONFIDENCE, LEAST

_TAIL = 4_000
"""characters of a log that are shown"""


def failures_section(analysis: ExperimentAnalysis) -> Section | None:
    """Every failed cell with the end of its log and its command; metrics that cells which have ended lack, or that
    are “never”."""
    blocks: list[Block] = []
    for cell in analysis.results.cells:
        if cell.state == "FAILED":
            blocks += [
                Paragraph((Strong(f"{label(cell.factors)}, seed {cell.seed}"), " failed. To repeat it:")),
                Listing(cell.command, "sh"),
                Listing(cell.failure[-_TAIL:] or "it left no word"),
            ]
    done = {(tuple(sorted(cell.factors.items())), cell.seed) for cell in analysis.results.cells if cell.state == "DONE"}
    lacking = [row for row in analysis.results.table.rows if row.value is None and row.run in done]
    if lacking:
        rows = [(label(row.factors), str(row.seed), row.metric, row.why_not) for row in lacking]
        blocks.append(DocumentTable("Metrics that finished cells lack", ["cell", "seed", "measure", "why"], rows, text=4))
    never = [row for row in analysis.results.table.rows if row.value == inf]
    if never:
        cells = [(label(row.factors), str(row.seed), row.metric) for row in never]
        caption = "Never: what these metrics measure did not happen; they count as infinite, and no group is judged without them"
        blocks.append(DocumentTable(caption, ["cell", "seed", "measure"], cells, text=3))
    return Section("Failures", blocks) if blocks else None


def commands_section(analysis: ExperimentAnalysis) -> Section:
    """The exact command of every cell."""
    commands = "\n".join(cell.command for cell in analysis.results.cells)
    rows = [
        (
            label(cell.factors),
            str(cell.seed),
            cell.state.lower(),
            cell.directory.name if cell.directory is not None else NOTHING,
            duration(cell.seconds),
            duration(cell.cpu_seconds),
        )
        for cell in analysis.results.cells
    ]
    return Section(
        "To repeat it",
        [
            Paragraph(
                ("The whole: ", Code("orchestrate experiment FILE --jobs 1"), " with the experiment's file; a single cell by its command.")
            ),
            Fold(f"Commands of {counted(len(analysis.results.cells), 'cell')}", [Listing(commands, "sh")]),
            Fold("Cells", [DocumentTable("", ["cell", "seed", "state", "run", "time", "processor time"], rows, text=4)]),
        ],
    )


def made_with(analysis: ExperimentAnalysis) -> Section:
    """Code, interpreter and packages, and what it cost."""
    cells = analysis.results.cells
    blocks: list[Block] = []
    codes = Counter(cell.code for cell in cells if cell.state == "DONE")
    if len(codes) > 1:
        listed = ", ".join(f"{code} ({counted(count, 'cell')})" for code, count in sorted(codes.items()))
        blocks.append(Paragraph((Strong("Cells of several versions of the code are compared here:"), f" {listed}"), "warning"))
    spent = cost(analysis)
    spent_text = f"Processor time {duration(spent['cpu_seconds'])} in all" if spent["cpu_cells"] else "Processor time is not known"
    spent_text += f", over {counted(int(spent['cpu_cells']), 'cell')}" if spent["cpu_cells"] else ""
    spent_text += f"; {duration(spent['seconds'])} of wall-clock time, one cell after the other." if spent["seconds"] else "."
    blocks.append(Paragraph(spent_text))
    rows = [(code or "unknown", str(count)) for code, count in sorted(codes.items())]
    if rows:
        blocks.append(DocumentTable("Code", ["version", "cells"], rows))
    blocks += versions_blocks(distinct_versions(analysis))
    return Section("Made with", blocks)


def cost(analysis: ExperimentAnalysis) -> dict[str, float]:
    """Seconds of processors and of clocks on walls, over all cells that know theirs."""
    known = [cell.cpu_seconds for cell in analysis.results.cells if cell.cpu_seconds is not None]
    walls = [cell.seconds for cell in analysis.results.cells if cell.seconds is not None]
    return {"cpu_seconds": sum(known), "cpu_cells": len(known), "seconds": sum(walls)}


def distinct_versions(analysis: ExperimentAnalysis) -> list[tuple[dict[str, Any], int]]:
    """What `versions.json` of the cells contain, without the code, and how many have it."""
    found: dict[str, tuple[dict[str, Any], int]] = {}
    for cell in analysis.results.cells:
        versions = read_json(cell.directory / "versions.json") if cell.directory is not None else {}
        versions.pop("code", None)
        if versions:
            key = repr(sorted(versions.items()))
            found[key] = (versions, found.get(key, (versions, 0))[1] + 1)
    return list(found.values())


def versions_blocks(found: list[tuple[dict[str, Any], int]], count: bool = True) -> list[Block]:
    """A table for each set of versions."""
    blocks: list[Block] = []
    for versions, cells in found:
        packages = versions.get("packages") or {}
        plain = {name: value for name, value in versions.items() if isinstance(value, str)}
        rows = [(name, str(value)) for name, value in [*plain.items(), *packages.items()]]
        title = f"Versions of {counted(cells, 'cell')}" if count else "Versions"
        blocks.append(Fold(title, [DocumentTable("", ["what", "version"], rows, text=2)]))
    return blocks


def tolerances_section(analysis: ExperimentAnalysis) -> Section | None:
    """A row for each combination of the other factors; None where no tolerance is asked for."""
    amounts, share = analysis.results.design.tolerated(), _share(analysis)
    if amounts is None:
        return None
    others = [name for name in analysis.factors if name != amounts.factor]
    title = analysis.measures[0].title
    rows: list[list[Words]] = [
        [*(one.factors[name] for name in others), _amount(analysis, one, one.amount.value), _interval(analysis, one), str(one.amount.n)]
        for one in analysis.tolerances
    ]
    higher = analysis.measures[0].higher
    caption = f"{amounts.factor.capitalize()} at which " + (f"{share} of {title} is lost" if higher else f"{title} rises by {share}")
    columns = [*others, amounts.factor, f"{CONFIDENCE * 100:.0f} % interval", "n"]
    how = (
        f"Where the line between the values tried {'falls' if higher else 'rises'} to {share} {'less' if higher else 'more'} than "
        f"at {amounts.labels[0]}. Values that chance has moved up and down are first replaced by the nearest ones that only "
        f"{'fall' if higher else 'rise'} (isotonic regression). “>” and a value: {'so much is lost' if higher else 'it rises so far'} at "
        f"no value that has runs, of which this is the largest. Intervals as everywhere; none where a group has fewer than {LEAST} runs."
    )
    heading = f"How much {amounts.factor} costs {share}" if higher else f"How much {amounts.factor} raises {title} by {share}"
    blocks: list[Block] = [DocumentTable(caption, columns, rows, text=len(others)), Paragraph(how, "note")]
    if lacking := [one for one in analysis.tolerances if one.without]:
        without = "; ".join(", ".join(one.without) + (f" with {label(one.factors)}" if one.factors else "") for one in lacking)
        blocks.append(Paragraph((Strong("No run has a figure at"), f" {without}: no statement on these values."), "warning"))
    return Section(heading, blocks)


def tolerated(analysis: ExperimentAnalysis) -> list[Word]:
    """A sentence for the answer: `5 % of return is lost at a delay of 212ms [190ms, 226ms] with topology=ring, ...`; of metrics of which
    less is better `loss rises by 5 % at a delay of ...`."""
    amounts, share, main = analysis.results.design.tolerated(), _share(analysis), analysis.measures[0]
    known = [one for one in analysis.tolerances if one.amount.value is not None]
    if amounts is None or not known:
        return []
    words: list[Word] = [f"{share} of ", Code(main.title), f" is lost at a {amounts.factor} of "]
    if not main.higher:
        words = [Code(main.title), f" rises by {share} at a {amounts.factor} of "]
    for number, one in enumerate(known):
        where: list[Word] = [" with ", Strong(label(one.factors))] if one.factors else []
        interval = f" {_interval(analysis, one)}" if one.amount.interval is not None else ""
        words += [", " if number else "", f"{_amount(analysis, one, one.amount.value)}{interval}", *where]
    return [*words, "."]


def _share(analysis: ExperimentAnalysis) -> str:
    compare = analysis.results.design.compare
    return f"{alone(100 * (compare.tolerance or 0.0 if compare is not None else 0.0))} %"


def _amount(analysis: ExperimentAnalysis, one: Tolerance, value: float | None) -> str:
    amounts = analysis.results.design.tolerated()
    if amounts is None or value is None:
        return NOTHING
    return f"{alone(float(f'{value:.3g}'))}{amounts.unit}" if isfinite(value) else f"> {one.largest}"


def _interval(analysis: ExperimentAnalysis, one: Tolerance) -> str:
    if one.amount.interval is None:
        return NOTHING
    low, high = (_amount(analysis, one, end) for end in one.amount.interval)
    return f"[{low}, {high}]"
