import json
import os
from pathlib import Path

import pytest

from orchestrator.page.history.run_history import RunHistory
from orchestrator.page.state.page_state import page_state
from orchestrator.run_server.waits.run_questions import NodeWait, WhyReport
from tests.orchestrator.page.played_run import BEGAN, PlayedRun


@pytest.fixture
def played(tmp_path: Path) -> PlayedRun:
    run = PlayedRun(tmp_path / "night")
    for i, node in enumerate(("env-0", "agent-0", "agent-1", "agent-2")):
        run.joined(1.0 + i / 10, node)
    run.event(2.0, "run.running")
    for step in range(20):
        run.metric(3.0 + step, "env-0", "return", step / 20, 100 * step)
        run.metric(3.0 + step, "env-0", "steps", 100.0 * step, 100 * step)
        for agent in range(3):
            run.metric(3.0 + step, f"agent-{agent}", "return", agent + step / 100, step)
            for part, share in (("wait", 0.2), ("learn", 0.5), ("other", 0.3)):
                run.metric(3.0 + step, f"agent-{agent}", f"time.{part}", share, step, "usage")
    return run


def read(run: PlayedRun) -> RunHistory:
    history = RunHistory(run.directory)
    while history.refresh():
        pass
    return history


def test_the_state_at_any_time(played: PlayedRun) -> None:
    played.event(10.0, "node.dead", "agent-1", "agent-1 was killed", incarnation=1)
    played.joined(12.0, "agent-1", 2)
    played.fault(14.0, True, "split", "partition", "agent-0 | agent-1 agent-2")
    played.fault(18.0, False, "split", "partition", "agent-0 | agent-1 agent-2")
    played.fault(19.0, True, "still", "pause", "agent-2")
    history = read(played)
    before = page_state(history, 0.5)
    assert before["run_state"] == "STARTING" and {node["state"] for node in before["nodes"].values()} == {"late", "up"}
    training = page_state(history, 9.0)
    assert training["run_state"] == "RUNNING" and training["phase"] == "training"
    assert {node["state"] for node in training["nodes"].values()} == {"up"}
    assert training["step"] == 600 and training["nodes"]["agent-2"]["return"] == pytest.approx(2.06)
    assert training["time"]["all"] == {"learn": 0.5, "other": 0.3, "wait": 0.2}
    dead = page_state(history, 11.0)["nodes"]["agent-1"]
    assert (dead["state"], dead["reason"], dead["restarts"]) == ("dead", "agent-1 was killed", 0)
    split = page_state(history, 15.0)
    assert split["nodes"]["agent-1"]["state"] == "up" and split["nodes"]["agent-1"]["restarts"] == 1
    assert {name: edge["cut"] for name, edge in split["edges"].items()} == {
        "agent-0|agent-1": True,
        "agent-0|agent-2": True,
        "agent-1|agent-2": False,
    }
    assert split["faults"] == [
        {
            "t": 14.0,
            "until": None,
            "kind": "partition",
            "text": "fault split begins: partition at agent-0 | agent-1 agent-2",
            "nodes": [],
            "edges": [["agent-0", "agent-1"], ["agent-0", "agent-2"]],
        }
    ]
    whole = page_state(history, 20.0)
    assert not any(edge["cut"] for edge in whole["edges"].values()) and whole["faults"][0]["until"] == 18.0
    assert whole["nodes"]["agent-2"]["state"] == "paused"
    assert whole["answers"]["idle"] == {"level": "bad", "text": "agent-2 is paused."}
    assert whole["answers"]["learning"]["level"] == "good" and "still rises" in whole["answers"]["learning"]["text"]
    assert [event["kind"] for event in split["events"]][-1] == "fault.begin"


def test_files_that_grow_are_read_once(played: PlayedRun) -> None:
    history = read(played)
    assert history.metrics.value(("return",), "agent-0") == pytest.approx(0.19)
    path = played.directory / "nodes" / "agent-0" / "metrics.jsonl"
    with path.open("a") as file:
        file.write('{"t": %f, "step": 9, "episode": 1, "name": "return", "value": 0.5}' % (BEGAN + 30))
    history.refresh()
    assert history.metrics.value(("return",), "agent-0") == pytest.approx(0.19), "the line is not complete yet"
    with path.open("a") as file:
        file.write('\nno json\n{"t": "x"}\n{"t": %f, "step": 9, "episode": 1, "name": "return", "value": 0.75}\n' % (BEGAN + 31))
    history.refresh()
    metric = history.metrics.get("return", "agent-0")
    assert metric is not None and list(metric.v)[-2:] == [0.5, 0.75] and len(metric.v) == 22
    os.truncate(path, 0)  # the node returned to an earlier checkpoint
    played.metric(40.0, "agent-0", "return", 0.1)
    history.refresh()
    metric = history.metrics.get("return", "agent-0")
    assert metric is not None and list(metric.v) == [0.1]


