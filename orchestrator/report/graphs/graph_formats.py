"""The communication graph of a configuration as SVG and JSON, and for other programs."""

from __future__ import annotations

import json

from orchestrator.config.configuration import Configuration
from orchestrator.launch.placement import node_requests
from orchestrator.report.graphs.dry_run_summary import communication
from orchestrator.report.graphs.graph_svg import picture
from protocols.topology.mixing_rates import rates


def to_json(configuration: Configuration) -> str:
    """`{"name", "kind", "directed", "period", "nodes", "edges", "connected", "spectral_gap", "placement"}`; `edges` are those of all
    rounds, the placement is each node's role and needs."""
    graph = communication(configuration)
    forth, back = graph.cut_off()
    content = {
        "name": configuration.name,
        "kind": configuration.network.topology.kind,
        "directed": graph.directed,
        "period": graph.period,
        "nodes": list(graph.agents),
        "edges": [list(edge) for edge in graph.union_edges],
        "connected": not forth and not back,
        "spectral_gap": rates(graph).gap,
        "placement": [
            {"node": node.name, "role": node.role, "engine": configuration.launch.engine, "cores": node.cores, "memory": node.memory}
            for node in node_requests(configuration)
        ],
    }
    return json.dumps(content, indent=2) + "\n"


def to_dot(configuration: Configuration) -> str:
    """The communication graph in the DOT language of Graphviz."""
    graph = communication(configuration)
    kind, mark = ("digraph", "->") if graph.directed else ("graph", "--")
    lines = [f'{kind} "{configuration.name}" {{', "  node [shape=box];"]
    lines += [f'  "{node}";' for node in graph.agents]
    lines += [f'  "{a}" {mark} "{b}";' for a, b in graph.union_edges]
    return "\n".join([*lines, "}"]) + "\n"


def to_mermaid(configuration: Configuration) -> str:
    """The communication graph as a Mermaid diagram, which some Markdown viewers draw."""
    graph = communication(configuration)
    ids = {node: f"n{index}" for index, node in enumerate(graph.agents)}
    mark = "-->" if graph.directed else "---"
    lines = ["graph LR"] + [f'  {ids[node]}["{node}"]' for node in graph.agents]
    return "\n".join([*lines, *(f"  {ids[a]} {mark} {ids[b]}" for a, b in graph.union_edges)]) + "\n"


def to_svg(configuration: Configuration) -> str:
    """A drawing that stands alone, as `orchestrate topology -o` writes it."""
    graph, topology = communication(configuration), configuration.network.topology
    title = f"{configuration.name}: {topology.kind} of {len(graph.agents)}, spectral gap {rates(graph).gap:.3f}"
    return picture(graph, topology, title).svg
