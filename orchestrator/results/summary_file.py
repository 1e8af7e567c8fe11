"""The final metrics of a run, read from its files: `summary.json`."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.config.configuration import Configuration
from orchestrator.results.metric_series import RUN
from orchestrator.results.recorded_run import RecordedRun
from orchestrator.results.run_files import read_json
from protocols.runtime.telemetry import read_links, read_wire
from protocols.topology.communication_graph import make_graph
from protocols.topology.mixing_rates import rates

_EVALUATION = ("eval.", "evaluation.")
_LAST_SHARE = 10


def summarize(
    directory: Path, configuration: Configuration, run: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """`run` are facts of the whole run, `nodes` those of each node that its files don't have (restarts, state)."""
    recorded = RecordedRun(directory)
    rows: dict[str, dict[str, list[float]]] = defaultdict(dict)
    for metric, by_node in recorded.series.items():
        for name, points in by_node.items():
            rows[name][metric] = [point.value for point in points]
    usage = _usage(directory)
    result: dict[str, Any] = {**run, "nodes": {}, "evaluation": {}}
    for name in sorted({*nodes, *rows}):
        metrics = rows.get(name, {})
        result["nodes"][name] = {
            **nodes.get(name, {}),
            "metrics": {metric: _final(values) for metric, values in metrics.items()},
            "usage": usage.get(name),
            "time": recorded.time_shares.get(name),
        }
        for metric, values in metrics.items():
            if metric.startswith(_EVALUATION):
                result["evaluation"][metric] = {"first": values[0], "last": values[-1]}
    result["last_evaluation"] = recorded.cut_evaluation
    result["disagreement"] = _disagreement(configuration, rows.get(RUN, {}))
    result["links"] = link_table(directory)
    result["wire"] = wire_table(directory)
    result["slowest"] = dict(zip(("share", "node", "part"), recorded.slowest, strict=True)) if recorded.slowest is not None else None
    return result


def link_table(directory: Path) -> list[dict[str, Any]]:
    """One row per node, channel and peer, from the nodes' `links.json`, added up over their incarnations."""
    return [{"node": node.name, **link} for node in _homes(directory) for link in read_links(node)]


def wire_table(directory: Path) -> dict[str, dict[str, int]]:
    """What the nodes refused, dropped and repeated, by node and counter, from their `wire.json`, added up over their incarnations."""
    return {node.name: counters for node in _homes(directory) if (counters := read_wire(node))}


def _homes(directory: Path) -> list[Path]:
    return sorted(path for path in (directory / "nodes").glob("*") if path.is_dir())


def _final(values: list[float]) -> dict[str, float | int]:
    tail = values[-max(1, len(values) // _LAST_SHARE) :]
    return {"last": values[-1], "mean_of_last_tenth": sum(tail) / len(tail), "samples": len(values)}


def _usage(directory: Path) -> dict[str, dict[str, Any]]:
    """Of every node, added up over the hosts it ran on (memory: the largest)."""
    result: dict[str, dict[str, Any]] = {}
    for path in sorted((directory / "hosts").glob("*.usage.json")):
        for name, usage in read_json(path).items():
            known = result.setdefault(name, {"cpu_seconds": 0.0, "peak_resident": 0, "proportional": 0})
            known["cpu_seconds"] += usage["cpu_seconds"]
            known["peak_resident"] = max(known["peak_resident"], usage["peak_resident"])
            known["proportional"] = max(known["proportional"], usage["proportional"])
    return result


def _disagreement(configuration: Configuration, metrics: Mapping[str, list[float]]) -> dict[str, Any] | None:
    """Measured against predicted contraction of one averaging round, of parameters or else of sums; None where nothing was averaged."""
    of = "statistics" if configuration.exchange.consensus is None else "consensus"
    measured = metrics.get(f"{of}.contraction")
    if not measured:
        return None
    predicted = rates(make_graph(configuration.network.topology, configuration.agent_names(), configuration.seed)).contraction
    median = statistics.median(measured)
    disagreement = metrics.get(f"{of}.disagreement", [])
    return {
        "of": of,
        "rounds": len(disagreement),
        "first": disagreement[0] if disagreement else None,
        "last": disagreement[-1] if disagreement else None,
        "contraction_median": median,
        "contraction_predicted": predicted,
        "ratio": median / predicted if predicted > 1e-9 else None,
    }
