"""What stands at the end of an experiment's report: failures, commands, and what it was made with."""

from __future__ import annotations

from collections import Counter
from math import inf
from typing import Any

from orchestrator.report.experiment.experiment_analysis import ExperimentAnalysis, label
from orchestrator.report.report_document import Block, Code, DocumentTable, Fold, Listing, Paragraph, Section, Strong
from orchestrator.results import run_directories as runs
from orchestrator.results.number_text import NOTHING, counted, duration

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
        versions = runs.read_json(cell.directory / "versions.json") if cell.directory is not None else {}
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
