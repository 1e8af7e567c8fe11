"""What came of a run, read from its directory alone: evaluation, world models, consensus, where the time went, links, restarts.

Everything is computed from the nodes' own `metrics.jsonl` and the run's `summary.json`, `events.jsonl` and `config.json`; what a run did
not measure is left out.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from orchestrator.results import run_directories as runs
from orchestrator.results.run_files import figure_files, read_lines
from orchestrator.results.time_shares import PREFIX, time_shares
from orchestrator.terminal import snapshot_figures as figures

EVALUATION = "eval."
"""beginning of the names of figures of greedy episodes"""
SUMS = "statistics."
GOAL = ".goal."
"""between the name of a figure of one goal and the goal's landmarks: `eval.own.success.goal.0-2`"""
ENVIRONMENT, RUN = "env-0", "run"
TRAINING = ("return.normalised", "success.individual", "success.cooperative", "aligned", "negotiated", "goals.pursued_entropy", "length")
"""figures of training that are shown, of the environment server"""
_NO_WORK = ("wait", "other")
BINS = 20
"""values of a figure of training that are shown"""
_DETAILS = (".length", ".return", ".return.normalised", ".published")
"""endings of the names of figures that are left to `show` when a run has ended"""
LOWER_IS_BETTER = ("error", "loss", "disagreement", "length")


@dataclass(frozen=True)
class MetricPoint:
    """One measured value of one node."""

    time: float
    step: int
    episode: int
    value: float


Series = dict[str, dict[str, list[MetricPoint]]]
"""metric name -> node -> points in order of writing"""


@dataclass(frozen=True)
class MetricCurve:
    """A metric over a run: mean over the nodes that measured it, at the first, best and last time."""

    name: str
    first: float
    best: float
    last: float
    best_episode: int
    points: int
    values: list[float] = field(default_factory=list, repr=False)
    best_step: int = 0


@dataclass(frozen=True)
class GoalResult:
    """A goal in the newest evaluation; shares from 0 to 1, None where no episode tells."""

    goal: str
    """`{0,2}`"""
    given: float | None = None
    """success where it was given to all members"""
    own: float | None = None
    """success of members that held it by the agents' own choice"""
    agreed: float | None = None
    """followers that held it where their leader did"""


