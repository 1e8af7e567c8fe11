"""Pictures show every edge and the right facts."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from typing import Any

import networkx as nx
import numpy as np
import pytest

from orchestrator.config.configuration import Configuration
from orchestrator.report.graphs import graph_formats as formats
from orchestrator.report.graphs.graph_formats import dry_run_text
from orchestrator.report.graphs.graph_svg import picture
from orchestrator.report.graphs.graph_text import adjacency_list, text_picture
from protocols.topology import TopologySettings, build
from protocols.topology.communication_graph import make_graph


def configuration(kind: str = "ring", count: int = 4, **changes: Any) -> Configuration:
    return Configuration.model_validate(
        {
            "version": 2,
            "name": "ring",
            "until": {"episodes": 2500, "time": "6min"},
            "environment": {"id": "landmarks"},
            "network": {"topology": {"kind": kind, **changes.pop("topology", {})}},
            "agents": {"count": count, **changes.pop("agents", {})},
            **changes,
        }
    )


def graph(kind: str, count: int) -> nx.Graph:
    return build(TopologySettings.model_validate({"kind": kind}), [f"agent-{i}" for i in range(count)])


def test_a_ring_of_four_is_a_square() -> None:
    assert text_picture(graph("ring", 4)) == [
        "agent-0 ─────── agent-1",
        "   │               │",
        "   │               │",
        "agent-3 ─────── agent-2",
    ]


def test_a_triangle_a_star_and_all_of_four() -> None:
    assert text_picture(graph("ring", 3))[-1] == "agent-2 ───────────┘"
    assert text_picture(graph("star", 5)) == [
        "agent-0 ──┬── agent-1",
        "          ├── agent-2",
        "          ├── agent-3",
        "          └── agent-4",
    ]
    assert [line.strip() for line in text_picture(graph("complete", 4))[1:4]] == [
        "│     ╲   ╱     │",
        "│       ╳       │",
        "│     ╱   ╲     │",
    ]


def edges_in(lines: list[str]) -> set[frozenset[str]]:
    """Edges read back from a drawing: straight lines between names, to the right and downward."""
    places = {(row, match.start()): match[0] for row, line in enumerate(lines) for match in re.finditer(r"agent-\d+", line)}
    found = set()
    for (row, column), node in places.items():
        line = lines[row]
        end = column + len(node) + 1
        stop = end
        while stop < len(line) and line[stop] == "─":
            stop += 1
        if stop > end and (row, stop + 1) in places:
            found.add(frozenset((node, places[row, stop + 1])))
        for middle in range(column, column + len(node)):
            below = row + 1
            while below < len(lines) and middle < len(lines[below]) and lines[below][middle] == "│":
                below += 1
            target = next((name for (r, c), name in places.items() if r == below and c <= middle < c + len(name)), None)
            if below > row + 1 and target is not None:
                found.add(frozenset((node, target)))
    return found


@pytest.mark.parametrize("kind", ["ring", "path", "grid"])
@pytest.mark.parametrize("count", [2, 4, 5, 6, 7, 8])
def test_drawings_show_exactly_the_edges(kind: str, count: int) -> None:
    drawn = graph(kind, count)
    assert edges_in(text_picture(drawn)) == {frozenset(edge) for edge in drawn.edges}


def test_what_cannot_be_drawn_is_listed() -> None:
    assert text_picture(graph("complete", 5)) == adjacency_list(graph("complete", 5))
    assert text_picture(graph("ring", 9))[0] == "agent-0 ── agent-1, agent-8"
    two_triangles = nx.Graph([("a", "b"), ("b", "c"), ("c", "a"), ("d", "e"), ("e", "f"), ("f", "d")])
    assert text_picture(two_triangles) == adjacency_list(two_triangles)
    assert text_picture(graph("ring", 1)) == ["agent-0"]
    assert len(text_picture(graph("complete", 200))) == 25


def test_the_dry_run() -> None:
    text = dry_run_text(
        configuration(
            agents={"world_model": {"kind": "ensemble"}, "overrides": {"agent-2": {"learner": {"kind": "discrete_sac"}}}},
            exchange={
                "negotiation": {"kind": "coordination_game"},
                "hindsight": {},
                "consensus": {"groups": ["critic", "world_model"], "every": {"updates": 50}},
            },
            launch={"threads": 1},
        ),
        200,
    )
    for fact in (
        "topology     ring, undirected, 4 nodes, 4 edges, connected, spectral gap 0.667",
        "placement    local: 5 nodes on this host, ",
        "-> 1 thread a node",
        "agents       double_dqn + ensemble(5): agent-0, agent-1, agent-3 · discrete_sac + ensemble(5): agent-2",
        "exchange     goals every episode · traces every episode · averaging every 50 updates (critic, world_model)",
        "faults       none",
        "memory       up to 2.2 GiB (4 x 512MiB + 256MiB), this machine has",
        "until        2500 episodes or 6min, whichever comes first; then 256 episodes of evaluation",
    ):
        assert fact in text, text
    assert text.startswith("    agent-0 ─────── agent-1")
    assert "exchange     nothing: independent agents" in dry_run_text(configuration())


@pytest.mark.parametrize("width", [60, 80, 100, 140])
@pytest.mark.parametrize(("kind", "count"), [("ring", 4), ("path", 8), ("complete", 30)])
def test_the_dry_run_keeps_to_its_width(kind: str, count: int, width: int) -> None:
    lines = dry_run_text(configuration(kind, count), width).split("\n")
    assert max(map(len, lines)) <= width
    assert any(line.lstrip().startswith("agent-0") for line in lines)


@pytest.mark.parametrize("kind", ["ring", "complete", "star", "path", "grid", "edges"])
def test_formats(kind: str) -> None:
    own = {"edges": [["agent-0", f"agent-{i}"] for i in range(1, 6)]} if kind == "edges" else {}
    made = configuration(kind, 6, topology=own)
    wanted = {frozenset(edge) for edge in build(made.network.topology, made.agent_names()).edges}
    content = json.loads(formats.to_json(made))
    assert {frozenset(edge) for edge in content["edges"]} == wanted
    assert [node["node"] for node in content["placement"]] == ["env-0", *content["nodes"]]
    assert {frozenset(pair) for pair in re.findall(r'"(agent-\d)" -- "(agent-\d)"', formats.to_dot(made))} == wanted
    assert {frozenset((f"agent-{a}", f"agent-{b}")) for a, b in re.findall(r"n(\d) --- n(\d)", formats.to_mermaid(made))} == wanted
    svg = ET.fromstring(formats.to_svg(made))
    words = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert set(words) >= {*made.agent_names()} and any(f"{kind} of 6, spectral gap" in str(word) for word in words)


@pytest.mark.parametrize("kind", ["ring", "complete", "star", "path", "grid", "torus", "tree", "exponential"])
def test_the_drawing_has_each_agent_and_each_edge_once(kind: str) -> None:
    settings = configuration(kind, 6).network.topology
    graph = make_graph(settings, [f"agent-{i}" for i in range(6)], 0)
    drawn = picture(graph, settings, "title")
    (axes,) = drawn.figure.axes
    assert [text.get_text() for text in axes.texts] == list(graph.agents)
    (nodes,) = axes.collections
    places = np.asarray(nodes.get_offsets())
    assert len({tuple(place) for place in places.round(6).tolist()}) == 6
    # A line is a Bézier curve of three points; the outer ones are at, or close to, its agents.
    ends = [np.asarray(patch.get_path().vertices)[[0, 2]] for patch in axes.patches]
    found = {tuple(graph.agents[int(np.hypot(*(places - end).T).argmin())] for end in both) for both in ends}
    assert found == set(graph.union_edges) and len(ends) == len(found)
    assert all(a in drawn.description and b in drawn.description for a, b in graph.union_edges)


def test_a_changing_graph_has_a_panel_a_round_and_a_large_one_is_a_matrix() -> None:
    settings = TopologySettings.model_validate({"kind": "one_peer_exponential"})
    graph = make_graph(settings, [f"agent-{i}" for i in range(8)], 0)
    panels = picture(graph, settings, "title").figure.axes
    assert [axes.get_title() for axes in panels] == ["round 0", "round 1", "round 2"]
    assert [len(axes.patches) for axes in panels] == [8, 8, 8]
    ring = TopologySettings.model_validate({"kind": "ring"})
    large = make_graph(ring, [f"agent-{i}" for i in range(101)], 0)
    (axes,) = picture(large, ring, "title").figure.axes
    matrix = np.asarray(axes.images[0].get_array())
    assert {tuple(pair) for pair in np.argwhere(matrix > 0).tolist()} == {(i, (i + d) % 101) for i in range(101) for d in (1, -1)}
