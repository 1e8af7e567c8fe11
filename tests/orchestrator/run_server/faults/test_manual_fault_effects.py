"""Faults by hand in a run of real agents: what they do to messages, to agents, and what is left in writing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.run_server.run_client import RunClient
from tests.runs.system import CONFIG, SMALL, events, eventually, orchestrate

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(150)]

LIGHT = [
    "until={time: 110s}",
    "agents.count=3",
    "agents.world_model=null",
    "exchange.consensus.groups=[critic]",
    "agents.learner.replay_ratio=0.025",
    "supervision.restart_delay=200ms",
]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    runs = tmp_path / "runs"
    light = [change for change in SMALL if not change.startswith(("until", "agents.world_model"))]
    done = orchestrate(runs, "up", str(CONFIG), "-d", "--name", "live", *light, *LIGHT, timeout=90)
    assert done.returncode == 0, done.stderr
    yield runs / "live"
    orchestrate(runs, "down", "live", "--now", timeout=60)


def lines(directory: Path, node: str, what: str) -> list[dict[str, Any]]:
    path = directory / "nodes" / node / "faults.jsonl"
    found = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")] if path.exists() else []
    return [line for line in found if line["what"] == what]


def counted(directory: Path, node: str, link: str) -> dict[str, int]:
    """Sums of what was written about a link."""
    total: dict[str, int] = {}
    for line in lines(directory, node, "links"):
        for name, value in line["links"].get(link, {}).items():
            if isinstance(value, int):
                total[name] = total.get(name, 0) + value
    return total


def begun(directory: Path, node: str) -> set[str]:
    return {line["id"] for line in lines(directory, node, "begin")}


def test_links_agents_and_checkpoints_in_a_run_without_faults(run: Path) -> None:
    with RunClient(run) as client:
        cut = client.fault({"partition": {"groups": [["agent-0"], ["agent-1"]]}, "for": "4s"})["id"]
        slow = client.fault({"link": {"from": ["agent-2"], "to": ["agent-0"], "delay": "120ms"}})["id"]
        lie = client.fault({"byzantine": {"target": "agent-1", "attack": "sign_flip", "scale": 4.0}})["id"]
        lag = client.fault({"straggler": {"target": "agent-2", "factor": 3.0}})["id"]
        eventually("all is cut", lambda: counted(run, "agent-0", "peer agent-1").get("lost", 0) > 3, 30)
        eventually("it is over by itself", lambda: lines(run, "agent-0", "off") and lines(run, "agent-1", "off"), 30)
        eventually("they receive from each other", lambda: through(run) > 3, 30)
        (on,) = [line for line in lines(run, "agent-0", "on") if line["id"] == cut]
        (off,) = lines(run, "agent-0", "off")
        assert on["event"]["partition"]["groups"] == [["agent-0"], ["agent-1"]] and on["cut"] == "agent-0 | agent-1"
        assert on["until"]["unit"] == "time" and off["time"] == pytest.approx(on["until"]["value"], abs=2.0)
        assert 2.0 <= on["until"]["value"] - on["time"] <= 4.0, "four seconds from where the run server began it"
        delays = [
            line["links"]["peer agent-0"]["delay"]["p50"] for line in lines(run, "agent-2", "links") if "peer agent-0" in line["links"]
        ]
        assert delays and max(delays) == pytest.approx(0.12) and counted(run, "agent-2", "peer agent-1").get("lost", 0) == 0
        eventually(
            "the Byzantine and the slow agent have recorded it", lambda: lie in begun(run, "agent-1") and lag in begun(run, "agent-2"), 20
        )

        # A restarted agent receives what still holds, and begins anew where ordered.
        eventually("a checkpoint", lambda: list((run / "nodes/agent-2/checkpoints").glob("*.json")), 30)
        client.restart(["agent-2"], cold=True)
        eventually("it is back", lambda: up(client, "agent-2", 2), 60)
        eventually("and goes by its orders", lambda: again(run, "agent-2", slow, "on") and again(run, "agent-2", lag, "begin"), 30)
        eventually("it has joined", lambda: events(run, "node.anew", "agent-2"), 30)
        assert not events(run, "node.restored", "agent-2")
        assert list((run / "nodes/agent-2/checkpoints.before.2").glob("*.json")), "they are kept"
        assert {one["id"] for one in client.status()["faults"]["on"]} == {slow, lie, lag}
        assert client.heal() == {"ended": sorted([slow, lie, lag])}
        ended = eventually(
            "all nodes have ended what they had",
            lambda: (
                {line["id"] for node in ("agent-1", "agent-2") for what in ("end", "off") for line in lines(run, node, what)}
                >= {slow, lie, lag}
            ),
            30,
        )
        assert ended
        client.restart(["agent-0"])
        eventually("it is back", lambda: up(client, "agent-0", 2), 60)
        eventually("from its checkpoint", lambda: events(run, "node.restored", "agent-0"), 30)
        client.stop()
    eventually("the run has ended", lambda: json.loads((run / "run.json").read_text())["state"] == "STOPPED", 60)
    records = {record["id"]: record for record in json.loads((run / "summary.json").read_text())["faults"]["faults"]}
    assert records.keys() == {cut, slow, lie, lag} and all(record["end"] is not None for record in records.values())
    assert records[cut]["end"] - records[cut]["begin"] == pytest.approx(4.0, abs=2.0)
    assert {"during", "after"} <= records[cut]["steps_per_second"].keys()
    assert [one["id"] for one in json.loads((run / "verdict.json").read_text())["by_hand"]] == [cut, slow, lie, lag]


def through(run: Path) -> int:
    """Messages that agent-0 has brought to agent-1 since the cut was over."""
    over = lines(run, "agent-0", "off")[0]["time"]
    return sum(
        line["links"]["peer agent-1"]["delivered"]
        for line in lines(run, "agent-0", "links")
        if line["period"] > over and "peer agent-1" in line["links"]
    )


def up(client: RunClient, name: str, incarnation: int) -> bool:
    return any((node["name"], node["incarnation"], node["state"]) == (name, incarnation, "alive") for node in client.status()["nodes"])


def again(run: Path, node: str, fault: str, what: str) -> bool:
    return any(line["id"] == fault and line["incarnation"] == 2 for line in lines(run, node, what))
