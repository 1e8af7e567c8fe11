"""The report of an experiment: which sections there are, and what stands in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from orchestrator.experiments.results.experiment_results import CellResult
from orchestrator.report.charts.chart_style import Picture
from orchestrator.report.charts.experiment_charts import PANELS, Axis, curves, heatmap, intervals, profiles
from orchestrator.report.experiment.experiment_analysis import ExperimentAnalysis, GroupResult, MeasureResult, arranged, label
from orchestrator.report.experiment.experiment_sections import (
    commands_section,
    cost,
    distinct_versions,
    failures_section,
    made_with,
    tolerances_section,
)
from orchestrator.report.experiment.experiment_tables import groups_table, left_out, with_interval
from orchestrator.report.experiment.fault_sections import faults_section, links_section
from orchestrator.report.experiment.summary_text import EVEN, answer, by_factor
from orchestrator.report.report_document import Block, Code, Document, Items, Paragraph, Section, Strong, Words
from orchestrator.results.number_text import alone, counted, figure, form, from_to
from orchestrator.results.recorded_run import RecordedRun
from orchestrator.results.statistics.estimate import CONFIDENCE, LEAST, REPEATS, Estimate, plain
from orchestrator.results.statistics.group_comparison import SIGNIFICANCE

_ROWS = 60
"""rows of a figure with one row a group, at most"""


def document(analysis: ExperimentAnalysis) -> Document:
    """The report of an experiment, with all sections in order."""
    results, design = analysis.results, analysis.results.design
    lead: list[Block] = [Paragraph(design.question, "lead")] if design.question else []
    lead += answer(analysis)
    if results.strangers:
        lead.append(
            Paragraph((Strong("Other code:"), f" cells made with {', '.join(results.strangers)} are kept, and not mixed in."), "warning")
        )
    faults, around = faults_section(analysis) if "time_bands" in design.report else (None, {})
    traffic, links = links_section(analysis) if "links" in design.report else (None, {})
    sections = [
        tolerances_section(analysis),
        *(_measured(analysis, measured, number) for number, measured in enumerate(analysis.measures)),
        faults,
        traffic,
        _verdicts(analysis),
        failures_section(analysis),
        _how(analysis),
        commands_section(analysis),
        made_with(analysis),
    ]
    kept = [section for section in sections if section is not None]
    more = {
        "around_faults": around,
        "links": links,
        "made_with": cost(analysis),
        "versions": [known for known, _ in distinct_versions(analysis)],
    }
    return Document(f"Experiment {design.name}", lead, kept, {**data(analysis), **more})


def steps_name(analysis: ExperimentAnalysis, measured: MeasureResult) -> str:
    """What the horizontal axis of a measure's curves is."""
    design = analysis.results.design
    if design.curves_over == "time":
        logical = any(cell.directory is not None and RecordedRun(cell.directory).logical for cell in analysis.results.cells)
        return "virtual seconds" if logical else "seconds"
    return design.axis_of(measured.measure)


def _measured(analysis: ExperimentAnalysis, measured: MeasureResult, number: int) -> Section:
    """Table and charts of one measure."""
    wanted = analysis.results.design.report
    stem = f"{number + 1}"
    blocks: list[Block] = [groups_table(analysis, measured, steps_name(analysis, measured))]
    if len(analysis.groups) > 1 and len(measured.ranked) > 1:
        blocks.append(_intervals(measured, f"intervals-{stem}"))
        if (improvement := _improvement(analysis, measured, f"improvement-{stem}")) is not None:
            blocks.append(improvement)
    if "heatmap" in wanted and len(analysis.factors) > 1 and measured.ranked:
        blocks += _heatmap(analysis, measured, f"heatmap-{stem}")
    if "curves" in wanted:
        blocks += _curves(analysis, measured, f"curves-{stem}")
    if "profile" in wanted and any(found.estimate.n > 1 for found in measured.groups):
        blocks += _profiles(analysis, measured, f"profile-{stem}")
    return Section(f"Results: {measured.title}", blocks)


def _axis(measured: MeasureResult) -> Axis:
    return Axis(measured.title, measured.measure.scale == "log")


def _said(found: Sequence[GroupResult], log: bool) -> str:
    """Values of groups in words, for text alternatives."""
    shape = form((one.estimate.value for one in found), log)
    return "; ".join(f"{one.group.label}: {figure(one.estimate.value, shape)}" for one in found)


