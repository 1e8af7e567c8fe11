"""A real small run with the page beside it, read as a browser reads it."""

from __future__ import annotations

import http.client
import json
from pathlib import Path

import pytest

from tests.orchestrator.page.page_client import Page, Stream, page
from tests.orchestrator.run_server.cluster import eventually, starting

pytestmark = [pytest.mark.cluster, pytest.mark.runs]


def test_a_live_run(tmp_path: Path) -> None:
    with starting(tmp_path) as start:
        cluster = start(agents=3)
        name = cluster.directory.name
        with page(tmp_path, name, "--control") as (site, process):
            assert site.url.endswith(f"/?run={name}") and site.control
            stream = Stream(site, name)  # the run may not have started yet
            up = stream.until("all are up", lambda s: all(n["state"] == "up" for n in s["nodes"].values()) and s["phase"] == "training")
            assert stream.kinds[0] == "snapshot" and set(stream.kinds[1:]) == {"delta"}
            assert stream.ids == sorted(set(stream.ids))
            assert set(up["nodes"]) == {"env-0", "agent-0", "agent-1", "agent-2", "run"}
            assert set(up["edges"]) == {"agent-0|agent-1", "agent-0|agent-2", "agent-1|agent-2"}
            assert up["run_state"] == "RUNNING"
            stream.until("memory and the return are known", lambda s: s["nodes"]["agent-0"]["memory"] and s["nodes"]["agent-0"]["return"])
            _facts(site, name)
            _refusals(site, name)

            stream.until("what stands still is asked for", lambda s: s["answers"]["waits"]["level"] == "good")
            assert site.order(name, {"action": "pause", "nodes": ["agent-2"]})[1]["ok"]
            stream.until("a pause is named", lambda s: "agent-2" in s["answers"]["waits"]["text"])
            assert any("agent-2" in chain["text"] for chain in site.json(f"/api/runs/{name}/why")["chains"])
            assert site.order(name, {"action": "resume", "nodes": ["agent-2"]})[1]["ok"]
            stream.until("the pause is over", lambda s: s["nodes"]["agent-2"]["state"] == "up")

            status, answer = site.order(name, {"action": "kill", "nodes": ["agent-1"]})
            assert status == 200 and answer["ok"], answer
            restarted = stream.until("the restart is seen", lambda s: s["nodes"]["agent-1"]["restarts"] == 1)
            stream.until("it is up again", lambda s: s["nodes"]["agent-1"]["state"] == "up")
            assert any(event["kind"] in ("node.dead", "fault.begin") for event in restarted["events"])

            cut = {"action": "cut", "edges": [["agent-0", "agent-1"]]}
            assert site.order(name, cut, dry=True)[1]["yaml"].startswith("faults:\n")
            assert not any(edge["cut"] for edge in stream.state["edges"].values()), "a dry order does nothing"
            status, answer = site.order(name, cut)
            assert status == 200 and answer["ok"], answer
            broken = stream.until("the cut is seen", lambda s: s["edges"]["agent-0|agent-1"]["cut"])
            assert [edge for edge, one in broken["edges"].items() if one["cut"]] == ["agent-0|agent-1"]
            lasting = [fault for fault in broken["faults"] if fault["until"] is None]
            assert lasting[-1]["kind"] == "partition" and lasting[-1]["edges"] == [["agent-0", "agent-1"]]
            log = (cluster.directory / "nodes" / "run" / "faults.jsonl").read_text()
            assert log.count('"what":"asked"') == 3, "orders of the page are written down like those by hand"
            status, answer = site.order(name, {"action": "heal", "edges": [["agent-1", "agent-0"]]})
            assert answer["ok"] and answer["message"].startswith("healed"), answer
            stream.until("the edge is whole", lambda s: not s["edges"]["agent-0|agent-1"]["cut"])

            status, answer = site.order(name, {"action": "loss", "edges": [["agent-0", "agent-1"]], "value": 2})
            assert status == 200 and not answer["ok"] and "loss" in answer["message"], "the run server holds orders to its rules"
            assert 'murmuration_node_up{run="run-0",node="agent-1"} 1' in site.ask("/metrics")[2].decode()

            cluster.process.kill()  # the page survives its run server
            cluster.process.wait(10)
            assert site.json("/api/runs")[0]["state"] == "LOST"
            process.terminate()  # with an open stream
            assert process.wait(20) is not None
            stream.close()


def _facts(site: Page, name: str) -> None:
    assert site.json("/api/runs")[0] | {"started": ""} == {
        "id": name,
        "name": name,
        "state": "RUNNING",
        "started": "",
        "live": True,
        "experiment": None,
    }
    facts = site.json(f"/api/runs/{name}")
    assert facts["mode"] == "live" and facts["control"] and facts["agents"] == ["agent-0", "agent-1", "agent-2"]
    names = site.json(f"/api/runs/{name}/metric-names")
    assert "return" in names["agent-0"]
    found = site.json(f"/api/runs/{name}/metrics?name=return&points=4")
    assert {series["node"] for series in found["series"]} >= {"agent-0", "agent-1", "agent-2"}
    assert all(len(series["v"]) <= 6 for series in found["series"])
    assert site.json(f"/api/runs/{name}/log?node=run&lines=3")["lines"]
    assert "faults.record" in site.json(f"/api/runs/{name}/messages")["why_empty"]
    earlier = site.json(f"/api/runs/{name}/state?at=0")
    assert {node["state"] for node in earlier["nodes"].values() if node["role"] == "agent"} == {"late"}


def _refusals(site: Page, name: str) -> None:
    kill = {"action": "kill", "nodes": ["agent-1"]}
    assert site.order(name, kill, **{"X-Murmuration-Token": ""})[0] == 403
    assert site.order(name, kill, **{"X-Murmuration-Token": "guess"})[0] == 403
    assert site.order(name, kill, Origin="http://example.org")[0] == 403
    assert site.ask("/api/runs", headers={"Host": "example.org"})[0] == 421
    assert site.order(name, {"action": "explode"})[0] == 400
    assert site.order(name, {"action": "kill", "nodes": ["<b>agent"]})[1]["error"] == 'there is no node "<b>agent" in this run'
    status, headers, _ = site.ask("/api/runs/..%2F..%2Fetc")
    assert status == 404 and headers["content-security-policy"].startswith("default-src 'self'")
    assert json.loads(site.ask("/api/runs/none")[2])["error"].startswith('there is no run "none"')
    silent = http.client.HTTPConnection(site.host, site.port, timeout=5)
    silent.request("GET", f"/api/runs/{name}/events")  # a reader that reads nothing holds up no other one
    eventually("the page answers", lambda: site.ask("/api/runs")[0] == 200)
    silent.close()
