"""Communication graphs as SVG: agents where their kind puts them, arrows for directions, a panel a round; large ones as a matrix."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Iterable
from html import escape

import numpy as np
from numpy.typing import NDArray

from orchestrator.report.graphs.graph_facts import union_pairs
from protocols.topology.communication_graph import Graph
from protocols.topology.settings import GridSettings, MatchingsSettings, TopologySettings, TorusSettings, TreeSettings

Point = tuple[float, float]
DRAWN = 100
"""agents up to which the graph is drawn with nodes and edges"""
PANELS = 8
"""rounds of a changing graph that are drawn"""
_SPACING = 90.0
_FONT = "font-family=\"'Inter','Segoe UI','Helvetica Neue',Arial,sans-serif\""
_EDGE, _NODE, _TEXT, _QUIET = "#8793a8", "#2f6bd0", "#1c2430", "#5b6678"
_DOTS = 1000
"""side of the largest matrix of dots"""


def picture(graph: Graph, settings: TopologySettings, title: str) -> str:
    """The SVG; `title` is written over it."""
    if len(graph.agents) > DRAWN:
        return _matrix(graph, title)
    places = layout(graph, settings)
    rounds = [0] if not graph.changes else range(min(PANELS, graph.period if graph.period is not None else PANELS))
    return _sheet([_panel(graph, places, t) for t in rounds], [f"round {t}" for t in rounds] if graph.changes else [], places, title)


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
    children = {i: list(range(i * branching + 1, min(n, (i + 1) * branching + 1))) for i in range(n)}
    places: dict[int, Point] = {}
    leaf = 0.0
    depth = [0] * n
    for i in range(1, n):
        depth[i] = depth[(i - 1) // branching] + 1
    order: list[int] = []
    waiting = [0] if n else []
    while waiting:  # children before their parents
        i = waiting.pop()
        order.append(i)
        waiting += children[i]
    for i in reversed(order):
        near = children[i]
        if near:
            x = (places[near[0]][0] + places[near[-1]][0]) / 2
        else:
            x, leaf = -leaf * 0.75 * _SPACING, leaf + 1
        places[i] = (x, depth[i] * 1.1 * _SPACING)
    return [(-places[i][0], places[i][1]) for i in range(n)]


def _sprung(graph: Graph) -> list[Point]:
    import networkx as nx

    whole = nx.Graph()
    whole.add_nodes_from(range(len(graph.agents)))
    whole.add_edges_from(union_pairs(graph))
    size = _SPACING * math.sqrt(len(graph.agents)) * 0.75
    found = nx.kamada_kawai_layout(whole, scale=size) if nx.is_connected(whole) else nx.spring_layout(whole, scale=size, seed=0)
    return [(float(found[i][0]), float(found[i][1])) for i in whole.nodes]


# --- lines, arrows, names -----------------------------------------------------------------------------------------------------------


def _radius(n: int) -> float:
    return 15.0 if n <= 16 else 11.0 if n <= 40 else 7.0


def _panel(graph: Graph, places: list[Point], round: int) -> list[str]:
    n = len(places)
    radius = _radius(n)
    pairs = graph.links(round).pairs.tolist()
    faint = 1.0 if len(pairs) <= 4 * n else max(0.25, 4 * n / len(pairs))
    end = ' marker-end="url(#arrow)"' if graph.directed else ""
    lines = [f'<g stroke="{_EDGE}" stroke-width="{1.8 if n <= 40 else 1.2}" stroke-opacity="{faint:.2f}" fill="none">']
    both = {(i, j) for i, j in pairs if graph.directed and [j, i] in pairs}
    for i, j in pairs:
        lines.append(_line(places, i, j, radius + (5 if graph.directed else 0), (i, j) in both, end))
    lines.append(f'</g><g fill="{_NODE}" stroke="#ffffff" stroke-width="2">')
    lines += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"/>' for x, y in places]
    lines.append(f'</g><g {_FONT} font-size="{12 if n <= 40 else 9}" fill="{_TEXT}">')
    middle = (sum(x for x, _ in places) / n, sum(y for _, y in places) / n)
    lines += [_label(agent, place, middle, radius, _round(places)) for agent, place in zip(graph.agents, places, strict=True)]
    return [*lines, "</g>"]


def _line(places: list[Point], i: int, j: int, gap: float, double: bool, end: str) -> str:
    """A straight line, or a bow where it would run over other agents or over the way back."""
    (x1, y1), (x2, y2) = places[i], places[j]
    length = math.hypot(x2 - x1, y2 - y1) or 1.0
    ux, uy = (x2 - x1) / length, (y2 - y1) / length
    over = any(
        0 < (x - x1) * ux + (y - y1) * uy < length and abs((x - x1) * uy - (y - y1) * ux) < 4
        for k, (x, y) in enumerate(places)
        if k not in (i, j)
    )
    stop = gap if end else 0.0
    if not over and not double:
        return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2 - ux * stop:.1f}" y2="{y2 - uy * stop:.1f}"{end}/>'
    bow = 0.12 * length + 14 if over else 0.12 * length
    cx, cy = (x1 + x2) / 2 + uy * bow, (y1 + y2) / 2 - ux * bow
    back = math.hypot(x2 - cx, y2 - cy) or 1.0
    ex, ey = x2 - (x2 - cx) / back * stop, y2 - (y2 - cy) / back * stop
    return f'<path d="M {x1:.1f} {y1:.1f} Q {cx:.1f} {cy:.1f} {ex:.1f} {ey:.1f}"{end}/>'


def _round(places: list[Point]) -> bool:
    """Whether agents stand on a circle, perhaps one in its middle."""
    distances = sorted(math.hypot(x, y) for x, y in places)
    return len(places) > 2 and distances[-1] - distances[1] < 1e-6 * distances[-1]


def _label(agent: str, place: Point, middle: Point, radius: float, around: bool) -> str:
    x, y = place
    away = math.hypot(x - middle[0], y - middle[1])
    if not around or away < 1:
        return f'<text x="{x:.1f}" y="{y + radius + 14:.1f}" text-anchor="middle">{escape(agent)}</text>'
    ux, uy = (x - middle[0]) / away, (y - middle[1]) / away
    anchor = "middle" if abs(ux) < 0.3 else "start" if ux > 0 else "end"
    return f'<text x="{x + ux * (radius + 6):.1f}" y="{y + uy * (radius + 12) + 4:.1f}" text-anchor="{anchor}">{escape(agent)}</text>'


def _sheet(panels: list[list[str]], captions: list[str], places: list[Point], title: str) -> str:
    edge = 78.0
    left, top = min(x for x, _ in places) - edge, min(y for _, y in places) - edge
    width, height = max(x for x, _ in places) + edge - left, max(y for _, y in places) + edge - top
    across = min(len(panels), 4)
    caption = 26.0 if captions else 0.0
    whole, tall = max(across * width, 8.2 * len(title)), math.ceil(len(panels) / across) * (height + caption) + 40
    lines = _head(whole, tall, title)
    for number, panel in enumerate(panels):
        x, y = number % across * width, 40 + number // across * (height + caption) + caption
        x += (whole - across * width) / 2
        if captions:
            lines.append(_caption(x + width / 2, y, captions[number], 14, _QUIET))
        lines += [f'<g transform="translate({x - left:.1f} {y - top:.1f})">', *panel, "</g>"]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _head(width: float, height: float, title: str) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.1f} {height:.1f}" role="img">',
        f"<title>{escape(title)}</title>",
        '<defs><marker id="arrow" viewBox="0 0 10 10" refX="6" refY="5" markerWidth="7" markerHeight="7" orient="auto-start-reverse">'
        f'<path d="M 0 1 L 9 5 L 0 9 z" fill="{_EDGE}" stroke="none"/></marker></defs>',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        _caption(width / 2, 27, title, 15, _TEXT),
    ]


def _caption(x: float, y: float, text: str, size: int, colour: str) -> str:
    look = f'{_FONT} font-size="{size}" fill="{colour}" text-anchor="middle"'
    return f'<text class="caption" x="{x:.1f}" y="{y:.1f}" {look}>{escape(text)}</text>'


# --- large graphs -------------------------------------------------------------------------------------------------------------------


def _matrix(graph: Graph, title: str) -> str:
    """Row i, column j is dark where i sends to j in any round (the share of such pairs, where one dot stands for several agents)."""
    n = len(graph.agents)
    side = min(n, _DOTS)
    counts = np.zeros((side, side))
    cell = (graph.union.arcs * side) // n
    np.add.at(counts, (cell[:, 0], cell[:, 1]), 1.0)
    share = counts / max(1.0, counts.max()) if side < n else counts
    shade = (255 - 215 * np.sqrt(share)).astype(np.uint8)
    data = base64.b64encode(png(shade)).decode()
    size, edge = 720.0, 70.0
    lines = _head(size + 2 * edge, size + 2 * edge, title)
    lines += [
        f'<rect x="{edge}" y="{edge}" width="{size}" height="{size}" fill="none" stroke="{_EDGE}"/>',
        f'<image x="{edge}" y="{edge}" width="{size}" height="{size}" style="image-rendering:pixelated" '
        f'href="data:image/png;base64,{data}"/>',
        _caption(edge + size / 2, edge + size + 26, f"to: {graph.agents[0]} ... {graph.agents[-1]}", 14, _QUIET),
        f'<g transform="translate({edge - 16} {edge + size / 2}) rotate(-90)">'
        + _caption(0, 0, f"from: {graph.agents[0]} ... {graph.agents[-1]}", 14, _QUIET)
        + "</g>",
    ]
    return "\n".join([*lines, "</svg>"]) + "\n"


def png(grey: NDArray[np.uint8]) -> bytes:
    """A grey picture `[rows, columns]` as PNG."""
    rows, columns = grey.shape
    raw = b"".join(b"\0" + row.tobytes() for row in grey)
    parts: Iterable[tuple[bytes, bytes]] = [
        (b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(raw, 9)),
        (b"IEND", b""),
    ]
    chunks = (struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