def _intervals(measured: MeasureResult, name: str) -> Picture:
    shown = measured.groups[:_ROWS]
    left = f", the first {_ROWS} groups" if len(measured.groups) > _ROWS else ""
    return intervals(
        name,
        f"{measured.title} by group{left}: interquartile mean, {CONFIDENCE * 100:.0f} % interval, runs",
        f"Interquartile mean of {measured.title}: {_said(shown, measured.measure.scale == 'log')}. The table above has the intervals.",
        {found.group.short: found.estimate for found in shown},
        _axis(measured),
        None if measured.measure.threshold is None else measured.measure.threshold,
        "" if measured.measure.threshold is None else f"threshold {alone(measured.measure.threshold)}",
    )


def _improvement(analysis: ExperimentAnalysis, measured: MeasureResult, name: str) -> Picture | None:
    found = [(one, one.improvement) for one in measured.groups if one.improvement is not None and one.improvement.value is not None]
    if not found:
        return None
    said = "; ".join(f"{one.group.label}: {with_interval(estimate, '.2f')}" for one, estimate in found)
    # With the points of single pairs of groups left out: they are no runs.
    rows = {one.group.short: replace(estimate, points=()) for one, estimate in found[:_ROWS]}
    title = f"Probability that a run is better than one of the baseline {label(analysis.baseline)}"
    return intervals(
        name, title, f"{title}, in {measured.title}: {said}.", rows, Axis("P(better than baseline)"), EVEN, "no difference", (-0.03, 1.03)
    )


def _heatmap(analysis: ExperimentAnalysis, measured: MeasureResult, name: str) -> list[Block]:
    """The first factor down, the second across, the others from map to map."""
    down, across, *others = analysis.factors
    maps: dict[str, dict[tuple[str, str], Estimate]] = {}
    for found in measured.groups:
        heading = label({factor: found.group.factors[factor] for factor in others}) if others else ""
        maps.setdefault(heading, {})[found.group.factors[down], found.group.factors[across]] = found.estimate
    sides = {name: analysis.factors[name] for name in (down, across)}
    shape = form((found.estimate.value for found in measured.groups), measured.measure.scale == "log")
    title = f"{measured.title}, interquartile mean: {down} by {across}" + (f", for each {' and '.join(others)}" if others else "")
    said = f"{title}. {_said(measured.groups, measured.measure.scale == 'log')}."
    return [heatmap(name, title, said, sides, dict(list(maps.items())[:PANELS]), _axis(measured), shape), *left_out(maps)]


def _curves(analysis: ExperimentAnalysis, measured: MeasureResult, name: str) -> list[Block]:
    panels = arranged(((found.group, found.band) for found in measured.groups), analysis.factors)
    if not panels:
        return []
    few = all(found.estimate.n < LEAST for found in measured.groups)
    how = "interquartile mean and single runs" if few else f"interquartile mean with {CONFIDENCE * 100:.0f} % band"
    shown = dict(list(panels.items())[:PANELS])
    said = []
    for heading, lines in shown.items():
        for line, band in lines.items():
            known = [value for value in band.value if value == value]
            if known:
                where = ", ".join(part for part in (line, heading) if part) or "all runs"
                said.append(f"{where}: {from_to(known)}")
    axis = steps_name(analysis, measured)
    title = f"{measured.title} over {axis}: {how}"
    drawn = curves(name, title, f"{title}. {'; '.join(said)}.", shown, axis, _axis(measured))
    return [drawn, *left_out(panels)]


def _profiles(analysis: ExperimentAnalysis, measured: MeasureResult, name: str) -> list[Block]:
    panels = arranged(((found.group, found.profile) for found in measured.groups), analysis.factors)
    title = f"Performance profile of {measured.title}: share of runs above a score"
    better = "The higher a line, the more runs are better." if measured.higher else "The lower a line, the more runs are better."
    said = f"{title}. {better} {_said(measured.groups, measured.measure.scale == 'log')}."
    drawn = profiles(name, title, said, dict(list(panels.items())[:PANELS]), _axis(measured))
    return [drawn, *left_out(panels)]


