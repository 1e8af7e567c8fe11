"""Real runs under faults: whole processes die, stop, hang, lie, leave, lose their disk; the run goes on, and is judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.runs.system import CONFIG, SMALL, events, orchestrate, processes_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(150)]


QUICK = [
    "until={episodes: 400, time: 90s}",
    "environment.copies=16",
    "environment.options.horizon=10",
    "agents.learner.replay_ratio=0.015625",
    "agents.world_model.updates_per_tick=0.1",
    "exchange.consensus.every={updates: 2}",
    "supervision.checkpoint_interval=500ms",
]
"""many short episodes, little learning"""


def run(runs: Path, name: str, faults: dict[str, Any], *overrides: str) -> tuple[Path, int, str]:
    """A small run to its end: directory, exit code, output."""
    done = orchestrate(
        runs, "up", str(CONFIG), "--name", name, *SMALL, *QUICK, *overrides, f"faults={json.dumps(faults)}", "--plain", timeout=120
    )
    return runs / name, done.returncode, done.stdout + done.stderr


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def lines(directory: Path, fault: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (directory / "faults.jsonl").read_text().splitlines()]
    return [line for line in found if line.get("id") == fault]


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """One run with deaths, a pause, a hang and a straggler, which it stands."""
    faults = {
        "events": [
            {"id": "crash", "at": {"time": "1s"}, "process": {"target": "agent-3", "action": "kill", "restart_after": "1s"}},
            {"id": "freeze", "at": {"episode": 80}, "for": "3s", "process": {"target": "agent-1", "action": "pause"}},
            {"id": "slow", "at": {"episode": 120}, "for": {"episodes": 60}, "straggler": {"target": "agent-2", "factor": 10}},
            {"id": "skew", "at": {"episode": 120}, "clock": {"target": "agent-0", "offset": "3s", "drift_ppm": 200}},
            {"id": "hang", "at": {"episode": 200}, "for": "1s", "process": {"target": "agent-0", "action": "hang"}},
            {"id": "server", "at": {"episode": 280}, "process": {"target": "env-0", "action": "kill", "restart_after": "500ms"}},
        ],
        "expect": [
            {"metric": "unavailable_time.max", "op": "<", "value": "60s"},
            {"metric": "faults.count", "op": "==", "value": 6},
            {"metric": "node.restarts", "op": "==", "value": 2},
            {"metric": "episodes.lost", "op": "==", "value": 0},
        ],
    }
    directory, code, text = run(tmp_path_factory.mktemp("broken") / "runs", "broken", faults)
    assert code == 0, text
    return directory, text


def test_a_run_stands_its_faults_and_the_verdict_says_so(broken: tuple[Path, str]) -> None:
    directory, _ = broken
    verdict = read(directory / "verdict.json")
    assert verdict["passed"] and [one["passed"] for one in verdict["expectations"]] == [True] * 4
    assert {"seed", "fault_seed", "config_digest", "code_version", "versions", "repeat"} <= verdict.keys()
    assert verdict["repeat"].startswith("orchestrate up") and "faults=" in verdict["repeat"]
    assert read(directory / "run.json")["state"] == "DONE" and processes_of(directory) == []
    report = read(directory / "summary.json")["faults"]
    assert {record["id"] for record in report["faults"]} == {"crash", "freeze", "slow", "skew", "hang", "server"}
    assert all(record["end"] is not None for record in report["faults"]), "all is healed before the end"
    times = [json.loads(line)["t"] for line in (directory / "faults.jsonl").read_text().splitlines()]
    assert times == sorted(times)


def test_who_was_killed_is_back_when_the_schedule_says_and_goes_on(broken: tuple[Path, str]) -> None:
    directory, _ = broken
    (record,) = [record for record in read(directory / "summary.json")["faults"]["faults"] if record["id"] == "crash"]
    assert record["node"] == "agent-3" and record["detection"] is not None
    (dead,) = events(directory, "node.dead", "agent-3")
    assert "killed by signal 9" in dead["text"], "its end is noticed, not its silence"
    (restart,) = events(directory, "node.restart", "agent-3")
    assert "back in 1.0 s" in restart["text"] and "by the fault schedule" in restart["text"]
    assert len(events(directory, "node.alive", "agent-3")) == 2
    (begin,) = lines(directory, "server")
    assert 280 <= begin["episode"] < 320
    assert len(events(directory, "node.alive", "env-0")) == 2, "the server died once: at its restart the trigger is past"


def values(directory: Path, node: str, name: str) -> list[tuple[int, float]]:
    """(step, value) of a metric, in the order in which it was written."""
    told = [json.loads(line) for line in (directory / "nodes" / node / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["value"]) for line in told if line["name"] == name]


def test_a_death_of_the_environment_server_loses_nothing_that_was_learnt_from(broken: tuple[Path, str]) -> None:
    directory, _ = broken
    (begin,) = lines(directory, "server")
    steps = values(directory, "env-0", "steps")
    assert [value for _, value in steps] == sorted(value for _, value in steps), "it goes on from the counts of its newest tick"
    dropped = {value for _, value in values(directory, "env-0", "episodes.dropped")}
    # Copies of one length may all have ended in that tick: then nothing was dropped, and there is no such metric.
    assert len(dropped) <= 1 and all(0 < value <= 16 for value in dropped), "the episodes of its 16 copies that were not over"
    # An agent that was not restarted (agent-1) keeps what it has learnt and stored.
    for name in ("updates", "buffer.transitions", "environment.steps", "environment.episodes"):
        found = [value for _, value in values(directory, "agent-1", name)]
        assert found == sorted(found) and found[-1] > 0, name
    assert values(directory, "agent-1", "environment.episodes")[-1][1] >= begin["episode"]


def test_a_pause_below_ten_seconds_kills_nobody(broken: tuple[Path, str]) -> None:
    directory, _ = broken
    begin, end = lines(directory, "freeze")
    assert 2.9 < end["t"] - begin["t"] < 10.0
    for agent in ("agent-0", "agent-1", "agent-2"):
        assert {event["incarnation"] for event in events(directory, "node.alive", agent)} == {1}
        assert not events(directory, "node.dead", agent)
    assert read(directory / "summary.json")["faults"]["unavailable"]["agent-1"] > 2.9


def test_a_hang_leaves_the_heart_beating(broken: tuple[Path, str]) -> None:
    directory, _ = broken
    begin, end = lines(directory, "hang")
    assert 0.9 < end["seconds"] < 5.0 and begin["episode"] >= 200
    assert not events(directory, "node.suspect", "agent-0")


def test_faults_are_shown_while_they_happen_and_afterwards(broken: tuple[Path, str]) -> None:
    directory, text = broken
    assert "fault crash begins: process.kill at agent-3" in text and "fault freeze ends" in text
    assert [event["code"] for event in events(directory, "fault.begin", "agent-1")] == ["fault.begin"]
    shown = orchestrate(directory.parent, "show", "broken")
    assert shown.returncode == 0
    for word in ("faults", "process.pause", "recovery", "unavailable_time.max < 60", "passed"):
        assert word in shown.stdout


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """One run with a Byzantine agent, a damaged checkpoint and an absence, with an expectation that does not hold."""
    faults = {
        "events": [
            {"id": "liar", "at": {"round": 3}, "for": {"episodes": 200}, "byzantine": {"target": "agent-1", "attack": "nan"}},
            {"id": "disk", "at": {"episode": 200}, "storage": {"target": "agent-3", "action": "corrupt_checkpoint"}},
            {"id": "death", "at": {"episode": 200}, "process": {"target": "agent-3", "action": "exit", "restart_after": "200ms"}},
            {"id": "churn", "at": {"episode": 240}, "membership": {"leave": "agent-0", "return_after": {"episodes": 60}}},
            {"id": "memory", "at": {"episode": 320}, "process": {"target": "agent-2", "action": "oom"}},
        ],
        "expect": [
            {"metric": "node.restarts", "op": ">=", "value": 3},
            {"metric": "success.individual.final", "op": ">", "value": 0.999},
            {"metric": "no.such_figure", "op": "<", "value": 1},
        ],
    }
    # On a fast machine 200 episodes take little more than a second, and there must be a checkpoint before the one that is damaged.
    quick = ["supervision.restart_delay=200ms", "supervision.checkpoint_interval=100ms", "exchange.consensus.every={updates: 1}"]
    directory, code, text = run(tmp_path_factory.mktemp("spoilt") / "runs", "spoilt", faults, *quick)
    assert code == 1, text
    return directory, text


def test_an_expectation_that_fails_is_exit_1_and_the_command_that_repeats_it(spoilt: tuple[Path, str]) -> None:
    directory, text = spoilt
    record = read(directory / "run.json")
    assert record["state"] == "DONE" and record["exit_code"] == 1
    assert "2 of 3 expectations failed" in text and read(directory / "verdict.json")["repeat"] in text
    assert "no.such_figure < 1: not measured" in text and "Traceback" not in text
    verdict = read(directory / "verdict.json")
    assert not verdict["passed"] and [one["passed"] for one in verdict["expectations"]] == [True, False, False]


def test_a_damaged_checkpoint_is_skipped_for_the_one_before(spoilt: tuple[Path, str]) -> None:
    directory, _ = spoilt
    log = (directory / "nodes/agent-3/log.txt").read_text()
    assert "can't be read: its arrays are not those that were written (SHA-256 differs)" in log
    assert events(directory, "node.restored", "agent-3") and not events(directory, "node.lost")


def test_lies_that_are_no_numbers_are_refused_and_the_honest_go_on(spoilt: tuple[Path, str]) -> None:
    directory, _ = spoilt
    begin, end = lines(directory, "liar")
    assert (begin["what"], end["what"]) == ("begin", "end")
    assert "E_NONFINITE" in (directory / "nodes/agent-2/log.txt").read_text()
    for agent in ("agent-0", "agent-2", "agent-3"):
        told = [json.loads(line) for line in (directory / "nodes" / agent / "metrics.jsonl").read_text().splitlines()]
        after = [line["value"] for line in told if line["name"] == "consensus.rounds" and line["t"] > begin["t"]]
        # agent-0 leaves soon after the attack begins; with a Byzantine neighbour each of its rounds takes until its deadline.
        assert sum(after) > 0 or agent == "agent-0", "it has closed rounds since the attack began"
        assert "Traceback" not in (directory / "nodes" / agent / "log.txt").read_text().split("MemoryError")[0] or agent == "agent-2"


def test_who_leaves_in_order_is_missed_by_nobody_and_returns(spoilt: tuple[Path, str]) -> None:
    directory, _ = spoilt
    (left,) = [event for event in events(directory, "node.left", "agent-0") if event["incarnation"] == 1]
    (back,) = [event for event in events(directory, "node.alive", "agent-0") if event["incarnation"] == 2]
    assert left["t"] < back["t"] and "leaves by the fault schedule" in left["text"]
    restored = events(directory, "node.restored", "agent-0")
    assert restored, "it left a checkpoint behind"


def test_out_of_memory_is_a_crash_like_any_other(spoilt: tuple[Path, str]) -> None:
    directory, _ = spoilt
    (restart,) = events(directory, "node.restart", "agent-2")
    assert restart["exit"] in (10, -6) and len(events(directory, "node.alive", "agent-2")) == 2
