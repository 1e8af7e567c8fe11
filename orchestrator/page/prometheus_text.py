"""The newest values of live runs in the text format of Prometheus (version 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.page.followed_run import FollowedRun

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_HELP = {
    "murmuration_node_up": "Whether a node is up (1) or not (0).",
    "murmuration_node_restarts": "Times that a node was started again.",
    "murmuration_steps": "Environment steps of the run.",
    "murmuration_seconds": "Seconds since the run started.",
    "murmuration_edge_bytes_per_second": "Bytes a second over an edge, both ways.",
    "murmuration_edge_cut": "Whether a fault cuts an edge (1) or not (0).",
    "murmuration_metric": "Newest value of a metric of a node.",
}


def exposition(followed: Iterable[FollowedRun]) -> str:
    """The text for these runs."""
    samples: dict[str, list[str]] = {name: [] for name in _HELP}

    def add(sample: str, value: float | None, **labels: str) -> None:
        if value is not None:
            inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
            samples[sample].append(f"{sample}{{{inside}}} {float(value):.10g}")

    for run in followed:
        state = run.published.state or run.state(None)
        add("murmuration_seconds", state["t"], run=run.id)
        add("murmuration_steps", state["step"], run=run.id)
        for node, one in state["nodes"].items():
            add("murmuration_node_up", float(one["state"] == "up"), run=run.id, node=node)
            add("murmuration_node_restarts", one["restarts"], run=run.id, node=node)
        for name, one in state["edges"].items():
            add("murmuration_edge_bytes_per_second", one["bytes_per_s"], run=run.id, edge=name)
            add("murmuration_edge_cut", float(one["cut"]), run=run.id, edge=name)
        with run.lock:
            for node, metrics in run.history.metrics.nodes.items():
                for metric, series in metrics.items():
                    add("murmuration_metric", series.value(), run=run.id, node=node, name=metric)
    lines: list[str] = []
    for name, found in samples.items():
        if found:
            lines += [f"# HELP {name} {_HELP[name]}", f"# TYPE {name} gauge", *found]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
