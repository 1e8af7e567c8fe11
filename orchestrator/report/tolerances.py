"""How much each group bears: the amount of a factor at which a share of the first measure is lost."""

from __future__ import annotations

from math import isfinite

from orchestrator.report.analysis import Analysis, Tolerance, label
from orchestrator.report.document import Code, Paragraph, Section, Strong, Table, Words
from orchestrator.report.numbers import NOTHING, alone
from orchestrator.statistics.estimate import CONFIDENCE, LEAST


def tolerances_section(analysis: Analysis) -> Section | None:
    """A row for each combination of the other factors; None where no tolerance is asked for."""
    amounts, share = analysis.results.design.tolerated(), _share(analysis)
    if amounts is None:
        return None
    others = [name for name in analysis.factors if name != amounts.factor]
    title = analysis.measures[0].title
    rows: list[list[Words]] = [
        [*(one.factors[name] for name in others), _amount(analysis, one.amount.value), _interval(analysis, one), str(one.amount.n)]
        for one in analysis.tolerances
    ]
    caption = f"{amounts.factor.capitalize()} at which {share} of {title} is lost"
    columns = [*others, amounts.factor, f"{CONFIDENCE * 100:.0f} % interval", "n"]
    how = (
        f"Where the line between the values tried falls to {share} less than at {amounts.labels[0]}. Values that chance has moved up and "
        f"down are first replaced by the nearest ones that only {'fall' if analysis.measures[0].higher else 'rise'} (isotonic regression). "
        f"“> {amounts.labels[-1]}”: so much is lost at no value tried. Intervals as everywhere; none where a group has fewer than "
        f"{LEAST} runs."
    )
    return Section(f"How much {amounts.factor} costs {share}", [Table(caption, columns, rows, text=len(others)), Paragraph(how, "note")])


def tolerated(analysis: Analysis) -> list[str | Code | Strong]:
    """A sentence for the answer: `5 % of return are lost at a delay of 212ms [190ms, 226ms] with topology=ring, ...`."""
    amounts = analysis.results.design.tolerated()
    known = [one for one in analysis.tolerances if one.amount.value is not None]
    if amounts is None or not known:
        return []
    words: list[str | Code | Strong] = [f"{_share(analysis)} of ", Code(analysis.measures[0].title), f" is lost at a {amounts.factor} of "]
    for number, one in enumerate(known):
        where: list[str | Code | Strong] = [" with ", Strong(label(one.factors))] if one.factors else []
        interval = f" {_interval(analysis, one)}" if one.amount.interval is not None else ""
        words += [", " if number else "", f"{_amount(analysis, one.amount.value)}{interval}", *where]
    return [*words, "."]


def _share(analysis: Analysis) -> str:
    compare = analysis.results.design.compare
    return f"{alone(100 * (compare.tolerance or 0.0 if compare is not None else 0.0))} %"


def _amount(analysis: Analysis, value: float | None) -> str:
    amounts = analysis.results.design.tolerated()
    if amounts is None or value is None:
        return NOTHING
    return f"{alone(float(f'{value:.3g}'))}{amounts.unit}" if isfinite(value) else f"> {amounts.labels[-1]}"


def _interval(analysis: Analysis, one: Tolerance) -> str:
    if one.amount.interval is None:
        return NOTHING
    low, high = (_amount(analysis, end) for end in one.amount.interval)
    return f"[{low}, {high}]"
