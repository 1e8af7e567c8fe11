"""Restarts and faults by hand in runs of real processes that do little: what the run server does with them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from protocols.runtime.errors import ConfigurationError, UsageError
from tests.orchestrator.run_server.cluster import Cluster, eventually, starting

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

Start = Callable[..., Cluster]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with starting(tmp_path) as start_one:
        yield start_one


def back(cluster: Cluster, name: str, incarnation: int) -> dict[str, Any]:
    def there() -> dict[str, Any] | None:
        node = cluster.node(name)
        return node if node["incarnation"] == incarnation and node["state"] == "alive" else None

    return eventually(f"{name} is back as incarnation {incarnation}", there, 30)


def lines(cluster: Cluster) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (cluster.directory / "nodes" / "run" / "faults.jsonl").read_text().splitlines()]


def on(cluster: Cluster) -> dict[str, dict[str, Any]]:
    return {one["id"]: one for one in cluster.snapshot()["faults"]["on"]}


def test_a_restart_by_hand_is_no_failure(start: Start) -> None:
    cluster = start(supervision={"max_restarts": 1, "restart_delay": "20s"})
    pids = {node["name"]: node["pid"] for node in cluster.running(30)["nodes"]}
    assert cluster.client().restart(["agent-1", "env-*"]) == {"nodes": {"env-0": 1, "agent-1": 1}}
    for name in ("agent-1", "env-0"):
        assert back(cluster, name, 2)["pid"] != pids[name] and not psutil.pid_exists(pids[name])
    for incarnation in (3, 4):  # more often than the policy would bear, and with no back-off
        checkpoints = cluster.directory / "nodes" / "agent-1" / "checkpoints"
        checkpoints.mkdir()
        (checkpoints / "000000000001.json").write_text("{}")
        cold = incarnation == 3
        cluster.client().restart(["agent-1"], cold=cold)
        back(cluster, "agent-1", incarnation)
        assert checkpoints.exists() != cold
        assert (checkpoints.with_name(f"checkpoints.before.{incarnation}") / "000000000001.json").exists() == cold
        assert "stopped" in (cluster.directory / "nodes" / "agent-1" / "seen.txt").read_text(), "it could leave in its own time"
    texts = [event["text"] for event in cluster.events("node.restarted_by_hand")]
    assert len(texts) == 4 and all("restarted by hand" in text for text in texts)
    assert "node.restart" not in {event["code"] for event in cluster.events("node.restart")}
    assert {node["pid"] for node in cluster.snapshot()["nodes"]} >= {pids["agent-0"], pids["agent-2"]}, "the others were left alone"

    with pytest.raises(UsageError, match='"agent-7" matches no node: they are env-0, agent-0'):
        cluster.client().restart(["agent-0", "agent-7"])
    with pytest.raises(UsageError, match='did you mean "env-0"'):
        cluster.client().restart(["enw-0"])
    with pytest.raises(UsageError, match="how far the run is"):
        cluster.client().restart(["env-0"], cold=True)
    assert cluster.node("agent-0")["incarnation"] == 1, "a wish that is refused is refused whole"
    # A paused one receives nothing: it is resumed first. One that waits for its restart need not wait.
    cluster.client().fault({"process": {"target": "agent-0", "action": "pause"}})
    eventually("it stands still", lambda: psutil.Process(pids["agent-0"]).status() == psutil.STATUS_STOPPED)
    cluster.client().fault({"process": {"target": "agent-2", "action": "kill", "restart_after": "1h"}})
    eventually("agent-2 is gone", lambda: cluster.node("agent-2")["state"] == "dead")
    cluster.client().restart(["agent-[02]"])
    back(cluster, "agent-0", 2)
    back(cluster, "agent-2", 2)
    assert on(cluster) == {}


def test_faults_by_hand_in_a_run_whose_configuration_has_none(start: Start) -> None:
    cluster = start()
    client = cluster.client()
    pids = {node["name"]: node["pid"] for node in cluster.running(30)["nodes"]}
    pause = client.fault({"process": {"target": "agent-1", "action": "pause"}, "for": "400ms"})
    assert pause == {"id": "by-hand-1", "text": "by-hand-1: process.pause agent-1", "targets": ["agent-1"]}
    eventually("it goes on by itself", lambda: any(line["what"] == "end" and line["id"] == "by-hand-1" for line in lines(cluster)))
    eventually("it runs", lambda: psutil.Process(pids["agent-1"]).status() != psutil.STATUS_STOPPED)
    # Links, which only the run server reports: small nodes acknowledge orders.
    cut = client.fault({"partition": {"groups": [["agent-0"], ["agent-1"]]}})
    assert on(cluster)["by-hand-2"]["targets"] == ["agent-0 | agent-1"] and cut["id"] == "by-hand-2"
    killed = client.fault({"process": {"target": "agent-2", "action": "kill", "restart_after": "1h"}})
    eventually("it is noticed", lambda: killed["id"] in on(cluster))
    with pytest.raises(UsageError, match='no fault with the id "by-hand-1" is on; those that are: by-hand-2, by-hand-3'):
        client.heal("by-hand-1")
    assert client.heal("by-hand-2") == {"ended": ["by-hand-2"]}
    assert list(on(cluster)) == ["by-hand-3"]
    assert client.heal() == {"ended": ["by-hand-3"]}
    back(cluster, "agent-2", 2)
    assert on(cluster) == {} and client.heal() == {"ended": []}
    again = client.fault({"process": {"target": "agent-0", "action": "kill", "restart_after": "100ms"}})
    assert again["id"] == "by-hand-4", "all was healed; one may ask for more"
    back(cluster, "agent-0", 2)
    with pytest.raises(ConfigurationError, match='"agent-8" matches no node'):
        client.fault({"process": {"target": "agent-8", "action": "kill"}})
    assert len([line for line in lines(cluster) if line["what"] == "asked"]) == 4, "what is refused does not happen"
    restarts = {event["node"]: event["text"] for event in cluster.events("node.restart")}
    assert "by the fault schedule" in restarts["agent-0"]
    client.stop()
    cluster.ended(30)
    merged = [json.loads(line) for line in (cluster.directory / "faults.jsonl").read_text().splitlines()]
    assert {line["id"] for line in merged} == {f"by-hand-{number}" for number in range(1, 5)}
    verdict = json.loads((cluster.directory / "verdict.json").read_text())
    assert verdict["passed"] and [one["id"] for one in verdict["by_hand"]] == [f"by-hand-{number}" for number in range(1, 5)]
    assert verdict["by_hand"][0]["process"]["action"] == "pause" and verdict["by_hand"][0]["for"] == {"time": "400ms"}
    assert verdict["figures"]["faults.count"] == 4


def test_the_logical_clock_allows_neither(start: Start) -> None:
    cluster = start(agents=2, clock="logical")
    cluster.running(30)
    with pytest.raises(UsageError, match=r"write it into faults\.events"):
        cluster.client().fault({"process": {"target": "agent-0", "action": "kill"}})
    with pytest.raises(UsageError, match="up --resume run-0"):
        cluster.client().restart(["agent-0"])
    assert cluster.node("agent-0")["incarnation"] == 1


def test_nothing_begins_where_all_faults_are_over(start: Start) -> None:
    faults = {
        "heal_before_end": "99.99%",
        "events": [{"id": "never", "at": {"time": "1ms"}, "for": "1ms", "straggler": {"target": "agent-0"}}],
    }
    cluster = start(agents=2, faults=faults)
    cluster.running(30)

    def refused() -> bool:
        try:
            cluster.client().fault({"process": {"target": "agent-0", "action": "pause"}, "for": "1ms"})
        except UsageError as error:
            return "heal_before_end" in str(error)
        except ConfigurationError as error:
            return "heal_before_end" in str(error)
        return False

    eventually("faults are over", refused)
