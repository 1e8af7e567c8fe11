"""The final figures of a run, read from its files: `summary.json`."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.config.configuration import Configuration
from orchestrator.results.run_files import figure_files, read_lines
from orchestrator.results.time_shares import PREFIX, time_shares
from protocols.runtime.traffic_files import read_links, read_wire
from protocols.topology.communication_graph import make_graph
from protocols.topology.mixing_rates import rates

_IDLE = ("wait", "other")
_EVALUATION = ("eval.", "evaluation.")
_LAST_SHARE = 10


def summarize(
    directory: Path, configuration: Configuration, run: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """`run` are facts of the whole run, `nodes` those of each node that its files don't tell (restarts, state)."""
    points: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for path in figure_files(directory):
        points.setdefault(path.parent.name, {}).update(_read(path))
    rows = {node: {name: [value for _, value in series] for name, series in figures.items()} for node, figures in points.items()}
    usage = _usage(directory)
    result: dict[str, Any] = {**run, "nodes": {}, "evaluation": {}}
    for name in sorted({*nodes, *rows}):
        figures = rows.get(name, {})
        result["nodes"][name] = {
            **nodes.get(name, {}),
            "metrics": {metric: _final(values) for metric, values in figures.items()},
            "usage": usage.get(name),
            "time": _time(directory / "nodes" / name, points.get(name, {})),
        }
        evaluation = {metric: [values[0], values[-1]] for metric, values in figures.items() if metric.startswith(_EVALUATION) and values}
        for metric, (first, last) in evaluation.items():
            result["evaluation"][metric] = {"first": first, "last": last}
    result["disagreement"] = _disagreement(configuration, rows.get("run", {}))
    result["links"] = link_table(directory)
    result["wire"] = wire_table(directory)
    result["slowest"] = _slowest(result["nodes"])
    return result


def _time(node: Path, figures: Mapping[str, list[tuple[float, float]]]) -> dict[str, float] | None:
    return time_shares(node, {name.removeprefix(PREFIX): points for name, points in figures.items() if name.startswith(PREFIX)})


def link_table(directory: Path) -> list[dict[str, Any]]:
    """One row per node, channel and peer, from the nodes' `links.json`, added up over their lives."""
    return [{"node": node.name, **link} for node in _homes(directory) for link in read_links(node)]


def wire_table(directory: Path) -> dict[str, dict[str, int]]:
    """What the nodes refused, dropped and repeated, by node and counter, from their `wire.json`, added up over their lives."""
    return {node.name: counters for node in _homes(directory) if (counters := read_wire(node))}


def _homes(directory: Path) -> list[Path]:
    return sorted(path for path in (directory / "nodes").glob("*") if path.is_dir())


def _read(path: Path) -> dict[str, list[tuple[float, float]]]:
    """(time, value) by name."""
    values: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for line in read_lines(path):
        name, value = line.get("name"), line.get("value")
        if isinstance(name, str) and isinstance(value, (int, float)) and not isinstance(value, bool):
            values[name].append((float(line.get("t") or 0), float(value)))
    return values


def _final(values: list[float]) -> dict[str, float | int]:
    tail = values[-max(1, len(values) // _LAST_SHARE) :]
    return {"last": values[-1], "mean_of_last_tenth": sum(tail) / len(tail), "samples": len(values)}


def _usage(directory: Path) -> dict[str, dict[str, Any]]:
    """Of every node, added up over the hosts it ran on (memory: the largest)."""
    result: dict[str, dict[str, Any]] = {}
    for path in sorted((directory / "hosts").glob("*.usage.json")):
        try:
            nodes = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        for name, usage in nodes.items():
            known = result.setdefault(name, {"cpu_seconds": 0.0, "peak_resident": 0, "proportional": 0})
            known["cpu_seconds"] += usage["cpu_seconds"]
            known["peak_resident"] = max(known["peak_resident"], usage["peak_resident"])
            known["proportional"] = max(known["proportional"], usage["proportional"])
    return result


def _disagreement(configuration: Configuration, figures: Mapping[str, list[float]]) -> dict[str, Any] | None:
    """Measured against predicted contraction of one averaging round, of parameters or else of sums; None where nothing was averaged."""
    of = "statistics" if configuration.exchange.consensus is None else "consensus"
    measured = figures.get(f"{of}.contraction")
    if not measured:
        return None
    predicted = rates(make_graph(configuration.network.topology, configuration.agent_names(), configuration.seed)).contraction
    median = statistics.median(measured)
    disagreement = figures.get(f"{of}.disagreement", [])
    return {
        "of": of,
        "rounds": len(disagreement),
        "first": disagreement[0] if disagreement else None,
        "last": disagreement[-1] if disagreement else None,
        "contraction_median": median,
        "contraction_predicted": predicted,
        "ratio": median / predicted if predicted > 1e-9 else None,
    }


def _slowest(nodes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """The activity in which a node spends the largest share of its time; waiting does not count."""
    found = [
        (share, name, part)
        for name, node in nodes.items()
        for part, share in (node.get("time") or {}).items()
        if part not in _IDLE and share > 0
    ]
    if not found:
        return None
    share, name, part = max(found)
    return {"node": name, "part": part, "share": share}
