"""Small graphs drawn with characters, larger ones as lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import networkx as nx

DRAWN = 8
"""larger graphs are listed, not drawn"""
_GAP = 7
"""characters of a horizontal edge"""
_LISTED = 24
"""lines of an adjacency list"""


def text_picture(graph: nx.Graph) -> list[str]:
    """Lines of a drawing: rings, paths, stars, grids and the complete graph of four are drawn up to `DRAWN` nodes, others listed."""
    nodes = list(graph.nodes)
    if not 1 <= len(nodes) <= DRAWN:
        return adjacency_list(graph)
    if len(nodes) == 1:
        return nodes
    for draw in (_as_path_or_ring, _as_star, _as_crossed_square, _as_grid):
        lines = draw(graph, nodes)
        if lines is not None:
            return lines
    return adjacency_list(graph)


def adjacency_list(graph: nx.Graph) -> list[str]:
    """One line a node: `agent-0 ── agent-1, agent-3`."""
    nodes = list(graph.nodes)
    return neighbour_lines(nodes, lambda node: sorted(graph[node], key=nodes.index), "──", _LISTED)


def neighbour_lines(agents: Sequence[str], near: Callable[[str], Sequence[str]], mark: str, most: int) -> list[str]:
    """One line an agent with its neighbours; `most` lines at most, and one for the others."""
    width = max(map(len, agents))
    lines = []
    for agent in agents[:most]:
        neighbours = near(agent)
        shown = ", ".join(neighbours[:8]) + (f" and {len(neighbours) - 8} more" if len(neighbours) > 8 else "")
        lines.append(f"{agent:<{width}} {mark} {shown or '(none)'}")
    return lines + ([f"and {len(agents) - most} agents more"] if len(agents) > most else [])


def _walk(graph: nx.Graph, start: str) -> list[str]:
    """Nodes of a path or ring in order from `start`, first toward the neighbour that comes first."""
    order = [start]
    while True:
        following = [node for node in sorted(graph[order[-1]], key=list(graph.nodes).index) if node not in order]
        if not following:
            return order
        order.append(following[0])


def _degrees(graph: nx.Graph) -> list[int]:
    return sorted(degree for _, degree in graph.degree)


def _as_path_or_ring(graph: nx.Graph, nodes: list[str]) -> list[str] | None:
    ring = _degrees(graph) == [2] * len(nodes)
    if not ring and _degrees(graph) != [1, 1] + [2] * (len(nodes) - 2):
        return None
    order = _walk(graph, nodes[0] if ring else next(node for node in nodes if graph.degree[node] == 1))
    if len(order) != len(nodes):
        return None
    if not ring and len(nodes) <= 4:
        return [" ─── ".join(order)]
    half = (len(order) + 1) // 2  # folded like a snake, so that it fits beside the facts
    below: list[str | None] = list(reversed(order[half:]))
    if len(order) % 2:
        # The end of a path needs no way back; that of a ring is below its beginning, and a triangle has a corner.
        below.insert(0 if not ring else len(below) - 1 if len(order) > 3 else 1, None)
    return _grid([order[:half], below], graph)


def _as_star(graph: nx.Graph, nodes: list[str]) -> list[str] | None:
    if len(nodes) < 4 or _degrees(graph) != [1] * (len(nodes) - 1) + [len(nodes) - 1]:
        return None
    middle = next(node for node in nodes if graph.degree[node] > 1)
    leaves = [node for node in nodes if node != middle]
    lines = []
    for index, leaf in enumerate(leaves):
        joint = "┬" if index == 0 else "└" if index == len(leaves) - 1 else "├"
        head = f"{middle} ──" if index == 0 else " " * (len(middle) + 3)
        lines.append(f"{head}{joint}── {leaf}")
    return lines


def _as_crossed_square(graph: nx.Graph, nodes: list[str]) -> list[str] | None:
    if len(nodes) != 4 or graph.number_of_edges() != 6:
        return None
    width = max(map(len, nodes))
    left, right = width // 2, width + _GAP + 2 + width // 2
    cross = (left + right) // 2
    return [
        f"{nodes[0]:<{width}} {'─' * _GAP} {nodes[1]}",
        _line((left, "│"), (cross - 2, "╲"), (cross + 2, "╱"), (right, "│")),
        _line((left, "│"), (cross, "╳"), (right, "│")),
        _line((left, "│"), (cross - 2, "╱"), (cross + 2, "╲"), (right, "│")),
        f"{nodes[3]:<{width}} {'─' * _GAP} {nodes[2]}",
    ]


def _as_grid(graph: nx.Graph, nodes: list[str]) -> list[str] | None:
    for rows in range(int(len(nodes) ** 0.5), 1, -1):
        if len(nodes) % rows == 0:
            columns = len(nodes) // rows
            edges = {
                frozenset((nodes[i], nodes[j]))
                for i in range(len(nodes))
                for j in (i + 1, i + columns)
                if j < len(nodes) and (j == i + columns or (i + 1) % columns)
            }
            if {frozenset(edge) for edge in graph.edges} == edges:
                return _grid([list(nodes[row * columns : (row + 1) * columns]) for row in range(rows)], graph)
    return None


def _line(*marks: tuple[int, str]) -> str:
    text = [" "] * (max(column for column, _ in marks) + 1)
    for column, mark in marks:
        text[column] = mark
    return "".join(text)


def _grid(rows: Sequence[Sequence[str | None]], graph: nx.Graph) -> list[str]:
    """Cells with the edges between neighbours in a row (over empty cells too) and in a column; a node whose neighbour below is an empty
    cell at the end of its row is joined round the corner."""
    columns = max(len(row) for row in rows)
    width = max(len(node) for row in rows for node in row if node)
    pitch = width + _GAP + 2
    lines: list[str] = []
    for number, row in enumerate(rows):
        text = [" "] * (columns * pitch)
        filled = [(index, node) for index, node in enumerate(row) if node is not None]
        for index, node in filled:
            text[index * pitch : index * pitch + len(node)] = node
        for (left, a), (right, b) in pairwise(filled):
            if graph.has_edge(a, b):
                start, end = left * pitch + len(a) + 1, right * pitch - 1
                text[start:end] = "─" * (end - start)
        if number and filled[-1][0] < columns - 1:  # the corner of a triangle
            above, (last, end_node) = rows[number - 1][columns - 1], filled[-1]
            if above is not None and graph.has_edge(above, end_node):
                start, end = last * pitch + len(end_node) + 1, (columns - 1) * pitch + width // 2
                text[start : end + 1] = "─" * (end - start) + "┘"
        lines.append("".join(text).rstrip())
        if number + 1 < len(rows):
            below = list(rows[number + 1]) + [None] * columns
            marks = []
            for index, upper in enumerate(row):
                under = below[index]
                if under is None and index == columns - 1:
                    under = next((other for other in reversed(rows[number + 1]) if other is not None), None)
                if upper is not None and under is not None and graph.has_edge(upper, under):
                    marks.append((index * pitch + width // 2, "│"))
            lines += [_line(*marks)] * 2 if marks else [""]
    return lines
