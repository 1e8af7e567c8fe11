from pathlib import Path

import pytest

from orchestrator.page.history import message_trace
from orchestrator.page.history.message_trace import MOST_MESSAGES, NO_TRACE, edge, messages
from orchestrator.page.history.run_history import RunHistory
from tests.orchestrator.page.played_run import BEGAN, PlayedRun


def history(run: PlayedRun) -> RunHistory:
    made = RunHistory(run.directory)
    while made.refresh():
        pass
    return made


def test_messages_of_a_span_of_time(tmp_path: Path) -> None:
    run = PlayedRun(tmp_path / "traced", faults={"record": "full"})
    for i in range(3000):  # longer than what is read at once
        run.message(i / 10, "agent-0", "agent-1", "average" if i % 2 else "propose")
    run.message(100.02, "agent-1", "agent-0", copies=(), cause="split")
    run.message(100.06, "agent-1", "agent-2", copies=(0.01, 0.02))
    run.message(400.0, "agent-2", "agent-0")
    found = messages(history(run), 100.0, 100.1, [])
    assert found["why_empty"] is None and not found["truncated"]
    assert [(one["sent"], one["src"], one["dst"], one["outcome"]) for one in found["messages"]] == [
        (100.0, "agent-0", "agent-1", "delivered"),
        (100.02, "agent-1", "agent-0", "lost (split)"),
        (100.06, "agent-1", "agent-2", "duplicated"),
        (100.1, "agent-0", "agent-1", "delivered"),
    ]
    assert [one["received"] for one in found["messages"]][:2] == [100.05, None]
    alone = messages(history(run), 100.0, 100.1, ["agent-1", "agent-2"])["messages"]
    assert [one["dst"] for one in alone] == ["agent-2"]
    everything = messages(history(run), 0.0, float("inf"), [])
    assert everything["truncated"] and len(everything["messages"]) == MOST_MESSAGES and everything["messages"][0]["sent"] == 0.0
    assert messages(history(run), 350.0, 360.0, [])["why_empty"].startswith("No message")


def test_why_there_are_no_messages(tmp_path: Path) -> None:
    assert messages(history(PlayedRun(tmp_path / "silent")), 0.0, 10.0, [])["why_empty"] == NO_TRACE
    logical = PlayedRun(tmp_path / "logical", clock="logical")
    assert "no times" in messages(history(logical), 0.0, 10.0, [])["why_empty"]


def test_one_edge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = PlayedRun(tmp_path / "traced", faults={"record": "full"})
    run.message(1.0, "agent-0", "agent-1", "propose")  # before the last minute
    for i in range(40):
        run.message(100.0 + i, "agent-0", "agent-1", "average", copies=() if i % 4 == 0 else (i / 1000,))
    run.message(120.0, "agent-1", "agent-0", "propose")
    run.message(120.0, "agent-1", "agent-2", "propose")
    for node, peer, delay in (("agent-0", "agent-1", 3000), ("agent-1", "agent-0", 5000)):
        for t, received, missing in ((110.0, 10, 0), (112.0, 18, 2)):
            run.line(
                f"nodes/{node}/links.jsonl", t=BEGAN + t, incarnation=1, links={f"peer {peer}": [0, received, missing, delay * received]}
            )
    for t, number in ((119.0, 7.0), (130.0, 8.0)):
        run.metric(t, "agent-1", "consensus.round", number)
    run.metric(119.0, "agent-1", "round.duration", 0.025)
    run.event(140.0, "run.note")
    found = edge(history(run), "agent-0", "agent-1")
    assert found["by_type"] == [{"type": "average", "messages": 40, "bytes": 4000}, {"type": "propose", "messages": 1, "bytes": 100}]
    assert found["by_type_of"] == "the last minute" and not found["truncated"]
    assert found["delay_ms"] == 4.0 and found["loss"] == pytest.approx(0.1), "mean of two intervals, one of which lost 2 of 10"
    injected = found["injected"]
    assert injected["loss"] == pytest.approx(10 / 41, abs=1e-4) and 0 < injected["delay_ms"] < injected["p95_ms"]
    assert [one["round"] for one in found["rounds"]] == [7, 8]

    earlier = edge(history(run), "agent-0", "agent-1", 119.5)
    assert earlier["by_type"] == [{"type": "average", "messages": 20, "bytes": 2000}]
    assert earlier["rounds"] == [{"round": 7, "t": 119.0, "text": "agent-1 ended round 7; rounds take 25 ms"}]
    assert edge(history(run), "agent-0", "agent-1", 30.0)["by_type"] == [{"type": "propose", "messages": 1, "bytes": 100}]
    monkeypatch.setattr(message_trace, "_MOST_OF_EDGE", 10)  # of more messages the newest of this edge
    newest = edge(history(run), "agent-0", "agent-1")
    assert newest["truncated"] and newest["injected"]["delay_ms"] > 30.0
    untouched = edge(history(run), "agent-0", "agent-2", 30.0)
    assert (untouched["delay_ms"], untouched["loss"], untouched["injected"], untouched["by_type"]) == (None, None, None, [])