def test_virtual_times_are_placed_among_those_of_the_machine(tmp_path: Path) -> None:
    run = PlayedRun(tmp_path / "logical", clock="logical")
    for step, (virtual, seconds) in enumerate(((0.1, 10.0), (0.2, 20.0), (0.3, 40.0))):
        run.metric(virtual, "agent-0", "return", float(step), step, virtual=True)
        run.metric(seconds, "agent-0", "time.other", 1.0, step, "usage")
    run.metric(0.25, "run", "consensus.disagreement", 1.0, virtual=True)
    history = read(run)
    metric, of_run = history.metrics.get("return", "agent-0"), history.metrics.get("consensus.disagreement", "run")
    assert metric is not None and list(metric.t) == pytest.approx([10.0, 20.0, 40.0])
    assert of_run is not None and list(of_run.t) == pytest.approx([30.0])


def test_traffic_of_edges(played: PlayedRun) -> None:
    """Bytes by the counts of link rules where there are any; delay and loss as the receivers measured them."""

    def totals(t: float, node: str, peer: str, *given: int, incarnation: int = 1) -> None:
        line = {"peer " + peer: given, "ctl run": [9, 9, 9, 9]}
        played.line(f"nodes/{node}/links.jsonl", t=BEGAN + t, incarnation=incarnation, links=line)

    counts = {"sent": 10, "delivered": 8, "lost": 2, "bytes": 5000, "duplicated": 0, "delay": {"p50": 0.05, "p90": 0.1}}
    for t in (5.0, 6.0):
        played.line("nodes/agent-0/faults.jsonl", t=BEGAN + t, what="links", period=1, links={"peer agent-1": counts, "ctl run": counts})
    history = read(played)
    edge = page_state(history, 6.5)["edges"]["agent-0|agent-1"]
    assert edge == {"bytes_per_s": 5000.0, "delay_ms": None, "loss": None, "cut": False}, "what a rule does is not measured"
    assert page_state(history, 20.0)["edges"]["agent-0|agent-1"]["bytes_per_s"] is None, "what is old does not count"
    # The clock of agent-2 is a minute ahead. One message of ten from agent-0 is missing, later it arrives.
    totals(24.0, "agent-2", "agent-0", 1000, 10, 0, 10 * 60_004_000)
    totals(24.0, "agent-0", "agent-2", 500, 5, 0, 5 * -59_998_000)
    played.line("nodes/agent-0/links.jsonl", t=BEGAN + 25.0, incarnation=1, links={"peer agent-2": [1]})
    totals(26.0, "agent-2", "agent-0", 7000, 19, 1, 19 * 60_004_000)
    totals(26.0, "agent-0", "agent-2", 1500, 15, 0, 15 * -59_998_000)
    history.refresh()
    edge = page_state(history)["edges"]["agent-0|agent-2"]
    assert edge == {"bytes_per_s": 3500.0, "delay_ms": 3.0, "loss": 0.1, "cut": False}
    assert page_state(history, 24.5)["edges"]["agent-0|agent-2"] == {"bytes_per_s": None, "delay_ms": 3.0, "loss": 0.0, "cut": False}
    totals(28.0, "agent-2", "agent-0", 7000, 20, 0, 20 * 60_004_000)
    totals(30.0, "agent-2", "agent-0", 40, 4, 0, 4 * 60_008_000, incarnation=2)
    history.refresh()
    assert history.links.loss("agent-0", "agent-2", 28.0) == 0.0
    assert history.links.delay("agent-0", "agent-2", 30.0) == pytest.approx(5.0)
    assert history.links.delay("agent-0", "agent-1", 30.0) is None