def _verdicts(analysis: ExperimentAnalysis) -> Section | None:
    verdicts = analysis.results.verdicts
    if not verdicts:
        return None
    items: list[Words] = []
    for verdict in verdicts:
        word, _, rest = verdict.text.partition(": ")
        items.append((Strong(word), f": {rest}"))
    return Section("Expectations", [Items(items)])


def _how(analysis: ExperimentAnalysis) -> Section:
    """How to read the report: definitions, with their constants."""
    design = analysis.results.design
    varied = ", ".join(f"{counted(len(labels), 'value')} of {name}" for name, labels in analysis.factors.items()) or "nothing"
    blocks: list[Block] = [
        Paragraph((f"Varied: {varied}; seeds: {', '.join(map(str, design.seeds))}; base configuration ", Code(design.base), ".")),
        Paragraph(
            f"IQM: interquartile mean, the mean of the middle half of a group's runs. Intervals: {CONFIDENCE * 100:.0f} %, stratified "
            f"bootstrap over runs, {REPEATS:,} resamples, pointwise along curves. These go as far as all runs of a group, or, where "
            "that is less than four fifths of the way of half of them, as far as that half. A group with fewer than "
            f"{LEAST} runs shows its runs instead. Failed runs are counted and left out of the mean.",
            "note",
        ),
    ]
    if analysis.baseline:
        blocks.append(
            Paragraph(
                "P(better than baseline): how probably a run of the group is better than one of the baseline with the same other factors; "
                f"{EVEN} means no difference. The answer compares the values of the baseline's factors within each combination of the "
                "others that both have, by van Elteren's two-sided rank test (Mann and Whitney's, where there is one combination) with "
                f"Holm's correction for all values, at {100 * SIGNIFICANCE:.0f} %: that the interval of a group is without {EVEN} means "
                "less, above all of few runs.",
                "note",
            )
        )
    counted_in = dict.fromkeys(steps_name(analysis, measured) for measured in analysis.measures if measured.measure.threshold is not None)
    if counted_in:
        blocks.append(
            Paragraph(
                f"{' or '.join(counted_in).capitalize()} to a threshold: median over the runs by Kaplan and Meier's estimate; runs that "
                "ended without reaching it count as needing longer, and “never” means that more than half of them did not.",
                "note",
            )
        )
    return Section("How to read this", blocks)


def data(analysis: ExperimentAnalysis) -> dict[str, Any]:
    """Everything that the report's numbers are taken from."""
    results, design = analysis.results, analysis.results.design
    return {
        "experiment": design.name,
        "question": design.question,
        "base": design.base,
        "factors": analysis.factors,
        "seeds": list(design.seeds),
        "baseline": dict(analysis.baseline),
        "without_effect": list(analysis.copies),
        "statistics": {"confidence": CONFIDENCE, "repeats": REPEATS, "min_transitions": LEAST, "even": EVEN, "significance": SIGNIFICANCE},
        "counts": {
            "cells": len(results.cells),
            **{state.lower(): results.count(state) for state in ("DONE", "FAILED", "RUNNING", "WAITING")},
        },
        "measures": [
            {
                **measured.measure.model_dump(mode="json"),
                "title": measured.title,
                "groups": [found.record() for found in measured.groups],
                "tied": [len(measured.tied(found)) for found in (measured.ranked[:1] + measured.ranked[-1:])],
                "against_baseline": [one.record() for one in measured.against],
                "by_factor": {
                    factor: {name: one.record() for name, one in found.items()} for factor, found in by_factor(analysis, measured).items()
                },
            }
            for measured in analysis.measures
        ],
        "tolerances": [one.record() for one in analysis.tolerances],
        "expectations": [verdict.record() for verdict in results.verdicts],
        "cells": [_cell(cell) for cell in results.cells],
        "table": [
            {"factors": dict(row.factors), "seed": row.seed, "metric": row.metric, "value": plain(row.value), "failure": row.failure}
            for row in results.table.rows
        ],
    }


def _cell(cell: CellResult) -> dict[str, Any]:
    return {
        "factors": dict(cell.factors), "seed": cell.seed, "state": cell.state, "command": cell.command, "identity": cell.identity,
        "code": cell.code, "seconds": cell.seconds, "cpu_seconds": cell.cpu_seconds, "failure": cell.failure,
    }  # fmt: skip
