"""Tables of an experiment's report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean

from orchestrator.report.charts.experiment_charts import PANELS
from orchestrator.report.charts.fault_charts import FaultPanel
from orchestrator.report.experiment.experiment_analysis import ExperimentAnalysis, GroupResult, MeasureResult
from orchestrator.report.report_document import Block, DocumentTable, Paragraph, Words
from orchestrator.results.number_text import NOTHING, alone, figure, form, from_to, interval, size
from orchestrator.results.recorded_run import COUNTS, Link
from orchestrator.results.statistics.estimate import CONFIDENCE, Estimate
from orchestrator.results.statistics.fault_bands import FaultEffect
from orchestrator.results.statistics.time_to_threshold import ThresholdSummary


def groups_table(analysis: ExperimentAnalysis, measured: MeasureResult, steps: str) -> DocumentTable:
    """A row a group: interquartile mean with its interval (or the points), numbers of runs, and what else was asked for."""
    found, design = measured.groups, analysis.results.design
    shape = form(_shown(one.estimate for one in found), measured.measure.scale == "log")
    points = " or points" if any(one.estimate.interval is None and one.estimate.n for one in found) else ""
    columns: dict[str, Callable[[GroupResult], str]] = {
        "IQM": lambda one: figure(one.estimate.value, shape),
        f"{CONFIDENCE * 100:.0f} % interval{points}": lambda one: interval(one.estimate, shape),
        "median": lambda one: figure(one.median, shape),
        "n": lambda one: str(one.estimate.n),
        "no figure": lambda one: str(one.estimate.failed),
    }
    if any(group.to_come for group in analysis.groups):
        columns["to come"] = lambda one: str(one.group.to_come)
    if analysis.baseline:
        columns["P(better than baseline)"] = lambda one: (
            "baseline" if analysis.is_baseline(one.group) else with_interval(one.improvement, ".2f")
        )
    if design.compare is not None and any(one.contrast is not None for one in found):
        way = f"{design.compare.test} {'from' if design.compare.test == 'difference' else 'to'} baseline"
        columns[way] = lambda one: "" if one.contrast is None else with_interval(one.contrast, form(_shown([one.contrast])))
    if measured.measure.threshold is not None:
        digits = ".1f" if design.curves_over == "time" else ",.0f"
        columns[f"{steps} to {alone(measured.measure.threshold)} (reached by)"] = lambda one: _reached(one.waiting, digits)
    factors = list(analysis.factors)
    rows = [[*([one.group.factors[name] for name in factors] or ["all runs"]), *(cell(one) for cell in columns.values())] for one in found]
    return DocumentTable(measured.words, [*(factors or ["group"]), *columns], rows, text=max(1, len(factors)))


def _reached(found: ThresholdSummary | None, digits: str) -> str:
    return NOTHING if found is None else f"{with_interval(found.median, digits)} ({found.reached} of {found.median.n})"


def with_interval(found: Estimate | None, shape: str) -> str:
    """`0.71 [0.65, 0.78]`."""
    if found is None or found.value is None:
        return NOTHING
    return f"{figure(found.value, shape)} {interval(found, shape)}" if found.interval is not None else figure(found.value, shape)


def _shown(estimates: Iterable[Estimate]) -> list[float | None]:
    return [value for one in estimates for value in (one.value, *(one.interval or one.points))]


def around_table(title: str, found: Mapping[str, Sequence[FaultEffect]], log: bool) -> DocumentTable:
    """Before, during and after each fault, a row for each group and fault; means over the runs of each run's own mean."""
    every = [part for faults in found.values() for one in faults for part in (one.before, one.during, one.after)]
    shape = form((part.value for part in every), log)
    rows: list[Sequence[Words]] = [
        [
            group, one.window, with_interval(one.before, shape), with_interval(one.during, shape), with_interval(one.after, shape),
            with_interval(one.change_during, shape), with_interval(one.change_after, shape),
            str(max(one.before.n, one.during.n, one.after.n)),
        ]
        for group, faults in found.items() for one in faults
    ]  # fmt: skip
    return DocumentTable(title, ["group", "fault", "before", "during", "after", "change during", "change after", "n"], rows, text=2)


def left_out(panels: Mapping[str, object]) -> list[Block]:
    """The note below a chart that has not all panels."""
    if len(panels) <= PANELS:
        return []
    return [Paragraph(f"The first {PANELS} of {len(panels)} panels are drawn; the table and the data have all groups.", "note")]


Counts = Mapping[str, float]


def channel_means(runs: Sequence[Mapping[Link, Counts]]) -> dict[str, dict[str, float]]:
    """By channel, what all nodes of a run sent together; mean over the runs."""
    means: dict[str, dict[str, float]] = {}
    for channel in sorted({channel for links in runs for _, channel, _ in links}):
        sums = [_sum(counts for (_, own, _), counts in links.items() if own == channel) for links in runs]
        means[channel] = {name: fmean(total.get(name, 0.0) for total in sums) for name in COUNTS if any(name in total for total in sums)}
    return means


def link_means(runs: Sequence[Mapping[Link, Counts]], channels: Sequence[str] = ()) -> dict[Link, dict[str, float]]:
    """Link -> name of a counter -> mean over the runs, 0 where a run does not have the link. With `channels`, links of these only. Links
    between agents come first."""
    keys = {key for links in runs for key in links if not channels or key[1] in channels}
    return {
        key: {name: fmean(links.get(key, {}).get(name, 0.0) for links in runs) for name in COUNTS}
        for key in sorted(keys, key=lambda key: (key[1] != "peer", key))
    }


def traffic_table(title: str, found: Mapping[str, Sequence[Mapping[Link, Counts]]]) -> DocumentTable:
    """A row for each group and channel: what all nodes of a run sent together, mean over its runs."""
    means = {group: channel_means(many) for group, many in found.items()}
    names = _there(counts for by_channel in means.values() for counts in by_channel.values())
    rows: list[list[Words]] = [
        [group, channel, *(_count(name, counts.get(name, 0.0)) for name in names), str(len(found[group]))]
        for group, by_channel in means.items()
        for channel, counts in by_channel.items()
    ]
    return DocumentTable(title, ["group", "channel", *names, "n"], rows, text=2)


def links_table(title: str, found: Sequence[Mapping[Link, Counts]], channels: Sequence[str] = ()) -> DocumentTable:
    """A row for each link, means over the runs."""
    means = link_means(found, channels)
    names = _there(means.values())
    rows: list[list[Words]] = [
        [f"{node} → {peer}", channel, *(_count(name, counts[name]) for name in names)] for (node, channel, peer), counts in means.items()
    ]
    return DocumentTable(title, ["link", "channel", *names], rows, text=2)


def _there(counts: Iterable[Mapping[str, float]]) -> list[str]:
    """Columns that have anything."""
    totals = _sum(counts)
    return [name for name in COUNTS if name in ("messages", "bytes") or totals.get(name)]


def _sum(counts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for one in counts:
        for name, value in one.items():
            total[name] = total.get(name, 0.0) + value
    return total


def _count(name: str, value: float) -> str:
    return size(value) if name == "bytes" else f"{value:,.0f}" if value >= 100 or value.is_integer() else f"{value:.1f}"


def table_of_lines(panels: Mapping[str, FaultPanel]) -> str:
    """Words for those who do not see a figure of lines over time: where each begins and ends."""
    return "; ".join(
        f"{heading + ': ' if heading else ''}{name} {from_to(curve.values.tolist())}"
        for heading, panel in panels.items()
        for name, curve in panel.lines.items()
    )
