"""The results of a run in numbers: training, evaluation, world models, consensus, time, links, restarts. Unmeasured ones are absent."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from orchestrator.results import number_text as numbers
from orchestrator.results import run_directories as runs
from orchestrator.results.metric_series import ENVIRONMENT, EVALUATION, GOAL, RUN, MetricCurve, NodeSeries, Series, mean_curve, pooled
from orchestrator.results.recorded_run import RecordedRun

SUMS = "statistics."
TRAINING = ("return.normalised", "success.individual", "success.cooperative", "aligned", "negotiated", "goals.pursued_entropy", "length")
"""training metrics of the environment server that are shown"""
_DETAILS = (".episodes", ".length", ".return", ".return.normalised", ".published")
"""endings of the names of metrics that only `show` prints"""


@dataclass(frozen=True)
class GoalResult:
    """A goal in the newest evaluation; shares from 0 to 1, None without an episode."""

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
    """Metrics, counters and durations of a run, from its files."""

    run: str
    directory: str
    state: str
    exit_code: int | None
    reason: str
    started: str | None
    elapsed: float | None
    seed: int | None = None
    agents: int = 1
    """number of agents in the configuration"""
    training: list[MetricCurve] = field(default_factory=list)
    """of the environment server, and accuracy of the convention"""
    evaluation: list[MetricCurve] = field(default_factory=list)
    last_evaluation: str = ""
    """how many episodes the last evaluation has, where it was cut short"""
    goals: list[GoalResult] = field(default_factory=list)
    world_model: list[MetricCurve] = field(default_factory=list)
    sums: dict[str, dict[str, float]] = field(default_factory=dict)
    """agent -> newest `statistics.*`, where statistics are summed"""
    averaged: str = "consensus"
    """what the next three are about: consensus on parameters, or else `statistics` that are averaged"""
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
    """`summary.json`'s section of that name: records, times of absence, metrics"""
    verdict: dict[str, Any] = field(default_factory=dict)
    """`verdict.json`"""
    learning_warnings: dict[str, list[str]] = field(default_factory=dict)
    """text of a warning about learning -> nodes that gave it"""

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values."""
        return asdict(self)


def summarize(recorded: RecordedRun) -> RunSummary:
    """The summary of a run, finished or not."""
    run, series, stored = runs.read(recorded.directory), recorded.series, recorded.summary
    started, seed = run.record.get("started"), recorded.configuration.get("seed")
    summary = RunSummary(run.name, str(run.directory), run.state, run.exit_code, run.reason, started, run.elapsed, seed)
    summary.agents = int((recorded.configuration.get("agents") or {}).get("count") or 1)
    summary.training = _training(series)
    evaluation = {name: nodes for name, nodes in sorted(series.items()) if name.startswith(EVALUATION)}
    summary.evaluation = [mean_curve(name, nodes) for name, nodes in evaluation.items() if GOAL not in name]
    if (cut := recorded.cut_evaluation) is not None:
        summary.last_evaluation = f"{cut['episodes']} of {cut['planned']} episodes, cut short after {cut['seconds']:.3g} s"
    summary.goals = _goals({name: nodes for name, nodes in evaluation.items() if GOAL in name})
    summary.world_model = [mean_curve(name, nodes) for name, nodes in sorted(series.items()) if name.startswith("world_model.error")]
    for name, nodes in sorted(series.items()):
        for node, points in nodes.items() if name.startswith(SUMS) else ():
            if node != RUN:
                summary.sums.setdefault(node, {})[name.removeprefix(SUMS)] = points[-1].value
    _consensus(summary, series, recorded.configuration, stored)
    summary.time = recorded.time_shares
    if recorded.slowest is not None:
        share, node, part = recorded.slowest
        summary.slowest = f"{part} at {node} ({100 * share:.0f} %)"
    for name, record in (stored.get("nodes") or {}).items():
        usage = record.get("usage") if isinstance(record, dict) else None
        if isinstance(usage, dict):
            summary.resources[name] = {key: float(value) for key, value in usage.items() if isinstance(value, (int, float))}
    summary.wire = {node: dict(counters) for node, counters in (stored.get("wire") or {}).items()}
    summary.links = [link for link in stored.get("links") or [] if isinstance(link, dict)]
    summary.faults = stored.get("faults") or {}
    summary.verdict = recorded.verdict
    for event in recorded.events:
        if event.get("severity") == "warning" and str(event.get("code", "")).startswith("learner."):
            givers = summary.learning_warnings.setdefault(str(event.get("text", "")), [])
            if (giver := str(event.get("node", ""))) not in givers:
                givers.append(giver)
    summary.restarts = {node: len(lines) - 1 for node, lines in recorded.incarnations.items() if len(lines) > 1}
    return summary


def _training(series: Series) -> list[MetricCurve]:
    """Metrics of the environment server (raw returns where there are no normalised ones), pooled; then the accuracy of the convention."""
    normalised = ENVIRONMENT in series.get("return.normalised", {})
    names = TRAINING if normalised else ("return", *TRAINING)
    found = [mean_curve(name, {ENVIRONMENT: pooled(series, name)}) for name in names if ENVIRONMENT in series.get(name, {})]
    if RUN in series.get("convention.accuracy", {}):
        found.append(mean_curve("convention.accuracy", {RUN: series["convention.accuracy"][RUN]}))
    return found


def _goals(metrics_of_goals: dict[str, NodeSeries]) -> list[GoalResult]:
    """Newest values of each goal, by number of landmarks, then in order."""
    columns = {"eval.aligned.success": "given", "eval.own.success": "own", "eval.own.agreed": "agreed"}
    rows: dict[tuple[int, ...], dict[str, float]] = defaultdict(dict)
    for name, nodes in metrics_of_goals.items():
        metric, _, label = name.partition(GOAL)
        landmarks = label.split("-")
        if metric in columns and all(part.isdigit() for part in landmarks):
            newest = max((points[-1] for points in nodes.values()), key=lambda point: point.time)
            rows[tuple(map(int, landmarks))][columns[metric]] = newest.value
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
        summary.disagreement = mean_curve(name, {RUN: nodes[RUN]} if RUN in nodes else nodes)


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


def curve_text(c: MetricCurve) -> str:
    """`0.12 -> 0.83 (best 0.85)`."""
    form = numbers.decimal if abs(c.last) >= 1e-3 or c.last == 0 else numbers.small
    best = "" if c.best in (None, c.last, c.first) else f" (best {form(c.best)} at episode {numbers.count(c.best_episode)})"
    return f"{form(c.first)} -> {form(c.last)}{best}" if c.points > 1 else form(c.last)


def heading(c: MetricCurve, agents: int) -> str:
    """The name of a metric of the environment server, with what it is of where it is a sum: `eval.own.return (all members)`."""
    total = c.name.rpartition(".")[2] == "return" or c.name.endswith("return.environment")
    return f"{c.name} (all members)" if total and agents > 1 else c.name


def after_run(directory: Path) -> str:
    """A run that has just ended in a few lines: evaluation from first to last, where the time went, where to look further."""
    summary = summarize(RecordedRun(directory))
    shown = [c for c in summary.training if c.name == "convention.accuracy"]
    shown += [c for c in summary.evaluation if not c.name.endswith(_DETAILS) or (c.name.endswith(".return") and not summary.goals)]
    lines = [f"{heading(c, summary.agents):<34} {curve_text(c)}" for c in (*shown, *summary.world_model)]
    if summary.last_evaluation:
        lines.append(f"{'last evaluation':<34} {summary.last_evaluation}")
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
    lines += [f"{'warning':<34} {', '.join(nodes)}: {text}" for text, nodes in summary.learning_warnings.items()]
    lines.append(f"{'run directory':<34} {directory}")
    lines.append(f"{'look further':<34} orchestrate show {summary.run}")
    lines += [f"{'':<34} {path}" for path in sorted((directory / "plots").glob("*.svg"))]
    if (directory / "tensorboard").is_dir():
        cure = "" if find_spec("tensorboard") is not None else "   (first: pip install 'murmuration-rl[tensorboard]')"
        lines.append(f"{'':<34} tensorboard --logdir {directory / 'tensorboard'}{cure}")
    return "\n".join(lines)


def sums_text(summary: RunSummary) -> str:
    """`of 5 agents everywhere, 1.0 MiB taken by an agent a refresh` (ledger), or `of 4 .. 5 agents`."""
    nodes = list(summary.sums.values())
    held = [int(node.get("origins", 0)) for node in nodes]
    text = f"of {min(held)} agents everywhere" if min(held) == max(held) else f"of {min(held)} .. {max(held)} agents"
    if refreshes := [taken for node in nodes if (taken := taken_a_refresh(node)) is not None]:
        text += f", {numbers.size(statistics.mean(refreshes))} taken by an agent a refresh"
    return text


def taken_a_refresh(node: dict[str, float]) -> float | None:
    """Bytes of others' statistics for each own publication in this incarnation; None unless they travel in a ledger."""
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
