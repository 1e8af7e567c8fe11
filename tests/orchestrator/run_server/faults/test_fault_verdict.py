"""The report of a fault run from files that are written by hand, and the verdict on it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.configuration import Configuration
from orchestrator.results.recorded_run import RecordedRun
from orchestrator.run_server.faults.fault_conclusion import absence, judge, scheduled, verdict
from orchestrator.run_server.faults.fault_report import merge_logs, report
from protocols.faults.settings import FaultExpectation, MembershipFault, ProcessFault

T = 1_700_000_000.0


def write(path: Path, lines: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def event(t: float, code: str, node: str = "run") -> dict[str, Any]:
    return {"t": datetime.fromtimestamp(T + t, UTC).isoformat(timespec="milliseconds"), "code": code, "node": node, "severity": "info"}


def fault(t: float, what: str, fault_: str, kind: str, node: str, **more: Any) -> dict[str, Any]:
    return {"t": T + t, "what": what, "id": fault_, "kind": kind, "node": node, "incarnation": 1, **more}


def rates(values: list[float], name: str = "steps_per_second") -> list[dict[str, Any]]:
    return [{"t": T + k, "step": k, "episode": k, "name": name, "value": value} for k, value in enumerate(values)]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write(tmp_path / "nodes/run/faults.jsonl", [fault(10.0, "begin", "crash", "process.kill", "run", target="agent-1")])
    write(
        tmp_path / "nodes/agent-0/faults.jsonl",
        [fault(22.0, "begin", "freeze", "process.pause", "agent-0"), fault(25.0, "end", "freeze", "process.pause", "agent-0")],
    )
    write(
        tmp_path / "events.jsonl",
        [
            event(0.0, "run.running"),
            event(10.2, "node.dead", "agent-1"),
            event(13.5, "node.alive", "agent-1"),
            event(40.0, "run.stopping"),
            event(41.0, "node.left", "agent-0"),
        ],
    )
    # 100 a second; the death halves it until 15, the pause stops it until 26
    steps = [100.0] * 11 + [50.0] * 5 + [100.0] * 7 + [0.0] * 4 + [95.0] * 14
    write(tmp_path / "nodes/env-0/metrics.jsonl", rates(steps) + rates([0, 1, 1, 3, 0, 2], "episodes.peer_lost"))
    write(tmp_path / "nodes/agent-0/metrics.jsonl", rates([4.0] * 41, "consensus.rounds"))
    write(tmp_path / "nodes/run/metrics.jsonl", rates([1.0, 0.5, 1e-7], "consensus.disagreement"))
    return tmp_path


def test_times_and_rates_of_each_fault(directory: Path) -> None:
    assert merge_logs(directory) == 3
    times = [json.loads(line)["t"] for line in (directory / "faults.jsonl").read_text().splitlines()]
    assert times == sorted(times)
    done = report(directory, {"crash": 3.0}, {"episodes.lost": 0.0})
    crash, freeze = done.faults
    assert (crash.node, crash.end) == ("agent-1", T + 13.0)
    assert crash.detection == pytest.approx(0.2, abs=1e-3)
    assert crash.recovery == pytest.approx(16.0 - 13.0), "the window from 15 to 16 is the first whole one at full rate"
    assert crash.steps_per_second["before"] == 100.0 and crash.steps_per_second["during"] == 50.0
    assert freeze.detection is None and freeze.recovery == pytest.approx(27.0 - 25.0)
    assert freeze.rounds_per_second["during"] == 4.0
    assert done.unavailable == pytest.approx({"agent-1": 3.3, "agent-0": 3.0}, abs=1e-3)
    figures = done.fault_metrics
    assert figures["recovery_time.max"] == pytest.approx(3.0) and figures["detection_time.max"] == pytest.approx(0.2, abs=1e-3)
    assert figures["unavailable_time.sum"] == pytest.approx(6.3, abs=1e-3)
    assert figures["consensus.error"] == 1e-7 and figures["episodes.lost"] == 0.0
    assert figures["episodes.discarded"] == 3.0, "the second incarnation counted on from 0, which the first had saved before its death"
    assert done.metrics["consensus.rounds.mean"] == 4.0 and done.metrics["steps_per_second.final"] == 95.0


@pytest.mark.parametrize("killed", [False, True])
def test_interruptions_of_the_run_do_not_count(directory: Path, killed: bool) -> None:
    merge_logs(directory)
    whole = report(directory, {"crash": 3.0}, {})
    gap = 1000.0
    for path in directory.glob("nodes/*/*.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        write(path, [{**line, "t": line["t"] + gap * (line["t"] > T + 5.0)} for line in lines])
    events = [json.loads(line) for line in (directory / "events.jsonl").read_text().splitlines()]
    late = [event(datetime.fromisoformat(one["t"]).timestamp() - T + gap, one["code"], one["node"]) for one in events[1:]]
    ends = [event(5.2, "node.suspect", "agent-0")] if killed else [event(5.0, "run.stopping"), event(5.1, "node.left", "agent-0")]
    goes_on = [
        {**event(995.0, "run.resumed"), "fields": {"trained": 5.0}},
        event(1004.0, "node.alive", "agent-0"),
        event(1005.0, "run.running"),
    ]
    write(directory / "events.jsonl", [events[0], *ends, *goes_on, *late])
    merge_logs(directory)
    done = report(directory, {"crash": 3.0}, {})
    assert done.fault_metrics == pytest.approx(whole.fault_metrics, abs=1e-3)
    assert done.unavailable == pytest.approx(whole.unavailable, abs=1e-3)
    assert [(record.begin, record.end) for record in done.faults] == [
        (record.begin + gap, None if record.end is None else record.end + gap) for record in whole.faults
    ]
    time = RecordedRun(directory).training_time
    assert [round(time.of(T + t), 3) for t in (0.0, 5.0, 6.0, 900.0, 1005.0, 1010.0)] == [0.0, 5.0, 5.0, 5.0, 5.0, 10.0]


def test_a_run_that_never_recovers_says_so(directory: Path) -> None:
    write(directory / "nodes/env-0/metrics.jsonl", rates([100.0] * 11 + [50.0] * 30))
    merge_logs(directory)
    done = report(directory, {}, {})
    assert done.faults[0].recovery is None and done.fault_metrics["recovery_time.max"] == inf
    (one,) = judge([FaultExpectation(metric="recovery_time.max", op="<", value="20s")], done.fault_metrics)
    assert not one.passed
    written = verdict([one], done.fault_metrics, {})
    assert json.loads(json.dumps(written, allow_nan=False))["figures"]["recovery_time.max"] == "never"


def test_a_node_that_stays_away_is_no_recovery(directory: Path) -> None:
    lines = [json.loads(line) for line in (directory / "events.jsonl").read_text().splitlines()]
    write(directory / "events.jsonl", [line for line in lines if line["code"] != "node.alive"])
    merge_logs(directory)
    assert [record.recovery for record in report(directory, {}, {}).faults] == [None, None]


def test_a_death_whose_length_is_not_in_seconds_ends_with_the_return(directory: Path) -> None:
    merge_logs(directory)
    crash = report(directory, {"crash": None}, {}).faults[0]
    assert crash.end == T + 13.5 and crash.recovery == pytest.approx(16.0 - 13.5)
    write(directory / "nodes/run/faults.jsonl", [fault(30.0, "begin", "last", "membership.leave", "run", target="agent-1")])
    merge_logs(directory)
    last = report(directory, {"last": None}, {}).faults[1]
    assert last.id == "last" and last.end is None, "it was alive before and never again"


def test_who_is_back_before_its_time_is_back(directory: Path) -> None:
    merge_logs(directory)
    crash = report(directory, {"crash": 60.0}, {}).faults[0]
    assert crash.end == T + 13.5 and crash.recovery == pytest.approx(16.0 - 13.5), "all was healed meanwhile"


def test_a_return_under_the_logical_clock_is_seen_by_the_agents_own_figures(tmp_path: Path) -> None:
    left = {"t": 10.0, "what": "begin", "id": "gone", "kind": "membership.leave", "node": "agent-1", "incarnation": 1, "time": 10.0}
    write(tmp_path / "nodes/agent-1/faults.jsonl", [left])
    figures = [{"t": t, "step": 0, "episode": 0, "name": "loss", "value": 1.0} for t in (9.0, 10.0, 14.0, 15.0)]
    write(tmp_path / "nodes/agent-1/metrics.jsonl", figures)
    write(tmp_path / "nodes/agent-1/usage.jsonl", [{"t": T, "step": 0, "episode": 0, "name": "time.act", "value": 1.0}])
    steps = [{"t": float(k), "step": k, "episode": 0, "name": "steps", "value": 64.0 * k} for k in range(31)]
    write(tmp_path / "nodes/env-0/metrics.jsonl", steps)
    merge_logs(tmp_path)
    done = report(tmp_path, {"gone": None}, {}, ["gone"])
    assert done.faults[0].end == 14.0 and done.unavailable == {"agent-1": 4.0}
    write(tmp_path / "nodes/agent-1/metrics.jsonl", figures[:2])
    assert report(tmp_path, {"gone": None}, {}, ["gone"]).unavailable == {"agent-1": 20.0}


SMALL = {"version": 2, "until": {"time": "5min"}, "environment": {"id": "landmarks"}, "agents": {"count": 2}}


def test_faults_that_are_drawn_are_known_with_their_lengths() -> None:
    weights = {"partition": 0, "kill": 1, "pause": 0, "slow": 0, "link": 0}
    drawn = {"every": "20s", "duration": "8s", "weights": weights}
    configuration = Configuration.model_validate({**SMALL, "faults": {"seed": 1, "random": drawn}})
    events = scheduled(configuration, 100.0)
    assert events and all(event.start.value <= 101.0 for event in events)
    assert {absence(event.node_fault, configuration) for event in events} == {8.0}


def test_how_long_a_fault_holds_its_node_back() -> None:
    wall = Configuration.model_validate(SMALL)
    logical = Configuration.model_validate({**SMALL, "clock": "logical"})
    kill, exits = ProcessFault(target="agent-0", action="kill"), ProcessFault(target="agent-0", action="exit", code=3)
    assert [absence(kill, wall), absence(kill, logical)] == [0.0, logical.supervision.restart_delay]
    assert [absence(exits, wall), absence(exits, logical)] == [0.0, None], "it is not restarted"
    for after, held in (({"time": "3s"}, 3.0), ({"episodes": 20}, None), ({"steps": 5}, None)):
        left = MembershipFault.model_validate({"leave": "agent-0", "return_after": after})
        assert absence(left, wall) == absence(left, logical) == held
    assert absence(MembershipFault(leave="agent-0"), logical) is None


@pytest.mark.parametrize(
    ("op", "value", "passed"),
    [
        ("==", 3, True),
        ("==", 4, False),
        ("!=", 4, True),
        ("<", "4s", True),
        ("<", 3, False),
        ("<=", 3, True),
        (">", 2, True),
        (">=", 4, False),
    ],
)
def test_expectations(op: str, value: Any, passed: bool) -> None:
    (one,) = judge([FaultExpectation.model_validate({"metric": "a.b", "op": op, "value": value})], {"a.b": 3.0})
    assert one.passed is passed and "measured 3" in one.text()


def test_what_was_not_measured_has_failed_and_the_nearest_name_is_told() -> None:
    (one,) = judge([FaultExpectation(metric="recovery_tme.max", op="<", value=1)], {"recovery_time.max": 0.5})
    assert not one.passed and "recovery_time.max" in one.text() and "not measured" in one.text()


def test_under_the_logical_clock_all_times_are_those_of_the_schedule(tmp_path: Path) -> None:
    def line(node: str, t: float, what: str, fault_: str, kind: str, **more: Any) -> dict[str, Any]:
        dated = {} if kind == "partition" else {"t": t}
        return {**dated, "what": what, "id": fault_, "kind": kind, "node": node, "incarnation": 1, "time": t, **more}

    write(
        tmp_path / "nodes/agent-0/faults.jsonl",
        [
            line("agent-0", 0.01, "on", "wan", "link"),
            line("agent-0", 20.0, "on", "split", "partition"),
            line("agent-0", 26.0, "off", "split", "partition"),
        ],
    )
    write(
        tmp_path / "nodes/agent-1/faults.jsonl",
        [
            line("agent-1", 20.0, "on", "split", "partition"),
            line("agent-1", 22.0, "begin", "crash", "process.kill"),
            line("agent-1", 28.0, "on", "split", "partition"),
            line("agent-1", 28.0, "off", "split", "partition"),
        ],
    )
    # the time of day at which the process came and went, which has nothing to do with the run's own time
    write(tmp_path / "events.jsonl", [event(0.0, "run.running"), event(1.0, "node.dead", "agent-1"), event(1.5, "node.alive", "agent-1")])
    speed = [64.0] * 22 + [0.0] * 7 + [64.0] * 11
    steps = [{"t": float(k), "step": k, "episode": 0, "name": "steps", "value": sum(speed[:k])} for k in range(len(speed) + 1)]
    write(tmp_path / "nodes/env-0/metrics.jsonl", steps)
    merge_logs(tmp_path)
    done = report(tmp_path, {"crash": 6.0}, {}, ["split", "crash"])
    assert [(one.id, one.begin, one.end, one.detection, one.recovery) for one in done.faults] == [
        ("split", 20.0, 26.0, None, 4.0),  # from 29 on the speed is what it was: a whole window from 29 to 30
        ("crash", 22.0, 28.0, None, 2.0),
    ]
    assert done.unavailable == {"agent-1": 6.0}
    assert done.fault_metrics["steps_per_second.before"] == 64.0 and "detection_time.max" not in done.fault_metrics
    order = [json.loads(text)["id"] for text in (tmp_path / "faults.jsonl").read_text().splitlines()]
    assert order == ["wan", "split", "split", "crash", "split", "split", "split"], "lines without a time of day are in order too"
