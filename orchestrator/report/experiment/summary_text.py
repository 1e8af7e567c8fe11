"""The answer of an experiment in a few sentences. Every number in them is one of the analysis; nothing else is stated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from math import isfinite, log, prod

from orchestrator.report.experiment.experiment_analysis import BaselineComparison, ExperimentAnalysis, GroupResult, MeasureResult, label
from orchestrator.report.experiment.experiment_sections import tolerated
from orchestrator.report.experiment.experiment_tables import with_interval
from orchestrator.report.report_document import Code, Items, Paragraph, Strong, Word, Words
from orchestrator.results.number_text import counted, form, interval
from orchestrator.results.statistics.equal_conditions import balanced
from orchestrator.results.statistics.estimate import CONFIDENCE, LEAST, Estimate, estimate, interquartile_mean, within_tasks
from orchestrator.results.statistics.group_comparison import SIGNIFICANCE

_NAMED = 6
"""values that are named, of each kind"""
EVEN = 0.5
"""probability of improvement of two groups that are alike"""
_TIED = 2
"""groups as good as the best, or as bad as the worst, that are named"""
_IN_COMMON = "over what its values have in common"


def answer(analysis: ExperimentAnalysis) -> list[Paragraph | Items]:
    """About three sentences on the first measure: the ends of the order, what the baseline or the factors show, and the expectations."""
    main = analysis.measures[0]
    sentences = [_ends(analysis, main), _compared(analysis, main), _farthest(analysis, main), tolerated(analysis), _expected(analysis)]
    words: list[Word] = []
    for sentence in sentences:
        if sentence:
            words += [*([" "] if words else []), *sentence]
    blocks: list[Paragraph | Items] = [Paragraph(tuple(words), "answer")]
    if (gaps := unfinished(analysis)) is not None:
        blocks.append(Paragraph(gaps, "warning"))
    for factor in analysis.copies:
        copied = " changes no metric: its runs are copies of each other. Statements over several combinations count one of its values."
        blocks.append(Paragraph((Strong(factor), copied), "warning"))
    return blocks


def unfinished(analysis: ExperimentAnalysis) -> Words | None:
    """What is missing of the experiment; None where nothing is."""
    results = analysis.results
    states = [(results.count("WAITING"), "waiting"), (results.count("RUNNING"), "running"), (results.count("FAILED"), "failed")]
    if not any(count for count, _ in states):
        return None
    missing = ", ".join(f"{count:,} {word}" for count, word in states if count)
    done = results.count("DONE")
    few = "" if done else " No statement is possible before one has ended."
    return (Strong("Not all cells count:"), f" {done:,} of {len(results.cells):,} are done; {missing}.{few}")


def _value(found: Estimate, shape: str) -> str:
    """`0.71 [0.65, 0.78]`, or with the points; of one run the value alone."""
    text = with_interval(found, shape)
    return f"{text} ({interval(found, shape)})" if found.interval is None and len(found.points) > 1 else text


def _ends(analysis: ExperimentAnalysis, main: MeasureResult) -> list[Word]:
    ranked, yet = main.ranked, " yet" if _to_come(analysis) else ""
    if not ranked:
        return ["No run has a figure of ", Code(main.title), f"{yet}."]
    shape = form((found.estimate.value for found in ranked), main.measure.scale == "log")
    best, worst = ranked[0], ranked[-1]
    kind = f"{CONFIDENCE * 100:.0f} % interval" if best.estimate.interval is not None else f"fewer than {LEAST} runs: no interval"
    over = f" (interquartile mean of {_runs(best.estimate)}; {kind})"
    if best is worst:
        alone = len(main.groups) == 1
        where = "" if alone else f" with {best.group.label}, the only group that has a figure{yet}"
        return [Code(main.title), f" was {_value(best.estimate, shape)}{over}{where}."]
    if best.estimate.value == worst.estimate.value:
        groups = f"all {len(ranked)} groups" if len(ranked) == len(main.groups) else f"the {len(ranked)} groups that have a figure{yet}"
        return [Code(main.title), f" was {_value(best.estimate, shape)} in {groups}{over}."]
    return [
        Code(main.title), " was best with ", *_with_ties(main, best), f": {_value(best.estimate, shape)}{over}, and worst with ",
        *_with_ties(main, worst), f": {_value(worst.estimate, shape)} ({_runs(worst.estimate)}).",
    ]  # fmt: skip


def _with_ties(main: MeasureResult, found: GroupResult) -> list[Word]:
    """The group, and those that have the same value."""
    tied = main.tied(found)
    words: list[Word] = [Strong(found.group.label)]
    if len(tied) > _TIED:
        return [*words, f" (as with {len(tied)} others)"]
    for number, one in enumerate(tied):
        words += [" and " if number else " (as with ", Strong(one.group.label)]
    return [*words, ")"] if tied else words


def _runs(found: Estimate) -> str:
    """`6 runs`, and how many of them never came to it."""
    return counted(found.n, "run") + (f", {found.never:,} of them never" if found.never else "")


def _compared(analysis: ExperimentAnalysis, main: MeasureResult) -> list[Word]:
    return _against_baseline(analysis, main.against) if main.against else _by_factor(analysis, main)


def _against_baseline(analysis: ExperimentAnalysis, against: Sequence[BaselineComparison]) -> list[Word]:
    """Which values are worse than the baseline's, which better, and which are not distinguished."""
    beside = {name: labels for name, labels in analysis.factors.items() if name not in analysis.baseline and name not in analysis.copies}
    others = [name for name, labels in beside.items() if len(labels) > 1]
    # All combinations of them, or those that both the baseline and each other value have.
    whole = all(one.conditions == prod(map(len, beside.values())) for one in against)
    over = f", over all values of {' and '.join(others)}" if whole else f", {_IN_COMMON}"
    words: list[Word] = [f"Against the baseline {label(analysis.baseline)}", f"{over if others else ''}: "]
    worse = [one for one in against if one.differs and (one.improvement.value or 0.0) < EVEN]
    better = [one for one in against if one.differs and one not in worse]
    parts = [
        (worse, "significantly worse"),
        (better, "significantly better"),
        ([one for one in against if not one.differs], "not distinguished"),
    ]
    judged = [(found, how) for found, how in parts if found]
    for number, (found, how) in enumerate(judged):
        words += ["; " if number else "", f"{how} "]
        for place, one in enumerate(found[:_NAMED]):
            words += [", " if place else "", Strong(label(one.factors)), f" ({with_interval(one.improvement, '.2f')})"]
        words += [f" and {len(found) - _NAMED} more"] if len(found) > _NAMED else []
    few = "; there are too few runs to distinguish anything" if not any(one.has_power for one in against) else ""
    test = "van Elteren's" if any(one.conditions > 1 for one in against) else "Mann and Whitney's"
    return [*words, f" (how probably a run is better; {test} rank test with Holm's correction, {100 * SIGNIFICANCE:.0f} %{few})."]


