"""`orchestrate restart`, `fault`, `init` and `clean` as a person uses them: in pipes and in real pseudo-terminals."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.loader import load
from orchestrator.launch.process_control import MARK, sweep
from orchestrator.results.run_directories import read
from tests.orchestrator.cli.conftest import CONFIG, REPOSITORY, command, environment
from tests.orchestrator.cli.terminal import Terminal
from tests.orchestrator.run_server.cluster import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "runs"
    for directory in (tmp_path / "runs").glob("*"):
        sweep(directory)


def orchestrate(runs: Path, *arguments: str, module: str = "orchestrator") -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", module, *arguments]
    return subprocess.run(words, cwd=runs.parent, env=environment(runs), capture_output=True, text=True, timeout=60, check=False)


def objects(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


# --- a living run ----------------------------------------------------------------------------------------------------------------------


def test_restart_and_fault_on_a_living_run(runs: Path) -> None:
    small = ["agents.count=2", "until={time: 100s}", "supervision={restart_delay: 200ms, orphan: 3s, dead: 100s}"]
    up = orchestrate(runs, "up", str(CONFIG), *small, "-d", "--name", "night", module="tests.orchestrator.cli.small_up")
    assert up.returncode == 0, up.stderr
    restarted = orchestrate(runs, "restart", "night", "agent-*")
    assert restarted.returncode == 0, restarted.stderr
    said = sorted(line.split(" (")[0] for line in restarted.stdout.splitlines())
    assert said == ["agent-0 is back as incarnation 2", "agent-1 is back as incarnation 2"]
    (begun,) = objects(orchestrate(runs, "fault", "night", "pause", "agent-1", "--json"))
    assert (begun["run"], begun["id"], begun["targets"]) == ("night", "by-hand-1", ["agent-1"])
    cut = orchestrate(runs, "fault", "night", "cut", "agent-0:agent-1", "--for", "1h")
    assert cut.stdout == "by-hand-2: partition agent-0 | agent-1; for 1h\n", cut.stderr
    (paused, parted) = objects(orchestrate(runs, "fault", "night", "list", "--json"))
    assert {paused["id"], parted["id"]} == {"by-hand-1", "by-hand-2"} and paused["by_hand"] and parted["by_hand"]
    table = Terminal(command(["fault", "night", "list"]), runs.parent, environment(runs))
    try:
        assert table.wait() == 0
        assert "ID " in table.text and "partition" in table.text and "agent-0 | agent-1" in table.text
    finally:
        table.close()
    broken = orchestrate(runs, "fault", "night", "loss", "agent-9", "1.5")
    assert broken.returncode == 3 and "1.5 is more than 1" in broken.stderr, "by the rules of a configuration"
    assert orchestrate(runs, "fault", "night", "heal").stdout == "healed: by-hand-1, by-hand-2\n"
    kept = orchestrate(runs, "clean", "--older", "0s", "-y")
    assert (kept.returncode, kept.stdout) == (0, "no run is to be removed\n") and read(runs / "night").alive
    assert orchestrate(runs, "down", "night", "--now").returncode == 0
    over = orchestrate(runs, "fault", "night", "kill", "agent-0")
    assert over.returncode == 6 and "it has ended" in over.stderr
    assert orchestrate(runs, "clean", "--stopped", "-y", "--json").returncode == 0
    assert not (runs / "night").exists(), "what make_run makes is like what a run leaves behind"


# --- init ------------------------------------------------------------------------------------------------------------------------------


def test_init_writes_a_commented_configuration_that_stands_alone(runs: Path) -> None:
    done = orchestrate(runs, "init", "mine")
    assert done.returncode == 0 and done.stdout.startswith("wrote mine.yaml"), done.stderr
    path = runs.parent / "mine.yaml"
    text, given = path.read_text(), CONFIG.read_text()
    assert load(path).configuration.model_copy(update={"name": "ring"}) == load(CONFIG).configuration
    assert load(path).configuration.name == "mine"
    first, rest = text.split("\n", 1)
    assert (path.parent / first.partition("$schema=")[2]).resolve() == REPOSITORY / "configs" / "schema.json"
    assert rest.replace("name: mine", "name: ring").replace("called mine-", "called ring-") == given.split("\n", 1)[1], "with every comment"
    assert "# runs are called mine-<two words>" in (runs.parent / "mine.yaml").read_text()
    again = orchestrate(runs, "init", "mine")
    assert again.returncode == 3 and "mine.yaml exists already, and is not overwritten" in again.stderr and path.read_text() == text
    (runs.parent / "deep").mkdir()
    extended = orchestrate(runs, "init", "deep/wide.yaml", "--like", "odmar/far", "--json")
    (line,) = objects(extended)
    wide = runs.parent / line["path"]
    assert "extends:" not in wide.read_text() and wide.read_text().count("#") > 20
    base = load(REPOSITORY / "configs" / "odmar" / "far.yaml").configuration
    assert load(wide).configuration.model_copy(update={"name": base.name}) == base
    schema = wide.read_text().split("\n", 1)[0].partition("$schema=")[2]
    assert (wide.parent / schema).resolve() == REPOSITORY / "configs" / "schema.json" and wide.read_text().count("$schema") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("mine", "--like", "4agent_ring"), 2, 'did you mean "4agents_ring"'),
        (("Mine Own",), 2, "can't be the name of runs"),
        (("no/such/folder/mine",), 6, "make its folder"),
        ((), 2, "Missing argument"),
    ],
)
def test_init_refuses_with_the_cure(runs: Path, arguments: tuple[str, ...], code: int, says: str) -> None:
    done = orchestrate(runs, "init", *arguments)
    assert done.returncode == code and says in done.stderr
    assert list(runs.parent.glob("*.yaml")) == []


# --- clean -----------------------------------------------------------------------------------------------------------------------------


def make_run(runs: Path, name: str, state: str, days: float, size: int = 5000) -> Path:
    directory = runs / name
    (directory / "nodes" / "agent-0").mkdir(parents=True)
    end = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    record = {"name": name, "state": state, "exit_code": 0, "reason": "", "started": end, "ended": end, "engine": "local", "pid": 1}
    (directory / "run.json").write_text(json.dumps(record))
    (directory / "config.json").write_text("{}")
    (directory / "run.lock").touch()
    (directory / "nodes" / "agent-0" / "log.txt").write_bytes(b"x" * size)
    return directory


@pytest.fixture
def several(runs: Path) -> dict[str, Path]:
    made = {
        "old": make_run(runs, "old", "DONE", 40),
        "young": make_run(runs, "young", "DONE", 1),
        "failed": make_run(runs, "failed", "FAILED", 1),
        "stopped": make_run(runs, "stopped", "STOPPED", 50),
        "lost": make_run(runs, "lost", "RUNNING", 60),
        "renamed": make_run(runs, "renamed", "DONE", 60),
    }
    made["renamed"].rename(runs / "a-copy")  # a renamed copy is wanted
    (runs / "notes").mkdir()
    (runs / "notes" / "config.json").write_text("{}")  # a foreign directory, no run
    (runs / "link").symlink_to(made["old"])
    return made


def left(runs: Path) -> set[str]:
    return {path.name for path in runs.iterdir()}


def test_clean_removes_by_age_and_state_and_nothing_else(runs: Path, several: dict[str, Path]) -> None:
    everything = left(runs)
    rows = objects(orchestrate(runs, "clean", "--older", "30d", "--dry-run", "--json"))
    assert {(row["run"], row["removed"]) for row in rows} == {("old", False), ("stopped", False)} and left(runs) == everything
    assert all(5000 < row["bytes"] < 6000 for row in rows)
    for arguments, says in (("--older 30d", "no terminal for the question"), ("", "which runs?"), ("--older 30x -y", "is not a time")):
        done = orchestrate(runs, "clean", *arguments.split())
        assert done.returncode == 2 and says in done.stderr and left(runs) == everything
    done = orchestrate(runs, "clean", "--older", "30d", "--stopped", "-y")
    assert done.returncode == 0 and "removed 1 run, " in done.stdout and "lost their run server: lost" in done.stderr
    assert left(runs) == everything - {"stopped"}
    with (several["old"] / "run.lock").open() as lock:  # another process leads it again
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "no run" not in orchestrate(runs, "clean", "--older", "0s", "--failed", "-y").stdout
        assert left(runs) == everything - {"stopped", "failed"}
        rows = objects(orchestrate(runs, "clean", "--older", "0s", "-y", "--json"))
        assert [(row["run"], row["removed"]) for row in rows] == [("young", True)]
    rows = objects(orchestrate(runs, "clean", "--older", "0s", "-y", "--json"))
    assert [(row["run"], row["removed"]) for row in rows] == [("old", True)]
    assert left(runs) == {"lost", "a-copy", "notes", "link"}


def test_clean_asks_and_no_is_the_answer_of_who_says_nothing(runs: Path, several: dict[str, Path]) -> None:
    before = left(runs)
    for keys, gone in (("\n", False), ("n\n", False), ("y\n", True)):
        terminal = Terminal(command(["clean", "--older", "30d"]), runs.parent, environment(runs))
        try:
            terminal.wait_for("permanently? [y/N]")
            assert "remove 2 runs, 10." in terminal.text and left(runs) == before
            terminal.press(keys)
            code = terminal.wait()
        finally:
            terminal.close()
        assert (code, several["old"].exists()) == (0, not gone), terminal.text
    assert left(runs) == before - {"old", "stopped"}


def test_a_run_with_processes_is_kept(runs: Path, several: dict[str, Path]) -> None:
    env = {**os.environ, MARK: str(several["old"].resolve())}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=env) as process:
        try:
            eventually("it has its mark", lambda: MARK.encode() in Path(f"/proc/{process.pid}/environ").read_bytes())
            done = orchestrate(runs, "clean", "--older", "30d", "-y")
            assert done.returncode == 6 and "old still has 1 processes, and is kept; end them: orchestrate down old" in done.stderr
            assert several["old"].exists() and not several["stopped"].exists()
        finally:
            process.kill()
