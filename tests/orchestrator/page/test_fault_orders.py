import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.loader import load
from orchestrator.page.fault_orders import events_of, scheduled_yaml
from orchestrator.page.history.run_history import RunHistory
from orchestrator.run_server.faults.manual_faults import read_event
from protocols.faults.fault_schedule import RunPosition
from protocols.runtime.errors import UsageError
from tests.orchestrator.page.played_run import PlayedRun

EDGE = ["agent-0", "agent-1"]


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> RunHistory:
    return RunHistory(PlayedRun(tmp_path_factory.mktemp("runs") / "night").directory)


@pytest.mark.parametrize(
    ("order", "number"),
    [
        ({"action": "kill", "nodes": ["agent-0", "agent-2"], "for": "5s"}, 2),
        ({"action": "pause", "nodes": ["agent-1"], "for": "5s"}, 1),
        ({"action": "cut", "edges": [EDGE], "for": "10s"}, 1),
        ({"action": "cut", "nodes": ["agent-1"]}, 1),
        ({"action": "delay", "edges": [EDGE], "value": "50ms"}, 1),
        ({"action": "loss", "nodes": ["agent-1"], "value": 0.2, "for": "20episodes"}, 1),
    ],
)
def test_orders_can_be_scheduled(order: dict[str, Any], number: int, history: RunHistory, tmp_path: Path) -> None:
    events = events_of(order, history)
    assert len(events) == number
    configured = load(Path("4agents_ring.yaml"), ["agents.count=3"], {}).configuration
    for event in events:
        read_event(json.dumps(event), "by-hand-1", RunPosition(30.0, 100, 10, 2), configured)  # raises for what is not allowed
    scheduled = tmp_path / "scheduled.yaml"
    scheduled.write_text("extends: 4agents_ring.yaml\nuntil: {time: 5min}\n" + scheduled_yaml(events, 30.0))
    found = load(scheduled, ["agents.count=3"], {}).configuration.faults
    assert found is not None and len(found.events) == number and found.events[0].at.time == 30.0


@pytest.mark.parametrize(
    ("order", "text"),
    [
        ({"action": "explode"}, "is not one of kill, pause"),
        ({}, "is not one of kill, pause"),
        ({"action": "kill"}, "name them in nodes"),
        ({"action": "kill", "edges": [EDGE]}, "name them in nodes"),
        ({"action": "kill", "nodes": "agent-0"}, "nodes is a list"),
        ({"action": "cut", "edges": ["agent-0"]}, "edges a list of pairs"),
        ({"action": "cut"}, "cut needs edges"),
        ({"action": "delay", "edges": [EDGE]}, "delay needs a value"),
        ({"action": "loss", "edges": [EDGE], "value": "much"}, "is not a number"),
        ({"action": "pause", "nodes": ["agent-9"]}, 'there is no node "agent-9"'),
        ({"action": "pause", "nodes": ["agent-*"]}, 'there is no node "agent-*"'),
    ],
)
def test_orders_that_are_refused(order: dict[str, Any], text: str, history: RunHistory) -> None:
    with pytest.raises(UsageError) as refused:
        events_of(order, history)
    assert text in str(refused.value)


def test_what_ends_faults_begins_none(history: RunHistory) -> None:
    assert events_of({"action": "heal"}, history) == events_of({"action": "resume", "nodes": ["agent-0"]}, history) == []
    assert scheduled_yaml([], 1.0) == ""