@dataclass
class RunSummary:
    """A run in figures."""

    run: str
    directory: str
    state: str
    exit_code: int | None
    reason: str
    started: str | None
    elapsed: float | None
    seed: int | None = None
    training: list[MetricCurve] = field(default_factory=list)
    """of the environment server, and accuracy of the convention"""
    evaluation: list[MetricCurve] = field(default_factory=list)
    goals: list[GoalResult] = field(default_factory=list)
    world_model: list[MetricCurve] = field(default_factory=list)
    sums: dict[str, dict[str, float]] = field(default_factory=dict)
    """agent -> newest `statistics.*`, where statistics are summed"""
    averaged: str = "consensus"
    """what the next three are about: consensus on parameters, or, where there is none, `statistics` that are averaged"""
    contraction_measured: float | None = None
    """median over the averaging rounds of disagreement after / before"""
    contraction_predicted: float | None = None
    """rho = |W - J/n|_2 of the configured graph"""
    disagreement: MetricCurve | None = None
    time: dict[str, dict[str, float]] = field(default_factory=dict)
    """node -> part -> share of its time, sums to at most 1"""
    slowest: str = ""
    links: list[dict[str, Any]] = field(default_factory=list)
    wire: dict[str, dict[str, int]] = field(default_factory=dict)
    """node -> what became of messages that did not simply arrive: `rx.bad.CODE`, `rx.dup`, `tx.dropped`, ..."""
    restarts: dict[str, int] = field(default_factory=dict)
    resources: dict[str, dict[str, float]] = field(default_factory=dict)
    faults: dict[str, Any] = field(default_factory=dict)
    """`summary.json`'s section of that name: records, times of absence, figures"""
    verdict: dict[str, Any] = field(default_factory=dict)
    """`verdict.json`"""

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values."""
        return asdict(self)


def read_series(directory: Path) -> Series:
    """All metrics of all nodes."""
    series: Series = defaultdict(lambda: defaultdict(list))
    for path in figure_files(directory):
        node = path.parent.name
        for line in read_lines(path):
            value = line.get("value")
            if isinstance(value, (int, float)) and math.isfinite(value):
                point = MetricPoint(float(line.get("t") or 0), int(line.get("step") or 0), int(line.get("episode") or 0), float(value))
                series[str(line.get("name"))][node].append(point)
    return series


def curve(name: str, nodes: dict[str, list[MetricPoint]]) -> MetricCurve:
    """Mean over nodes of their k-th values: an evaluation or report is the same k at all of them; shorter ones stop early."""
    length = max(len(points) for points in nodes.values())
    values, episodes, steps = [], [], []
    for k in range(length):
        there = [points[k] for points in nodes.values() if k < len(points)]
        values.append(sum(p.value for p in there) / len(there))
        episodes.append(max(p.episode for p in there))
        steps.append(max(p.step for p in there))
    pick = min if any(word in name for word in LOWER_IS_BETTER) else max
    best = values.index(pick(values))
    return MetricCurve(name, values[0], values[best], values[-1], episodes[best], length, values, steps[best])


def summarize(directory: Path) -> RunSummary:
    """Read a run directory."""
    run = runs.read(directory)
    series = read_series(directory)
    config = runs.read_json(directory / "config.json")
    stored = runs.read_json(directory / "summary.json")
    started = run.record.get("started")
    summary = RunSummary(run.name, str(directory), run.state, run.exit_code, run.reason, started, run.elapsed, config.get("seed"))
    summary.training = _training(series)
    evaluation = {name: dict(nodes) for name, nodes in sorted(series.items()) if name.startswith(EVALUATION)}
    summary.evaluation = [curve(name, nodes) for name, nodes in evaluation.items() if GOAL not in name]
    summary.goals = _goals({name: nodes for name, nodes in evaluation.items() if GOAL in name})
    summary.world_model = [curve(name, dict(nodes)) for name, nodes in sorted(series.items()) if name.startswith("world_model.error")]
    for name, nodes in sorted(series.items()):
        if name.startswith(SUMS):
            for node, points in nodes.items():
                if node != RUN:
                    summary.sums.setdefault(node, {})[name.removeprefix(SUMS)] = points[-1].value
    _consensus(summary, series, config, stored)
    _time(summary, series, directory)
    _resources(summary, stored)
    summary.wire = {node: dict(counters) for node, counters in (stored.get("wire") or {}).items()}
    summary.links = [link for link in stored.get("links") or [] if isinstance(link, dict)]
    summary.faults = stored.get("faults") or {}
    summary.verdict = runs.read_json(directory / "verdict.json")
    for path in sorted(directory.glob("nodes/*/incarnations.jsonl")):
        if (count := sum(1 for _ in read_lines(path))) > 1:
            summary.restarts[path.parent.name] = count - 1
    return summary


def _training(series: Series) -> list[MetricCurve]:
    """Training as the environment server saw it (raw returns where there is no best one), pooled; then the run's own figure."""
    normalised = ENVIRONMENT in series.get("return.normalised", {})
    names = TRAINING if normalised else ("return", *TRAINING)
    found = [curve(name, {ENVIRONMENT: pooled(series, name)}) for name in names if ENVIRONMENT in series.get(name, {})]
    if RUN in series.get("convention.accuracy", {}):
        found.append(curve("convention.accuracy", {RUN: series["convention.accuracy"][RUN]}))
    return found


def pooled(series: Series, name: str, most: int = BINS) -> list[MetricPoint]:
    """A figure of training over at most `most` bins of equally many episodes, at the end of each.

    What the environment server writes are means over windows of time, some of two episodes and some of a thousand: a bin is the mean of
    whole windows, weighted by the episodes that they are means over (`episodes.whole`; in runs of versions that did not write it, by all
    that ended, those that lost a member among them).
    """
    windows = series.get(name, {}).get(ENVIRONMENT, [])
    counts = [series.get(count, {}).get(ENVIRONMENT, []) for count in ("episodes", "episodes.whole")]
    episodes = {point.time: point.value for points in counts for point in points}
    weights = [max(1.0, episodes.get(point.time, 1.0)) for point in windows]
    left = sum(weights)
    enough = left / most * (1 - 1e-9)
    bins, total, held = [], 0.0, 0.0
    for point, weight in zip(windows, weights, strict=True):
        total, held, left = total + weight * point.value, held + weight, left - weight
        if point is windows[-1] or (held >= enough and left >= enough):  # what is left over belongs to the last bin
            bins.append(replace(point, value=total / held))
            total = held = 0.0
    return bins