def _farthest(analysis: ExperimentAnalysis, main: MeasureResult) -> list[Word]:
    """The group farthest from the baseline with the same other factors, where what holds for some of their values holds not for all."""
    compare = analysis.results.design.compare
    if compare is None or all(one.conditions < 2 for one in main.against):
        return []
    ratio = compare.test == "ratio"
    # A ratio that is no positive number is no distance.
    others = {
        one.group.label: one.contrast
        for one in main.groups
        if one.contrast is not None
        and one.contrast.value is not None
        and isfinite(one.contrast.value)
        and (one.contrast.value > 0 or not ratio)
    }

    def distance(name: str) -> float:
        value = others[name].value or 0.0
        return abs(log(value)) if ratio else abs(value)

    name = max(others, key=distance, default=None)
    found = None if name is None else others[name].interval
    if name is None or found is None or found[0] <= (1.0 if ratio else 0.0) <= found[1]:
        return []
    shape = form([others[name].value])
    how = "ratio to" if ratio else "difference from"
    return [
        "Of single groups, ",
        Strong(name),
        f" is farthest from the baseline: {how} it {_value(replace(others[name], points=()), shape)}.",
    ]


def by_factor(analysis: ExperimentAnalysis, main: MeasureResult) -> dict[str, dict[str, Estimate]]:
    """For each factor with several labels, the measure at each label: the mean of the interquartile means of those combinations of the
    others with runs of every label: else what differs might be the combinations. Factors without such combinations are left
    out."""
    found: dict[str, dict[str, Estimate]] = {}
    for factor, labels in analysis.factors.items():
        others = [name for name in analysis.factors if name != factor]
        over = balanced(analysis.results.table, main.title, [{factor: name} for name in labels], others, analysis.copies)
        if len(labels) > 1 and over.conditions:
            found[factor] = {
                name: estimate(sample, within_tasks(interquartile_mean)) for name, sample in zip(labels, over.samples, strict=True)
            }
    return found


def _by_factor(analysis: ExperimentAnalysis, main: MeasureResult) -> list[Word]:
    """Which factor moves the measure most; with one factor the first sentence has it already, and with one that can't be compared it
    is unknown."""
    found = by_factor(analysis, main)
    values = {factor: [one.value for one in by_label.values() if one.value is not None] for factor, by_label in found.items()}
    several = [factor for factor, labels in analysis.factors.items() if len(labels) > 1]
    if len(analysis.factors) < 2 or not several or set(several) != set(found) or not all(map(isfinite, chain(*values.values()))):
        return []
    most = max(found, key=lambda factor: max(values[factor]) - min(values[factor]))
    shape = form(values[most], main.measure.scale == "log")
    low = min(found[most], key=lambda name: found[most][name].value or 0.0)
    high = max(found[most], key=lambda name: found[most][name].value or 0.0)
    # Without points: they are of several combinations.
    texts = {name: _value(replace(one, points=()), shape) for name, one in found[most].items()}
    ends = [f"{texts[name]} at {name}" for name in ((high, low) if main.higher else (low, high))]
    # All combinations, or those that each of its values has.
    whole = len(main.groups) == prod(len(labels) for labels in analysis.factors.values()) and all(one.estimate.n for one in main.groups)
    over = "over all values of the others" if whole else _IN_COMMON
    return ["Of the factors, ", Strong(most), f" moves it most: {ends[0]}, {ends[1]}, {over}."]


def _expected(analysis: ExperimentAnalysis) -> list[Word]:
    verdicts = analysis.results.verdicts
    if not verdicts:
        return []
    holds = [verdict for verdict in verdicts if verdict.holds]
    fails = [verdict for verdict in verdicts if verdict.holds is False]
    open_ = len(verdicts) - len(holds) - len(fails)
    if len(holds) == len(verdicts):
        return ["What was expected holds." if len(verdicts) == 1 else f"All {len(verdicts)} expectations hold."]
    words = f"Of {counted(len(verdicts), 'expectation')}, {len(holds) or 'none'} {'holds' if len(holds) < 2 else 'hold'}, "
    words += f"{len(fails) or 'none'} {'fails' if len(fails) < 2 else 'fail'}"
    later = " yet" if _to_come(analysis) else ", which counts as failed"
    return [words + (f", {open_} cannot be judged{later}." if open_ else ".")]


def _to_come(analysis: ExperimentAnalysis) -> bool:
    return any(group.to_come for group in analysis.groups)