def test_goals_of_episodes_at_any_time(played: PlayedRun) -> None:
    assert page_state(read(played))["goals"] == {}
    labels = ["0", "1", "0-1"]
    for report in range(3):
        rows: list[object] = [
            [30 * report + i, ["agent-0", f"agent-{1 + i % 2}"], [2, 2 if i % 3 else 1], i > 0, i % 3 > 0] for i in range(30)
        ]
        rows.append([30 * report + 30, ["agent-2"], [0], True, None])
        played.line("nodes/env-0/goals.jsonl", t=BEGAN + 4.0 + 2 * report, step=1, episode=1, labels=labels, episodes=rows)
    history = read(played)
    assert page_state(history, 3.0)["goals"] == {}
    early, late = page_state(history, 4.5), page_state(history)
    assert early["goals"]["agent-0"][:2] == [(0, 2, False, False), (1, 2, True, True)] and len(early["goals"]["agent-0"]) == 30
    assert early["goals"]["agent-1"][0] == (0, 1, False, False) and early["goals"]["agent-2"][-1] == (30, 0, None, True)
    assert [row[0] for row in late["goals"]["agent-0"]] == list(range(30, 90)), "the newest ones"
    assert late["goal_labels"] == labels and late["nodes"]["agent-0"]["goal"] == "0-1" and late["nodes"]["env-0"]["goal"] is None
    path = played.directory / "nodes" / "env-0" / "goals.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + "damaged\n" + lines[2].replace("[60,", "[61,"))  # the run went back, and has come further than before
    history.refresh()
    assert len(page_state(history, 6.5)["goals"]["agent-0"]) == 30 and page_state(history)["goals"]["agent-0"][30][0] == 61


def test_a_run_that_went_back_replaces_what_was_later(tmp_path: Path) -> None:
    """Under the logical clock the files of nodes are cut to a checkpoint; usage, which has times of day, stays."""
    run = PlayedRun(tmp_path / "logical", clock="logical")

    def report(virtual: float, seconds: float) -> None:
        run.metric(virtual, "agent-0", "return", virtual, int(10 * virtual), virtual=True)
        run.metric(virtual, "agent-0", "consensus.round", 1.0, int(1000 * virtual), virtual=True)  # counts updates
        run.metric(seconds, "agent-0", "time.other", 1.0, int(10 * virtual), "usage")

    for i in range(1, 6):
        report(float(i), 10.0 * i)
    history = read(run)
    path = run.directory / "nodes" / "agent-0" / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:4]))
    for i in range(3, 9):
        report(float(i), 40.0 + 10.0 * i)
    seconds = [10.0, 20.0, *(40.0 + 10.0 * i for i in range(3, 9))]
    for found in (history, read(run)):  # followed, and opened afterwards
        while found.refresh():
            pass
        metric, usage = found.metrics.get("return", "agent-0"), found.metrics.get("time.other", "agent-0")
        assert metric is not None and list(metric.v) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
        assert list(metric.t) == pytest.approx(seconds)
        assert usage is not None and len(usage.v) == 11


def test_ended_and_lost_runs(played: PlayedRun) -> None:
    assert page_state(read(played))["run_state"] == "LOST"
    assert {node["state"] for node in page_state(read(played))["nodes"].values()} == {"suspect"}
    for node in ("env-0", "agent-0", "agent-1", "agent-2"):
        played.event(30.0, "node.left", node, incarnation=1)
    played.event(31.0, "run.ended")
    played.record("DONE", exit_code=0, reason="enough")
    usage = {"usage": {"cpu_seconds": 15.0, "peak_resident": 1 << 20}}
    (played.directory / "summary.json").write_text(json.dumps({"wall_seconds": 30.0, "nodes": {"agent-0": usage}}))
    state = page_state(read(played))
    assert state["run_state"] == "DONE" and {node["state"] for node in state["nodes"].values()} == {"done"}
    assert (state["nodes"]["agent-0"]["cpu"], state["nodes"]["agent-0"]["memory"]) == (0.5, 1 << 20)
    assert page_state(read(played), 20.0)["run_state"] == "RUNNING"


def test_a_report_of_waits_is_shown(played: PlayedRun) -> None:
    wait = NodeWait("round", ("agent-0",), 0.0, None, "agent-0 in a round of averaging (3.0 s)")
    report = WhyReport("run", "training", {"agent-1": [wait], "agent-0": []}, [("warn", "agent-1 waits for agent-0")])
    history = read(played)
    assert page_state(history)["nodes"]["agent-1"]["waits"] is None
    state = page_state(history, 9.0, why=report)
    assert state["nodes"]["agent-1"]["waits"] == wait.text and state["nodes"]["agent-0"]["waits"] is None
    assert state["answers"]["waits"] == {"level": "warn", "text": "agent-1 waits for agent-0"}


def test_markup_in_names_and_texts_is_data(played: PlayedRun) -> None:
    played.event(25.0, "learner.note", "agent-0", '<script>alert(1)</script> & \u2028 "quoted"')
    assert page_state(read(played))["events"][-1]["text"] == '<script>alert(1)</script> & \u2028 "quoted"'