def _goals(figures_of_goals: dict[str, dict[str, list[MetricPoint]]]) -> list[GoalResult]:
    """Newest values of each goal, by number of landmarks, then in order; those of an evaluation in which nobody held it are older."""
    columns = {"eval.aligned.success": "given", "eval.own.success": "own", "eval.own.agreed": "agreed"}
    rows: dict[tuple[int, ...], dict[str, float]] = defaultdict(dict)
    for name, nodes in figures_of_goals.items():
        figure, _, label = name.partition(GOAL)
        landmarks = label.split("-")
        if figure in columns and all(part.isdigit() for part in landmarks):
            rows[tuple(map(int, landmarks))][columns[figure]] = max(
                (points[-1] for points in nodes.values()), key=lambda point: point.time
            ).value
    ordered = sorted(rows.items(), key=lambda row: (len(row[0]), row[0]))
    return [GoalResult("{" + ",".join(map(str, landmarks)) + "}", **values) for landmarks, values in ordered]


def _consensus(summary: RunSummary, series: Series, config: dict[str, Any], stored: dict[str, Any]) -> None:
    exchange = config.get("exchange") or {}
    if not exchange.get("consensus"):
        if (exchange.get("statistics") or {}).get("mode") != "mh":
            return
        summary.averaged = "statistics"
    ratios = [p.value for points in series.get(f"{summary.averaged}.contraction", {}).values() for p in points]
    kept = stored.get("disagreement") or {}
    summary.contraction_measured = statistics.median(ratios) if ratios else kept.get("contraction_median")
    summary.contraction_predicted = kept.get("contraction_predicted") or _predicted(config)
    # The run's own figure, measured over all agents, is the one that counts; agents may keep estimates of their own.
    name = f"{summary.averaged}.disagreement"
    nodes = series.get(name, {})
    if nodes:
        summary.disagreement = curve(name, {"run": nodes["run"]} if "run" in nodes else dict(nodes))


def _predicted(config: dict[str, Any]) -> float | None:
    """rho of the configured graph."""
    from pydantic import ValidationError

    from protocols.topology import topology_settings
    from protocols.topology.communication_graph import make_graph
    from protocols.topology.mixing_rates import rates

    agents = [f"agent-{i}" for i in range(int((config.get("agents") or {}).get("count") or 0))]
    try:
        topology = topology_settings((config.get("network") or {}).get("topology") or {})
        return rates(make_graph(topology, agents, int(config.get("seed") or 0))).contraction if agents else None
    except (ValidationError, ValueError):
        return None


def _time(summary: RunSummary, series: Series, directory: Path) -> None:
    """Share of each part in the time of a node, by its metrics `time.PART`; the slowest part is the largest share of any node, waiting left
    out."""
    shares: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(dict)
    for name, nodes in sorted(series.items()):
        if name.startswith(PREFIX):
            for node, points in nodes.items():
                shares[node][name.removeprefix(PREFIX)] = [(point.time, point.value) for point in points]
    for node, parts in sorted(shares.items()):
        if (found := time_shares(directory / "nodes" / node, parts)) is not None:
            summary.time[node] = found
    busy = [(share, node, part) for node, parts in summary.time.items() for part, share in parts.items() if part not in _NO_WORK]
    if busy:
        share, node, part = max(busy)
        summary.slowest = f"{part} at {node} ({100 * share:.0f} %)"


def _resources(summary: RunSummary, stored: dict[str, Any]) -> None:
    """What `summary.json` says of the use of processors and memory."""
    for name, node in (stored.get("nodes") or {}).items():
        usage = node.get("usage") if isinstance(node, dict) else None
        if isinstance(usage, dict):
            summary.resources[name] = {key: float(v) for key, v in usage.items() if isinstance(v, (int, float))}


