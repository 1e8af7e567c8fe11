"""Runs and their states are found from files alone."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.results import run_directories as reader
from orchestrator.results.run_files import RunLock
from protocols.runtime.errors import UsageError
from tests.orchestrator.cli.conftest import Orchestrate, command, environment

_HOLDER = """
import sys
from pathlib import Path
from orchestrator.results.run_files import RunLock
RunLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def make(runs: Path, name: str, **record: object) -> Path:
    directory = runs / name
    (directory / "nodes" / "agent-0").mkdir(parents=True)
    (directory / "run.json").write_text(json.dumps({"name": name, **record}))
    return directory


@pytest.fixture
def holder(runs: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock of the run `live`, as a run server does."""
    directory = make(runs, "live", state="RUNNING", started="2026-11-21T14:00:05.000Z")
    process = subprocess.Popen([sys.executable, "-c", _HOLDER, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate(timeout=10)


def test_states(runs: Path, holder: subprocess.Popen[str]) -> None:
    ended = make(
        runs, "ended", state="FAILED", exit_code=20, reason="too few", started="2026-11-21T14:00:00Z", ended="2026-11-21T14:01:30Z"
    )
    left = make(runs, "left", state="RUNNING", started="2026-11-21T13:00:00.000Z")
    run = reader.read(ended)
    assert (run.state, run.alive, run.over, run.exit_code, run.elapsed) == ("FAILED", False, True, 20, 90.0)
    live = reader.read(runs / "live")
    assert (live.state, live.alive, live.over) == ("RUNNING", True, False)
    lost = reader.read(left)
    assert (lost.state, lost.alive, lost.over) == ("LOST", False, True)
    holder.kill()
    holder.wait(10)
    assert reader.read(runs / "live").state == "LOST"


def test_a_new_run_is_starting_until_its_server_had_time(runs: Path) -> None:
    directory = runs / "new"
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{}")
    assert reader.read(directory).state == "STARTING"
    assert not reader.read(directory).over
    long_ago = time.time() - 60
    os.utime(directory, (long_ago, long_ago))
    assert reader.read(directory).state == "LOST"


def test_a_run_server_that_was_there_and_is_gone_is_lost_at_once(runs: Path) -> None:
    assert reader.read(make(runs, "young", state="STARTING", pid=4711)).over


def test_looking_does_not_keep_a_run_server_from_its_lock(runs: Path) -> None:
    directory = make(runs, "fresh", state="STARTING")
    (directory / "run.lock").touch()
    for _ in range(100):
        assert not reader.lock_held(directory)
    lock = RunLock(directory, timeout=0.0)
    assert reader.lock_held(directory)
    lock.release()
    assert not reader.lock_held(directory)


def test_newest_by_name_by_directory(runs: Path, tmp_path: Path) -> None:
    make(runs, "older", state="DONE", started="2026-11-21T14:00:00.000Z")
    make(runs, "newer", state="DONE", started="2026-11-21T15:00:00.000Z")
    (runs / "no-run").mkdir()
    assert [run.name for run in reader.all_runs(runs)] == ["newer", "older"]
    assert reader.find(runs).name == "newer"
    assert reader.find(runs, "older").name == "older"
    assert reader.find(tmp_path / "elsewhere", str(runs / "older")).name == "older"
    with pytest.raises(UsageError, match='did you mean "newer"'):
        reader.find(runs, "newwer")
    with pytest.raises(UsageError, match="orchestrate up"):
        reader.find(tmp_path / "elsewhere")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"state": 3}', "\x00"])
def test_torn_records_are_survived(runs: Path, text: str) -> None:
    directory = make(runs, "torn")
    (directory / "run.json").write_text(text)
    assert reader.read(directory).name == "torn"


def test_ps_lists_and_hides(orchestrate: Orchestrate, runs: Path, holder: subprocess.Popen[str]) -> None:
    make(
        runs,
        "old",
        state="FAILED",
        exit_code=20,
        reason="fewer than 2 agents alive",
        started="2026-11-20T14:00:00Z",
        ended="2026-11-20T14:05:02Z",
    )
    rows = [json.loads(line) for line in orchestrate("ps", "--json").stdout.splitlines()]
    assert [row["run"] for row in rows] == ["live"]
    text = orchestrate("ps", "-a").stdout.splitlines()
    assert text[0].split()[:5] == ["RUN", "STATE", "ENGINE", "NODES", "PROGRESS"]
    assert text[1].split()[:3] == ["live", "running", "local"]
    assert text[2].split()[:3] == ["old", "failed", "local"]
    assert "5:02" in text[2] and "exit 20: fewer than 2 agents alive" in text[2]
    figure = '{"t": 1.0, "step": 90, "episode": %d, "name": "return", "value": %s}\n'
    (runs / "old" / "nodes" / "agent-0" / "metrics.jsonl").write_text(figure % (6, 0.1) + figure % (7, 0.25) + '{"t": 2.0, "st')
    nodes = [json.loads(line) for line in orchestrate("ps", "old", "--json").stdout.splitlines()]
    assert [(node["name"], node["state"]) for node in nodes] == [("agent-0", "ended")]
    assert nodes[0]["metrics"] == {"return": 0.25, "episode": 7.0}  # what was last seen of it; a torn line is none


def test_a_folder_that_holds_no_runs_says_so(orchestrate: Orchestrate, tmp_path: Path) -> None:
    assert "there is no run in nowhere/" in orchestrate("ps", "--runs-dir", "nowhere").stdout
    (tmp_path / "file").write_text("")
    for words in (["ps"], ["down", "--all"], ["show", "x"]):
        done = orchestrate(*words, "--runs-dir", "file")
        assert done.returncode == 2 and "name their folder with --runs-dir" in done.stderr


def test_a_reader_that_goes_away_is_no_error(runs: Path, tmp_path: Path) -> None:
    for number in range(500):  # more than a pipe holds
        make(runs, f"run-{number:04d}", state="DONE", exit_code=0, reason="4000 episodes " * 20)
    line = shlex.join(command(["ps", "-a"])) + ' | head -1; exit "${PIPESTATUS[0]}"'
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=environment(runs), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("RUN")


def test_down_ends_what_a_dead_run_server_left(orchestrate: Orchestrate, runs: Path) -> None:
    """A process of the run, marked as its host marks it, is ended; the run is closed; a second `down` finds nothing to do."""
    from orchestrator.launch.process_control import MARK

    directory = make(runs, "night", state="RUNNING", started="2026-11-21T14:00:00Z")
    (directory / "control.json").write_text('{"endpoint": "tcp://127.0.0.1:1", "token": "x"}')
    left = subprocess.Popen(
        [sys.executable, "-c", "print('up', flush=True); import signal; signal.pause()"],
        env={**os.environ, MARK: str(directory.resolve())},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert left.stdout is not None and left.stdout.readline() == "up\n"
        done = orchestrate("down", "night", "--json")
        report = json.loads(done.stdout)
        assert done.returncode == 0
        assert left.wait(10) == -9
        assert report["left"] == [] and "1 processes were killed" in report["how"]
        record = json.loads((directory / "run.json").read_text())
        assert record["state"] == "STOPPED" and record["exit_code"] == 130
        assert not (directory / "control.json").exists()
        again = orchestrate("down", "night")
        assert again.returncode == 0 and "had ended already" in again.stdout
        assert orchestrate("down", "--all").returncode == 0
    finally:
        left.kill()
        left.communicate(timeout=10)
