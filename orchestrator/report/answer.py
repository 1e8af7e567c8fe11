"""The answer of an experiment in a few sentences. Every number in them is one of the analysis; nothing is said that it does not show."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.report.analysis import Analysis, Found, Measured, label
from orchestrator.report.document import Code, Items, Paragraph, Strong, Words
from orchestrator.report.numbers import counted, figure, form, interval
from orchestrator.report.tolerances import tolerated
from orchestrator.statistics.bootstrap import estimate
from orchestrator.statistics.estimate import CONFIDENCE, LEAST, Estimate

EVEN = 0.5
"""probability of improvement of two groups that are alike"""


def answer(analysis: Analysis) -> list[Paragraph | Items]:
    """About three sentences on the first measure: the ends of the order, what the baseline or the factors show, and the expectations."""
    main = analysis.measures[0]
    sentences = [_ends(main), _compared(analysis, main), tolerated(analysis), _expected(analysis)]
    words: list[str | Code | Strong] = []
    for sentence in sentences:
        if sentence:
            words += [*([" "] if words else []), *sentence]
    blocks: list[Paragraph | Items] = [Paragraph(tuple(words), "answer")]
    if (gaps := unfinished(analysis)) is not None:
        blocks.append(Paragraph(gaps, "warning"))
    return blocks


def unfinished(analysis: Analysis) -> Words | None:
    """What is missing of the experiment; None where nothing is."""
    results = analysis.results
    states = [(results.count("WAITING"), "waiting"), (results.count("RUNNING"), "running"), (results.count("FAILED"), "failed")]
    if not any(count for count, _ in states):
        return None
    missing = ", ".join(f"{count:,} {word}" for count, word in states if count)
    done = results.count("DONE")
    few = "" if done else " Nothing can be said before one has ended."
    return (Strong("Not all cells count:"), f" {done:,} of {len(results.cells):,} are done; {missing}.{few}")


def _value(found: Estimate, shape: str) -> str:
    """`0.71 [0.65, 0.78]`, or with the points; of one run the value alone."""
    text = figure(found.value, shape)
    if found.interval is not None:
        return f"{text} {interval(found, shape)}"
    return f"{text} ({interval(found, shape)})" if len(found.points) > 1 else text


def _ends(main: Measured) -> list[str | Code | Strong]:
    ranked = main.ranked
    if not ranked:
        return ["No run has a figure of ", Code(main.title), " yet."]
    shape = form((found.estimate.value for found in ranked), main.measure.scale == "log")
    best, worst = ranked[0], ranked[-1]
    kind = f"{CONFIDENCE * 100:.0f} % interval" if best.estimate.interval is not None else f"fewer than {LEAST} runs: no interval"
    over = f" (interquartile mean of {_runs(best.estimate)}; {kind})"
    if best is worst:
        alone = len(main.groups) == 1
        where = "" if alone else f" with {best.group.label}, the only group that has a figure yet"
        return [Code(main.title), f" was {_value(best.estimate, shape)}{over}{where}."]
    if best.estimate.value == worst.estimate.value:
        return [Code(main.title), f" was {_value(best.estimate, shape)} in all {len(ranked)} groups{over}."]
    return [
        Code(main.title), " was best with ", Strong(best.group.label), f": {_value(best.estimate, shape)}{over}, and worst with ",
        Strong(worst.group.label), f": {_value(worst.estimate, shape)} ({_runs(worst.estimate)}).",
    ]  # fmt: skip


def _runs(found: Estimate) -> str:
    """`6 runs`, and how many of them never came to it."""
    return counted(found.n, "run") + (f", {found.never:,} of them never" if found.never else "")


def _compared(analysis: Analysis, main: Measured) -> list[str | Code | Strong]:
    against = [found for found in main.groups if found.improvement is not None and found.improvement.value is not None]
    if against:
        return _against_baseline(analysis, against)
    return _by_factor(analysis, main)


def _against_baseline(analysis: Analysis, against: Sequence[Found]) -> list[str | Code | Strong]:
    def distance(found: Found) -> float:
        value = found.improvement.value if found.improvement is not None else None
        return abs((EVEN if value is None else value) - EVEN)

    told = [found.improvement.interval for found in against if found.improvement is not None and found.improvement.interval is not None]
    worse, better = sum(high < EVEN for _, high in told), sum(low > EVEN for low, _ in told)
    far = max(against, key=distance)
    start = f"Against the baseline {label(analysis.baseline)}, "
    if told:
        verb = "is" if worse < 2 else "are"
        start += f"{worse or 'none'} of {counted(len(against), 'group')} {verb} worse beyond doubt, {better or 'none'} better"
    else:
        start += f"no group can be told apart beyond doubt, for want of runs ({LEAST} a group are needed)"
    if far.improvement is None:  # it is one of those that have one
        return []
    return [
        f"{start}; farthest from it is ", Strong(far.group.label),
        f": a run there is better than one of the baseline with probability {_value_alone(far.improvement)}.",
    ]  # fmt: skip


def _value_alone(found: Estimate) -> str:
    return f"{figure(found.value, '.2f')} {interval(found, '.2f')}" if found.interval is not None else figure(found.value, ".2f")


def by_factor(analysis: Analysis, main: Measured) -> dict[str, dict[str, Estimate]]:
    """For each factor with several labels, the measure at each label over all runs that have it."""
    table, title = analysis.results.table, main.title
    found: dict[str, dict[str, Estimate]] = {}
    for factor, labels in analysis.factors.items():
        estimates = {name: estimate(table.sample(title, {factor: name})) for name in labels}
        known = {name: one for name, one in estimates.items() if one.value is not None}
        if len(known) > 1:
            found[factor] = known
    return found


def _by_factor(analysis: Analysis, main: Measured) -> list[str | Code | Strong]:
    """Which factor moves the measure most; with one factor the first sentence says it already."""
    found = by_factor(analysis, main)
    if len(analysis.factors) < 2 or not found:
        return []

    def values(factor: str) -> list[float]:
        return [one.value for one in found[factor].values() if one.value is not None]

    most = max(found, key=lambda factor: max(values(factor)) - min(values(factor)))
    shape = form(values(most), main.measure.scale == "log")
    low = min(found[most], key=lambda name: found[most][name].value or 0.0)
    high = max(found[most], key=lambda name: found[most][name].value or 0.0)
    ends = [f"{_value(found[most][name], shape)} at {name}" for name in ((high, low) if main.higher else (low, high))]
    return ["Of the factors, ", Strong(most), f" moves it most: {ends[0]}, {ends[1]}, over all values of the others."]


def _expected(analysis: Analysis) -> list[str | Code | Strong]:
    verdicts = analysis.results.verdicts
    if not verdicts:
        return []
    holds = [verdict for verdict in verdicts if verdict.holds]
    fails = [verdict for verdict in verdicts if verdict.holds is False]
    open_ = len(verdicts) - len(holds) - len(fails)
    if len(holds) == len(verdicts):
        return ["What was expected holds." if len(verdicts) == 1 else f"All {len(verdicts)} expectations hold."]
    told = f"Of {counted(len(verdicts), 'expectation')}, {len(holds) or 'none'} {'holds' if len(holds) < 2 else 'hold'}, "
    told += f"{len(fails) or 'none'} {'fails' if len(fails) < 2 else 'fail'}"
    return [told + (f", {open_} cannot be judged yet." if open_ else ".")]
