"""How much each group bears: the amount of a factor at which a share of the first measure is lost."""

from __future__ import annotations

from math import isfinite

from orchestrator.report.experiment.experiment_analysis import ExperimentAnalysis, Tolerance, label
from orchestrator.report.report_document import Block, Code, DocumentTable, Paragraph, Section, Strong, Words
from orchestrator.results.number_text import NOTHING, alone
from orchestrator.results.statistics.estimate import CONFIDENCE, LEAST


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


def tolerated(analysis: ExperimentAnalysis) -> list[str | Code | Strong]:
    """A sentence for the answer: `5 % of return is lost at a delay of 212ms [190ms, 226ms] with topology=ring, ...`; of metrics of which
    less is better `loss rises by 5 % at a delay of ...`."""
    amounts, share, main = analysis.results.design.tolerated(), _share(analysis), analysis.measures[0]
    known = [one for one in analysis.tolerances if one.amount.value is not None]
    if amounts is None or not known:
        return []
    words: list[str | Code | Strong] = [f"{share} of ", Code(main.title), f" is lost at a {amounts.factor} of "]
    if not main.higher:
        words = [Code(main.title), f" rises by {share} at a {amounts.factor} of "]
    for number, one in enumerate(known):
        where: list[str | Code | Strong] = [" with ", Strong(label(one.factors))] if one.factors else []
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