def curve_text(c: MetricCurve) -> str:
    """`0.12 -> 0.83 (best 0.85)`."""
    form = figures.decimal if abs(c.last) >= 0.01 or c.last == 0 else figures.small
    best = "" if c.best in (c.last, c.first) else f" (best {form(c.best)} at episode {figures.count(c.best_episode)})"
    return f"{form(c.first)} -> {form(c.last)}{best}" if c.points > 1 else form(c.last)


def after_run(directory: Path) -> str:
    """A run that has just ended in a few lines: evaluation from first to last, where the time went, where to look further."""
    summary = summarize(directory)
    told = [c for c in summary.training if c.name == "convention.accuracy"]
    told += [c for c in summary.evaluation if not c.name.endswith(_DETAILS) or (c.name.endswith(".return") and not summary.goals)]
    lines = [f"{c.name:<34} {curve_text(c)}" for c in (*told, *summary.world_model)]
    if summary.sums:
        lines.append(f"{'statistics':<34} {sums_text(summary)}")
    if summary.contraction_measured is not None:
        predicted = summary.contraction_predicted
        beside = f" (predicted {predicted:.3f})" if predicted is not None else ""
        lines.append(f"{f'{summary.averaged} contraction a round':<34} {summary.contraction_measured:.3f}{beside}")
    if summary.time:
        lines.append(f"{'where the time goes':<34} {time_text(summary)}")
    if summary.restarts:
        lines.append(f"{'restarts':<34} {', '.join(f'{node} {n}' for node, n in summary.restarts.items())}")
    if summary.faults:
        lines.append(f"{'faults':<34} {faults_text(summary.faults)}")
    lines.append(f"{'run directory':<34} {directory}")
    lines.append(f"{'look further':<34} orchestrate show {summary.run}")
    lines += [f"{'':<34} {path}" for path in sorted((directory / "plots").glob("*.svg"))]
    if (directory / "tensorboard").is_dir():
        lines.append(f"{'':<34} tensorboard --logdir {directory / 'tensorboard'}")
    return "\n".join(lines)


def sums_text(summary: RunSummary) -> str:
    """`of 5 agents everywhere, 1.0 MiB taken by an agent a refresh` (ledger), or `of 4 .. 5 agents`."""
    nodes = list(summary.sums.values())
    held = [int(node.get("origins", 0)) for node in nodes]
    text = f"of {min(held)} agents everywhere" if min(held) == max(held) else f"of {min(held)} .. {max(held)} agents"
    if refreshes := [taken for node in nodes if (taken := taken_a_refresh(node)) is not None]:
        text += f", {figures.size(statistics.mean(refreshes))} taken by an agent a refresh"
    return text


def taken_a_refresh(node: dict[str, float]) -> float | None:
    """Bytes of others' statistics for each own publication in this life; None unless they travel in a ledger."""
    published = node.get("published", 0.0)
    return node["bytes_taken"] / published if published and "bytes_taken" in node else None


def faults_text(faults: dict[str, Any]) -> str:
    """`5, recovered within 2.9 s`, or which of them the run did not recover from."""
    records = faults.get("faults") or []
    never = [str(record["id"]) for record in records if record.get("recovery") is None]
    times = [float(record["recovery"]) for record in records if record.get("recovery") is not None]
    if never:
        return f"{len(records)}, not recovered from {', '.join(never)} before the end"
    return f"{len(records)}, recovered within {max(times):.1f} s" if times else str(len(records))


def time_text(summary: RunSummary) -> str:
    """Mean shares of the agents' time, largest first: `learn 41 %  act 22 %  wait 20 %`."""
    agents = [parts for node, parts in summary.time.items() if node.startswith("agent")]
    names = sorted({part for parts in agents for part in parts})
    means = {name: sum(parts.get(name, 0.0) for parts in agents) / len(agents) for name in names}
    return "  ".join(f"{name} {100 * share:.0f} %" for name, share in sorted(means.items(), key=lambda item: -item[1]) if share >= 0.005)
