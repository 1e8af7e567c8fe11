"""`orchestrate topology`: facts of a graph, and a drawing with every edge."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.orchestrator.cli.conftest import CONFIG, Orchestrate

ALONE = "exchange.consensus=null"
SVG = "{http://www.w3.org/2000/svg}"


def test_a_ring_in_words(orchestrate: Orchestrate, tmp_path: Path) -> None:
    done = orchestrate("topology", str(CONFIG))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("    agent-0 ─────── agent-1")
    for fact in ("ring of 4 agents", "4 undirected", "8 a round", "no agent is cut off", "0.6667", "to a millionth after 13 rounds"):
        assert fact in done.stdout
    assert "-o ring.svg" in done.stderr
    assert list(tmp_path.iterdir()) == []  # nothing is written unless asked


def test_numbers_for_scripts(orchestrate: Orchestrate) -> None:
    done = orchestrate("topology", str(CONFIG), ALONE, "network.topology.kind=star", "agents.count=6", "--json")
    facts = json.loads(done.stdout)
    assert (facts["kind"], facts["agents"], facts["edges"], facts["diameter"], facts["critical"]) == ("star", 6, 5, 2, ["agent-0"])
    assert facts["degree"] == {"min": 1, "mean": 10 / 6, "max": 5}
    assert facts["average_path"] == pytest.approx((5 * 1 + 5 * 1 + 20 * 2) / 30)
    assert facts["spectral_gap"] == pytest.approx(1 / 6)
    assert facts["messages"] == 10


def test_a_directed_graph_that_changes(orchestrate: Orchestrate, tmp_path: Path) -> None:
    done = orchestrate("topology", str(CONFIG), ALONE, "network.topology.kind=one_peer_exponential", "--agents", "8", "-o", "x.svg")
    assert done.returncode == 0, done.stderr
    assert "round 0\n    agent-0 → agent-1\n" in done.stdout and "round 2\n    agent-0 → agent-4\n" in done.stdout
    assert "again after 3" in done.stdout and "exact after 3 rounds" in done.stdout
    svg = ET.fromstring((tmp_path / "x.svg").read_text())
    words = {element.text for element in svg.iter(f"{SVG}text")}
    assert {"round 0", "round 1", "round 2", "agent-0", "agent-7"} <= words and "round 3" not in words


def test_more_agents_than_can_be_run(orchestrate: Orchestrate, tmp_path: Path) -> None:
    arguments = ["network.topology={kind: random_regular, degree: 4}", "--agents", "3000", "-o", "x.svg", "--json"]
    done = orchestrate("topology", str(CONFIG), ALONE, *arguments)
    facts = json.loads(done.stdout)
    assert (facts["agents"], facts["edges"], facts["degree"]["mean"]) == (3000, 6000, 4.0)
    assert 0.08 < facts["spectral_gap"] < 0.13  # 1 - (1 + 2 sqrt(3)) / 5 = 0.107 for the best of all large graphs of degree 4
    svg = ET.fromstring((tmp_path / "x.svg").read_text())
    assert len(list(svg.iter(f"{SVG}image"))) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["network.topology={kind: random_regular, degree: 3}", "agents.count=5"], 3, "network.topology.degree: 5 agents with 3"),
        (["network.topology.kind=rign"], 3, 'did you mean "ring"?'),
        (["network.topology.kind=exponential"], 3, 'exchange.consensus.mode: "mh" needs an undirected graph; use pushsum'),
        ([ALONE, "network.topology={kind: torus, rows: 2}", "--agents", "9"], 3, "rows: 2 rows do not divide 9 agents; take 1, 3 or 9"),
        (["-o", "x.png"], 2, "write x.svg"),
        (["-o", "nowhere/x.svg"], 6, "nowhere/x.svg can't be written"),
    ],
)
def test_mistakes(arguments: list[str], code: int, says: str, orchestrate: Orchestrate) -> None:
    done = orchestrate("topology", str(CONFIG), *arguments)
    assert done.returncode == code and says in done.stderr, done.stderr
