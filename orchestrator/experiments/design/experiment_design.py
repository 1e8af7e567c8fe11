"""What an experiment is: the typed settings of an experiment file. `reading` reads and checks one, `cells` makes cells of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from orchestrator.config.resolved_configuration import flow
from orchestrator.results.metric_names import counted_in
from orchestrator.results.number_text import counted
from protocols.faults.settings import FractionOrPercent, Operator
from protocols.runtime.settings_types import Duration, Settings

MOST_SEEDS = 10_000
_RANGE = re.compile(r"\s*(\d+)\s*\.\.\s*(\d+)\s*")
_FINAL = re.compile(r"final (\d+(?:\.\d+)?) ?%")


def _label(value: Any) -> Any:
    """A value of a list is called as `flow` writes it, and may be named without quotes: {agents: 12}."""
    return flow(value) if value is None or isinstance(value, (bool, int, float)) else value


Label = Annotated[
    str,
    BeforeValidator(_label),
    Field(min_length=1, max_length=60, pattern=r"^[^,=\n]+$"),
    WithJsonSchema({"type": ["string", "number", "boolean", "null"], "pattern": r"^[^,=\n]+$", "maxLength": 60}),
]
"""what a value of a factor is called: no comma, no equals sign (both have a meaning on command lines)"""
FactorName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,40}$")]


NAME = r"^[a-z0-9][a-z0-9_-]{0,40}$"
"""of an experiment"""


def parse_seeds(value: Any) -> tuple[int, ...]:
    """`0..4` are 0, 1, 2, 3 and 4; a number is that one alone; a list is itself."""
    if isinstance(value, str) and (match := _RANGE.fullmatch(value)):
        first, last = int(match[1]), int(match[2])
        if last < first or last - first >= MOST_SEEDS:
            raise ValueError(f'"{value}" is no range of 1 to {MOST_SEEDS} seeds; write for example 0..4')
        return tuple(range(first, last + 1))
    seeds = (value,) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(seeds, (list, tuple)) or not seeds or any(type(seed) is not int or seed < 0 for seed in seeds):
        raise ValueError("is not a range such as 0..4, a number, or a list of numbers of at least 0")
    if len(set(seeds)) < len(seeds):
        raise ValueError("names a seed twice: the same seed gives the same run")
    return tuple(seeds)


def format_seeds(seeds: tuple[int, ...]) -> str | list[int]:
    """The shortest form that `parse_seeds` reads back."""
    ascending = seeds == tuple(range(seeds[0], seeds[0] + len(seeds)))
    return f"{seeds[0]}..{seeds[-1]}" if ascending else list(seeds)


def _over(text: str) -> str:
    match = _FINAL.fullmatch(text)
    if text not in ("all", "last") and (match is None or not 0 < float(match[1]) <= 100):
        raise ValueError(f'"{text}" is no part of a run; write "final 10%", all, or last')
    return text


Seeds = Annotated[
    tuple[int, ...],
    BeforeValidator(parse_seeds),
    PlainSerializer(format_seeds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^\s*\d+\s*\.\.\s*\d+\s*$"},
                {"type": "integer", "minimum": 0},
                {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
            ]
        }
    ),
]
"""Seeds, written as 0..4, 3, or [0, 7, 12]."""


def label_of(text: str, labels: Iterable[str]) -> str:
    """The label that is meant: the text itself where it is one, else the only one that is the same number (1e-3 is 0.001); the text where
    no label is meant."""
    known = list(dict.fromkeys(labels))
    if text in known or (number := _number(text)) is None:
        return text
    same = [label for label in known if _number(label) == number]
    return same[0] if len(same) == 1 else text


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


class Factor(Settings):
    """What is varied: one key of the configuration, or several together."""

    key: Annotated[str, Field(min_length=1)] | None = None
    """the key that the values are of, as on the command line (network.links.0.delay); without it each value is {set: {key: value, ...}}"""
    values: list[Any] | dict[str, Any]
    """a list of values, each called as it would be written out (1e-3 is called 0.001), or a map from names to values"""

    def levels(self) -> dict[str, dict[str, Any]]:
        """Label of each value -> the keys that it sets."""
        named = self.values if isinstance(self.values, dict) else {flow(value): value for value in self.values}
        return {label: {self.key: value} if self.key is not None else dict(value["set"]) for label, value in named.items()}


class SimulationSettings(Settings):
    """How the configuration is simulated, for `with: simulate`; as the options of `orchestrate simulate`. Factors reach these keys as
    simulate.agents, and so on."""

    agents: Annotated[int, Field(ge=1)] | None = None
    """so many instead of agents.count"""
    rounds: Annotated[int, Field(ge=1)] | None = None
    """rounds after which it ends; null: twenty times those predicted"""
    dimension: Annotated[int, Field(ge=1)] = 16
    """numbers in each agent's vector"""
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-6
    """disagreement, as a share of that at the start, at which they agree"""
    episodes: Annotated[int, Field(ge=0)] | None = None
    """episodes that each pair of neighbours negotiates and shares; null: 4 where the configuration negotiates"""
    wire: bool = False
    """send every message through the codec, byte by byte (slower)"""
    arrays: bool | None = None
    """whether synchronous rounds are computed as arrays of all agents, instead of message by message; null: where the result is equal"""


