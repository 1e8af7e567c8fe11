"""Drawings of communication graphs: agents placed by kind of graph, arrows for directions, a panel a round; large graphs as a matrix."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.report.charts.chart_style import INK, PAPER, QUIET, Picture, drawing
from protocols.topology.communication_graph import Graph
from protocols.topology.settings import GridSettings, MatchingsSettings, TopologySettings, TorusSettings, TreeSettings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Point = tuple[float, float]
DRAWN = 100
"""agents up to which the graph is drawn with nodes and edges"""
PANELS = 8
"""rounds of a changing graph that are drawn"""
_SPACING = 90.0
"""of agents, points; there are 72 in an inch"""
_MARGIN = 78.0
"""for the names of the outermost agents, points"""
_EDGE, _NODE = "#8793a8", "#2f6bd0"
_DOTS = 1000
"""side of the largest matrix of dots"""


def picture(graph: Graph, settings: TopologySettings, title: str) -> Picture:
    """The graph; `title` is written over it."""
    if len(graph.agents) > DRAWN:
        return _matrix(graph, title)
    places = layout(graph, settings)
    rounds = range(min(PANELS, graph.period if graph.period is not None else PANELS)) if graph.changes else range(1)
    across = min(len(rounds), 4)
    (left, top), (right, bottom) = np.min(places, axis=0) - _MARGIN, np.max(places, axis=0) + _MARGIN
    width = max(across * (right - left) / 72, 0.1 * len(title))
    height = math.ceil(len(rounds) / across) * ((bottom - top) / 72 + 0.3 * graph.changes) + 0.4
    with drawing(height, len(rounds), across, width=width) as (figure, axes):
        for number, one in zip(rounds, axes, strict=True):
            _panel(one, graph, places, number)
            one.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", title=f"round {number}" if graph.changes else "")
            one.axis("off")
        figure.suptitle(title, fontsize=11)
    edges = ", ".join(f"{a} {'to' if graph.directed else 'and'} {b}" for a, b in graph.union_edges)
    return Picture("topology", title, f"{title}. Edges: {edges or 'none'}.", figure)


# --- where agents stand -------------------------------------------------------------------------------------------------------------


def layout(graph: Graph, settings: TopologySettings) -> list[Point]:
    """Where each agent stands: on a line, a grid, a tree or a circle as its kind has it; others so that edges are of like length."""
    n = len(graph.agents)
    if isinstance(settings, MatchingsSettings):
        return layout(graph, settings.base)
    if settings.kind == "path":
        return _rows(n, n if n <= 12 else math.ceil(math.sqrt(2 * n)), snake=True)
    if isinstance(settings, (GridSettings, TorusSettings)):
        from protocols.topology.fixed_graphs import rows_of

        return _rows(n, n // rows_of(settings.rows, n))
    if isinstance(settings, TreeSettings):
        return _tree(n, settings.branching)
    if settings.kind == "star":
        return [(0.0, 0.0), *_circle(n - 1)][:n]
    if settings.kind in ("erdos_renyi", "random_regular", "edges") and n > 3:
        return _sprung(graph)
    return _circle(n)


def _rows(n: int, columns: int, snake: bool = False) -> list[Point]:
    places = []
    for i in range(n):
        row, column = divmod(i, columns)
        places.append(((columns - 1 - column if snake and row % 2 else column) * _SPACING, row * _SPACING))
    return places


def _circle(n: int) -> list[Point]:
    radius = max(0.9 * _SPACING, (_SPACING if n <= 24 else 0.5 * _SPACING) * n / (2 * math.pi))
    angles = [2 * math.pi * i / max(1, n) - math.pi / 2 for i in range(n)]
    return [(radius * math.cos(a), radius * math.sin(a)) for a in angles]


def _tree(n: int, branching: int) -> list[Point]:
    """Agent i hangs below agent (i - 1) // branching, and parents stand over the middle of their children."""
    depth = [0] * n
    for i in range(1, n):
        depth[i] = depth[(i - 1) // branching] + 1
    # From left to right: the last row comes first, behind it those of the row above that have no children.
    leaves = sorted((i for i in range(n) if i * branching + 1 >= n), key=lambda i: -depth[i])
    x = {leaf: rank * 0.75 * _SPACING for rank, leaf in enumerate(leaves)}
    for i in reversed(range(n - len(leaves))):
        x[i] = (x[i * branching + 1] + x[min(n - 1, (i + 1) * branching)]) / 2
    return [(x[i], depth[i] * 1.1 * _SPACING) for i in range(n)]


def _sprung(graph: Graph) -> list[Point]:
    import networkx as nx

    whole = nx.Graph()
    whole.add_nodes_from(graph.agents)
    whole.add_edges_from(graph.neighbours)
    size = _SPACING * math.sqrt(len(graph.agents)) * 0.75
    found = nx.kamada_kawai_layout(whole, scale=size) if nx.is_connected(whole) else nx.spring_layout(whole, scale=size, seed=0)
    return [(float(x), float(y)) for x, y in (found[agent] for agent in graph.agents)]


# --- lines, arrows, names -----------------------------------------------------------------------------------------------------------


def _panel(axes: Axes, graph: Graph, places: list[Point], number: int) -> None:
    from matplotlib.patches import FancyArrowPatch

    n = len(places)
    radius = 15.0 if n <= 16 else 11.0 if n <= 40 else 7.0
    pairs = graph.links(number).pairs.tolist()
    both = {(i, j) for i, j in pairs if graph.directed and [j, i] in pairs}
    for i, j in pairs:
        axes.add_patch(
            FancyArrowPatch(
                places[i], places[j], arrowstyle="-|>" if graph.directed else "-", mutation_scale=11, color=_EDGE, shrinkA=0,
                connectionstyle=f"arc3,rad={_bow(places, i, j, (i, j) in both)}", shrinkB=radius if graph.directed else 0,
                linewidth=1.8 if n <= 40 else 1.2, alpha=1.0 if len(pairs) <= 4 * n else max(0.25, 4 * n / len(pairs)), zorder=1,
            )
        )  # fmt: skip
    x, y = zip(*places, strict=True)
    axes.scatter(x, y, s=(2 * radius) ** 2, color=_NODE, zorder=2)
    middle = np.mean(places, axis=0)
    for agent, place in zip(graph.agents, places, strict=True):
        _name(axes, agent, place, middle if _round(places) else np.array(place), radius, 9 if n <= 40 else 7)


def _bow(places: list[Point], i: int, j: int, double: bool) -> float:
    """How far a line bends, as a share of its length: 0 unless it would run over other agents or over the way back."""
    (x1, y1), (x2, y2) = places[i], places[j]
    length = math.hypot(x2 - x1, y2 - y1) or 1.0
    ux, uy = (x2 - x1) / length, (y2 - y1) / length
    over = any(
        0 < (x - x1) * ux + (y - y1) * uy < length and abs((x - x1) * uy - (y - y1) * ux) < 4
        for k, (x, y) in enumerate(places)
        if k not in (i, j)
    )
    return 0.12 + 14 / length if over else 0.12 if double else 0.0


def _round(places: list[Point]) -> bool:
    """Whether agents stand on a circle, perhaps one in its middle."""
    distances = sorted(math.hypot(x, y) for x, y in places)
    return len(places) > 2 and distances[-1] - distances[1] < 1e-6 * distances[-1]


def _name(axes: Axes, agent: str, place: Point, middle: np.ndarray[Any, Any], radius: float, size: float) -> None:
    """Outside of the circle on which the agents stand, otherwise below the agent."""
    away = np.array(place) - middle
    distance = float(np.hypot(*away))
    ux, uy = away / distance if distance >= 1 else (0.0, 1.0)
    across = "center" if abs(ux) < 0.3 else "left" if ux > 0 else "right"
    ground = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.7, "pad": 0.5}
    axes.text(
        place[0] + ux * (radius + 6), place[1] + uy * (radius + 12), agent, ha=across, va="center", fontsize=size, color=INK, bbox=ground
    )


# --- large graphs -------------------------------------------------------------------------------------------------------------------


def _matrix(graph: Graph, title: str) -> Picture:
    """Row i, column j is dark where i sends to j in any round (the share of such pairs, where one dot stands for several agents)."""
    n = len(graph.agents)
    side = min(n, _DOTS)
    counts = np.zeros((side, side))
    cell = (graph.union.arcs * side) // n
    np.add.at(counts, (cell[:, 0], cell[:, 1]), 1.0)
    span = f"{graph.agents[0]} ... {graph.agents[-1]}"
    with drawing(9.0, width=9.0) as (figure, (axes,)):
        axes.imshow(np.sqrt(counts / max(1.0, counts.max())), cmap="Greys", vmin=0.0, vmax=1.0, interpolation="none")
        axes.set(xticks=[], yticks=[], xlabel=f"to: {span}", ylabel=f"from: {span}", title=title)
        for spine in axes.spines.values():
            spine.set(visible=True, color=QUIET)
    return Picture("topology", title, f"{title}. A matrix of {side} by {side} dots: dark where a row's agent sends to a column's.", figure)
