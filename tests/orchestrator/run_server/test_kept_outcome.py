"""A finished run has nothing to do, and a longer one that is interrupted before it did more leaves its record as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.config.loader import load
from orchestrator.results import run_directories as runs
from orchestrator.results.kept_outcome import keep_node_files, restore_outcome
from orchestrator.results.run_files import read_json, write_json
from orchestrator.run_server.resume_request import load_resumed, nothing_to_do, prepare_resume, settle
from orchestrator.run_server.run_start import prepare_run
from protocols.runtime.atomic_files import sealed
from protocols.runtime.errors import ConfigurationError

SHIPPED = Path(__file__).resolve().parents[3] / "configs" / "4agents_ring.yaml"
RECORD = {"name": "night", "state": "DONE", "exit_code": 0, "reason": "200 steps", "ended": "2026-01-01T00:00:00.000Z", "segment": 1}
STOPPED = {"state": "STOPPED", "exit_code": 130, "reason": "stopped by you", "ended": "2026-01-02T00:00:00.000Z"}


def numbers(directory: Path, steps: int) -> None:
    home = directory / "nodes" / "env-0"
    home.mkdir(parents=True, exist_ok=True)
    (home / "counters.json").write_bytes(sealed({"steps": steps, "episodes": steps // 10}))


def checkpoint(directory: Path, tick: int, steps: int) -> None:
    """Of the environment server under the logical clock, after the end of training."""
    home = directory / "nodes" / "env-0" / "checkpoints"
    home.mkdir(parents=True, exist_ok=True)
    state = {"course": {"training": False, "end": [tick, steps, 3]}, "numbers": {"steps": steps, "episodes": 3}}
    (home / f"{tick:012d}.json").write_bytes(sealed(state))


@pytest.fixture
def done(tmp_path: Path) -> Path:
    """A run that is done after 200 steps and 12 s."""
    directory = prepare_run(load(SHIPPED, ["until={steps: 200, time: 60s}"]), tmp_path, "night", "orchestrate up")
    write_json(directory / "run.json", {**RECORD, "trained": 12.0})
    write_json(directory / "summary.json", {"state": "DONE"})
    numbers(directory, 203)
    return directory


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("given", "key"),
    [([], "until.steps=400"), (["until.steps=150"], "until.steps=300"), (["until={time: 12s}"], "until.time=24s")],
)
def test_a_run_that_is_done_has_nothing_to_do(done: Path, given: list[str], key: str) -> None:
    before = contents(done)
    text = nothing_to_do(done, load_resumed(done, given, None).configuration)
    assert "nothing to do" in text and text.endswith(f"orchestrate up --resume night {key}")
    assert contents(done) == before


@pytest.mark.parametrize("given", ["until.steps=2000", "until={time: 13s}", "until={episodes: 21}"])
def test_a_larger_limit_is_something_to_do(done: Path, given: str) -> None:
    assert not nothing_to_do(done, load_resumed(done, [given], None).configuration)


@pytest.mark.parametrize("state", ["STOPPED", "FAILED"])
def test_a_run_that_is_not_done_goes_on(done: Path, state: str) -> None:
    write_json(done / "run.json", {**RECORD, "state": state})
    assert not nothing_to_do(done, load_resumed(done, [], None).configuration)


def test_under_the_logical_clock_the_end_is_that_of_the_newest_checkpoint(tmp_path: Path) -> None:
    directory = prepare_run(load(SHIPPED, ["clock=logical", "until={time: 3s}"]), tmp_path, "ticks", "orchestrate up")
    write_json(directory / "run.json", {**RECORD, "name": "ticks"})
    write_json(directory / "summary.json", {})
    checkpoint(directory, 300, 9000)
    assert "until.time=6s" in nothing_to_do(directory, load_resumed(directory, [], None).configuration)
    assert not nothing_to_do(directory, load_resumed(directory, ["until={time: 3.01s}"], None).configuration)
    assert "until.steps=18000" in nothing_to_do(directory, load_resumed(directory, ["until={steps: 9000}"], None).configuration)
    (directory / "nodes" / "env-0" / "checkpoints" / f"{300:012d}.json").unlink()
    assert nothing_to_do(directory, load_resumed(directory, [], None).configuration)
    assert not nothing_to_do(directory, load_resumed(directory, ["until={time: 30s}"], None).configuration)


def test_other_sections_are_refused_before_anything_changes(done: Path) -> None:
    before = contents(done)
    with pytest.raises(ConfigurationError, match="environment: would make another run"):
        prepare_resume(done, ["environment.copies=3"], None)
    assert contents(done) == before


def test_an_attempt_that_did_no_more_leaves_the_run_as_it_was(done: Path) -> None:
    before = contents(done)
    prepare_resume(done, ["until.steps=2000"], None)
    assert read_json(done / "run.json")["state"] == "STARTING"
    assert read_json(done / "config.json")["until"]["steps"] == 2000
    write_json(done / "run.json", {**read_json(done / "run.json"), "state": "STOPPING", "segment": 2})
    assert restore_outcome(done, STOPPED)
    run = runs.read(done)
    assert (run.state, run.exit_code, run.reason, run.attempt) == ("DONE", 0, "200 steps", STOPPED)
    assert run.record["segment"] == 2, "numbers of segments are not used twice"
    after = contents(done)
    assert {name for name in before if before[name] != after[name]} == {"run.json"} and after.keys() == before.keys()
    prepare_resume(done, ["until.steps=2000"], None)
    assert runs.read(done).attempt is None


@pytest.mark.parametrize(("steps", "end"), [(204, STOPPED), (203, {**STOPPED, "state": "DONE", "exit_code": 0})])
def test_an_attempt_that_did_more_or_came_to_its_end_counts(done: Path, steps: int, end: dict[str, object]) -> None:
    prepare_resume(done, ["until.steps=2000"], None)
    numbers(done, steps)
    assert not restore_outcome(done, end)
    assert read_json(done / "config.json")["until"]["steps"] == 2000 and not (done / "resume").exists()


def test_a_killed_attempt_is_settled_when_it_is_resumed_or_ended(done: Path) -> None:
    prepare_resume(done, ["until.steps=2000"], None)
    write_json(done / "run.json", {**read_json(done / "run.json"), "pid": 1, "segment": 2})
    assert runs.read(done).state == "LOST"
    settle(done)
    assert runs.read(done).state == "DONE" and read_json(done / "config.json")["until"]["steps"] == 200


def test_the_nodes_files_return_with_the_record_where_they_were_cut(done: Path) -> None:
    home = done / "nodes" / "env-0"
    (home / "counters.json").unlink()
    checkpoint(done, 300, 200)
    (home / "metrics.jsonl").write_text('{"t": 1}\n{"t": 2}\n')
    (home / "incarnations.jsonl").write_text("1\n")
    before = contents(done / "nodes")
    prepare_resume(done, ["until.steps=2000"], None)
    keep_node_files(done)
    (home / "metrics.jsonl").write_text('{"t": 1}\n')
    (home / "faults.jsonl").write_text("{}\n")
    (home / "incarnations.jsonl").write_text("1\n2\n")
    (home / "checkpoints" / f"{300:012d}.json").unlink()
    checkpoint(done, 200, 100)
    assert restore_outcome(done, STOPPED)
    assert contents(done / "nodes") == {**before, "env-0/incarnations.jsonl": b"1\n2\n"}


def test_nothing_is_kept_of_a_run_that_was_interrupted(done: Path) -> None:
    write_json(done / "run.json", {**RECORD, **STOPPED})
    prepare_resume(done, ["until.steps=2000"], None)
    assert not (done / "resume").exists() and not restore_outcome(done, STOPPED)
    assert json.loads((done / "run.json").read_text())["state"] == "STARTING"