class Measure(Settings):
    """One figure that every cell is asked for."""

    metric: Annotated[str, Field(min_length=1)]
    """name of the figure (docs/reference/metrics.md); with node: summary a dotted path of summary.json, in which a part may be a pattern
    (nodes.agent-*.restarts); of a simulation a figure of its outcome"""
    name: Annotated[str, Field(pattern=r"^[^,\n]+$")] | None = None
    """what it is called in tables; null: as the metric"""
    node: Annotated[str, Field(min_length=1)] | None = None
    """whose figure: env-0, run, agent-2, agent-* (the mean over them), faults (metrics of the verdict), summary (a value of summary.json);
    null: that of env-0, run, or the agents, the first that has it"""
    over: Annotated[str, AfterValidator(_over)] = "final 10%"
    """part of the run, by steps: "final 10%", all, or last (the last value alone)"""
    of: Literal["mean", "max", "min", "last"] = "mean"
    """what is made of the values there, or of those that a pattern matches"""
    higher: Literal["better", "worse"] = "better"
    """whether more of it is better"""
    scale: Literal["linear", "log"] = "linear"
    """of plots"""
    threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """a level, for the time until it is reached"""

    @property
    def title(self) -> str:
        """What it is called in tables, verdicts and results.csv."""
        return self.name or self.metric

    @property
    def final_share(self) -> float:
        """The share of the run, counted from its end, that counts; 1: all of it, 0: only the last value."""
        match = _FINAL.fullmatch(self.over)
        return float(match[1]) / 100 if match is not None else {"all": 1.0, "last": 0.0}[self.over]


class ComparisonSettings(Settings):
    """With what the groups are compared in the report."""

    baseline: dict[str, Label]
    """labels of the group that the others are compared with: {delay: 0ms}"""
    test: Literal["probability_of_improvement", "difference", "ratio"] = "probability_of_improvement"
    """the statistic of two groups"""
    tolerance: Annotated[FractionOrPercent, Field(gt=0)] | None = None
    """a share of the first measure, such as 5%: the report states at which amount of the baseline's factor (whose labels are amounts of one
    unit, the least of them the baseline's) so much is lost"""


class ExperimentExpectation(Settings):
    """A condition that a group of cells must fulfil."""

    metric: str
    """name of a measure"""
    where: dict[str, Label] = {}
    """labels of the group; each combination of the factors that are not named counts equally"""
    relative_to: dict[str, Label] | None = None
    """labels in which a second group differs: the figure is the ratio of the first to the second (of `difference`: first minus second)"""
    op: Operator
    """how the figure is compared with `value`"""
    value: Annotated[float, Field(allow_inf_nan=False)]
    """what it is compared with"""
    statistic: Literal["iqm", "mean", "median", "lower", "upper", "probability_of_improvement"] = "iqm"
    """of the group: interquartile mean, mean, median; lower and upper end of the 95 % interval of the interquartile mean; or how probably a
    run of the first group is better than one of the second"""
    by: Literal["ratio", "difference"] = "ratio"
    """with relative_to: how the groups are compared; differences are for metrics that may be zero or negative"""


class ExperimentLimits(Settings):
    """When a cell or the experiment gives up."""

    cell_time: Annotated[Duration, Field(gt=0)] | None = None
    """longest wall-clock time of a cell in one go; null: as long as it takes"""
    progress_timeout: Annotated[Duration, Field(gt=0)] | None = None
    """longest time that a run trains or is evaluated without a step or the end of an episode: it is stopped then, and has failed; null:
    any time"""
    retries: Annotated[int, Field(ge=0, le=10)] = 1
    """how often a cell that failed is tried again"""
    stop_after_failures: Annotated[int, Field(ge=1)] = 5
    """failed cells after which no further one is started"""


