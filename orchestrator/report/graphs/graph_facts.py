"""What there is to know of a communication graph before anything runs on it."""

from __future__ import annotations

from typing import Any

import numpy as np

from protocols.topology.communication_graph import Graph
from protocols.topology.mixing_rates import rates

_PATHS = 3e7
"""(agents x edges) up to which all shortest paths are measured; beyond, those of some agents"""
_SOURCES = 32
_DIRECTED = 200
"""agents up to which the loss of each one is tried in a directed graph"""
_ROUNDS = 64
"""rounds over which a changing graph's messages are counted, where its period is longer or it has none"""


def graph_facts(graph: Graph) -> dict[str, Any]:
    """`{"agents", "edges", "directed", "period", "connected", "degree": {"min", "mean", "max"}, "messages", "diameter", "average_path",
    "paths_from", "critical", "spectral_gap", "contraction", "rounds", "exact", "rate_is"}`.

    Of a changing graph edges, degrees and paths are those of all rounds together. `degree` counts receivers. `messages` sent in a round
    (mean) if each agent writes to all receivers. `paths_from`: agents with measured shortest paths. `critical`: agents whose loss cuts
    others off (None: not examined). `rounds` until the disagreement is a millionth, `exact` until it is none (None: never).
    """
    n, union = len(graph.agents), graph.union
    forth, back = graph.cut_off()
    connected = not forth and not back
    degrees = union.out_degrees
    span = graph.period if graph.period is not None and graph.period <= _ROUNDS else _ROUNDS
    messages = float(np.mean([len(graph.links(t).arcs) for t in range(span)]))
    diameter, average, sources = _paths(graph) if connected and n > 1 else (None, None, 0)
    speed = rates(graph)
    return {
        "agents": n,
        "edges": len(union.pairs),
        "directed": graph.directed,
        "period": graph.period,
        "connected": connected,
        "degree": {"min": int(degrees.min()), "mean": float(degrees.mean()), "max": int(degrees.max())},
        "messages": messages,
        "diameter": diameter,
        "average_path": average,
        "paths_from": sources,
        "critical": critical(graph) if connected else None,
        "spectral_gap": speed.gap,
        "contraction": speed.contraction,
        "rounds": speed.rounds,
        "exact": speed.exact,
        "rate_is": speed.how,
    }


def _paths(graph: Graph) -> tuple[int, float, int]:
    """(diameter, mean length of shortest paths, agents that they were measured from)."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import dijkstra

    n, arcs = len(graph.agents), graph.union.arcs
    if len(arcs) == n * (n - 1):
        return 1, 1.0, n
    matrix = csr_array((np.ones(len(arcs)), (arcs[:, 0], arcs[:, 1])), shape=(n, n))
    sources = np.arange(n) if n * len(arcs) <= _PATHS else np.linspace(0, n - 1, _SOURCES).astype(int)
    lengths = dijkstra(matrix, unweighted=True, indices=sources)
    return int(lengths.max()), float(lengths.sum() / (len(sources) * (n - 1))), len(sources)


def critical(graph: Graph) -> list[str] | None:
    """Agents without whom some of the others could not reach each other: articulation points of the union of all rounds. None where a
    directed graph is too large to try each."""
    import networkx as nx

    n, whole = len(graph.agents), nx.DiGraph() if graph.directed else nx.Graph()
    if graph.directed and n > _DIRECTED:
        return None
    whole.add_nodes_from(range(n))
    whole.add_edges_from(graph.union.pairs.tolist())
    if not graph.directed:
        found = sorted(nx.articulation_points(whole))
    else:
        found = [i for i in range(n) if n > 2 and not nx.is_strongly_connected(nx.restricted_view(whole, [i], []))]
    return [graph.agents[i] for i in found]


def fact_lines(name: str, kind: str, facts: dict[str, Any]) -> list[tuple[str, str]]:
    """(label, text) for a reader."""
    degree, period = facts["degree"], facts["period"]
    together = ", over all rounds" if period != 1 else ""
    spread = f"{degree['min']}"
    if degree["min"] != degree["max"]:
        spread += f" / {degree['mean']:.3g} / {degree['max']} (min / mean / max)"
    lines = [
        ("graph", f"{kind} of {facts['agents']:,} agents ({name})"),
        ("edges", f"{facts['edges']:,} {'directed' if facts['directed'] else 'undirected'}{together}"),
        ("degree", f"{spread}{together}"),
    ]
    if period != 1:
        lines.append(("changes", f"every round, {f'again after {period:,}' if period is not None else 'never the same again'}"))
    lines.append(("messages", f"{facts['messages']:,.0f} a round"))
    if not facts["connected"]:
        return [*lines, ("connected", "no: the parts can never agree")]
    if facts["diameter"] is not None:
        some = facts["paths_from"] < facts["agents"]
        where = f" (from {facts['paths_from']} agents)" if some else ""
        least = "at least " if some else ""
        lines.append(("diameter", f"{least}{facts['diameter']:,}, average path {facts['average_path']:.3g}{where}{together}"))
    lines.append(("loss of one", _loss(facts)))
    lines.append(("spectral gap", f"{facts['spectral_gap']:.4g}, contraction {facts['contraction']:.6g} a round ({facts['rate_is']})"))
    if facts["exact"] is not None:
        lines.append(("agreement", f"exact after {facts['exact']} round{'s' if facts['exact'] != 1 else ''}"))
    elif facts["rounds"] is not None:
        lines.append(("agreement", f"to a millionth after {facts['rounds']:,} rounds"))
    return lines


def _loss(facts: dict[str, Any]) -> str:
    lost = facts["critical"]
    if lost is None:
        return "not examined"
    if not lost:
        return "no agent is cut off"
    who = ", ".join(lost[:6]) + (f" and {len(lost) - 6} more" if len(lost) > 6 else "")
    return f"without {who} others are cut off" if len(lost) == 1 else f"without any of {who} others are cut off"