class ExperimentDesign(Settings):
    """An experiment: a configuration, what is varied of it, with which seeds, what is measured, and what is expected."""

    version: Literal[1]
    """version of this format"""
    name: Annotated[str, Field(pattern=NAME)]
    """directory of the experiment"""
    question: str = ""
    """what it is to answer, in a sentence; stands above the report"""
    base: Annotated[str, Field(min_length=1)]
    """the configuration that is varied, relative to this file"""
    with_: Annotated[Literal["up", "simulate"], Field(alias="with")] = "up"
    """up: every cell is a run of processes; simulate: only its conversations, under virtual time, for 10^2 to 10^4 agents"""
    simulate: SimulationSettings = SimulationSettings()
    """for with: simulate"""
    set: dict[str, Any] = {}
    """keys that all cells have in common, as on the command line: {until: {episodes: 1500}, faults.events: []}; each replaces what the
    base has there"""
    factors: dict[FactorName, Factor] = {}
    """what is varied; cells are all combinations"""
    cells: list[dict[FactorName, Label]] | None = None
    """the combinations by their labels, where not all are wanted: [{delay: 0ms, topology: ring}, ...]"""
    seeds: Seeds = (0, 1, 2, 3, 4)
    """each combination is played with each of them: 0..4, a number, or a list"""
    small: dict[str, Any] = {}
    """what --small changes of this file: {factors.delay.values: [0ms, 250ms], seeds: 0..1, set.until.episodes: 200}"""
    measure: Annotated[list[Measure], Field(min_length=1)]
    """what is measured"""
    compare: ComparisonSettings | None = None
    """with what groups are compared"""
    curves_over: Literal["steps", "time"] = "steps"
    """what curves, and times to a threshold, are counted in: steps, or seconds of training (virtual ones under the logical clock), which is
    fair where runs have equal time"""
    report: list[Literal["curves", "heatmap", "profile", "time_bands", "links"]] = ["curves", "heatmap", "profile"]
    """charts of the report"""
    expect: list[ExperimentExpectation] = []
    """conditions that must hold; otherwise the experiment ends with exit code 1"""
    limits: ExperimentLimits = ExperimentLimits()
    """when it gives up"""

    def labels(self) -> dict[str, list[str]]:
        """The labels of every factor, in the order of the file."""
        return {name: list(factor.levels()) for name, factor in self.factors.items()}

    def combinations(self) -> list[dict[str, str]]:
        """Labels of every combination, factors in the order of the file; the last factor varies fastest."""
        if self.cells is not None:
            return [{name: cell[name] for name in self.factors} for cell in self.cells]
        labels = self.labels()
        return [dict(zip(labels, chosen, strict=True)) for chosen in product(*labels.values())]

    def measure_named(self, title: str) -> Measure:
        """The measure of that name; `KeyError` for an unknown name."""
        return {measure.title: measure for measure in self.measure}[title]

    def called(self, more: Mapping[str, Sequence[str]]) -> Self:
        """The same with the labels that are meant, by number where not by text, in all places that name some; `more` labels beside its own.
        `KeyError`, `TypeError` or `ValueError` where factors are wrong."""
        known = {name: [*labels, *more.get(name, ())] for name, labels in self.labels().items()}

        def meant(chosen: Mapping[str, str] | None) -> dict[str, str] | None:
            return None if chosen is None else {name: label_of(label, known.get(name, ())) for name, label in chosen.items()}

        cells = None if self.cells is None else [meant(cell) for cell in self.cells]
        compare = None if self.compare is None else self.compare.model_copy(update={"baseline": meant(self.compare.baseline)})
        expect = [one.model_copy(update={"where": meant(one.where), "relative_to": meant(one.relative_to)}) for one in self.expect]
        return self.model_copy(update={"cells": cells, "compare": compare, "expect": expect})

    def axis_of(self, measure: Measure) -> str:
        """What curves of a measure are over, unless it is time: `steps`, `rounds` (all of a simulation), `updates`."""
        return "rounds" if self.with_ == "simulate" else counted_in(measure.metric)

    def tolerated(self) -> NumericFactor | None:
        """The amounts that enclose the tolerance of `compare`; None where none is requested. `ValueError` where labels are no amounts."""
        if self.compare is None or self.compare.tolerance is None:
            return None
        if len(self.compare.baseline) != 1:
            raise ValueError("is the amount of one factor; compare with a baseline of one factor")
        ((factor, least),) = self.compare.baseline.items()
        return NumericFactor.of(factor, least, self.labels()[factor])

    def shape(self) -> str:
        """`5 delays x 3 topologies x 5 seeds = 75 cells`."""
        count = len(self.combinations()) * len(self.seeds)
        parts = [counted(len(labels), name) for name, labels in self.labels().items()]
        if self.cells is not None:
            parts = [counted(len(self.cells), "combination")]
        return f"{' x '.join([*parts, counted(len(self.seeds), 'seed')])} = {counted(count, 'cell')}"


_AMOUNT = re.compile(r"(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)( ?[a-zA-Z%]*)")


@dataclass(frozen=True)
class NumericFactor:
    """A factor whose labels are amounts: `50ms`, `30 %`, `12`. `labels` and `values` ascend together."""

    factor: str
    labels: tuple[str, ...]
    values: tuple[float, ...]
    unit: str
    """as it follows the number: `ms`, ` %`, or nothing"""

    @classmethod
    def of(cls, factor: str, least: str, labels: Sequence[str]) -> Self:
        """Read the labels; `ValueError` where they are no amounts of one unit, or `least` is not the least of them."""
        found = [_AMOUNT.fullmatch(label) for label in labels]
        units = {match[2] for match in found if match is not None}
        if None in found or len(units) != 1:
            raise ValueError(f"needs amounts of one unit, such as 0ms, 50ms, 100ms; the values of {factor} are {', '.join(labels)}")
        by_value = sorted((float(match[1]), label) for match, label in zip(found, labels, strict=True) if match is not None)
        if by_value[0][1] != least or len({value for value, _ in by_value}) < len(by_value):
            raise ValueError(
                f"counts from the baseline, which must be the least amount ({by_value[0][1]} of {factor}); and no amount is given twice"
            )
        return cls(factor, tuple(label for _, label in by_value), tuple(value for value, _ in by_value), units.pop())
