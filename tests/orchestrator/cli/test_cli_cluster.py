"""The command line on real runs: run server, host and small nodes as processes, in pipes and in real pseudo-terminals (O5, O6, O7)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.launch.process_control import remains, sweep
from orchestrator.results.run_directories import read
from orchestrator.results.run_files import read_json
from tests.orchestrator.cli.conftest import CONFIG, Orchestrate, command, environment
from tests.orchestrator.cli.terminal import Terminal
from tests.orchestrator.run_server.cluster import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

Up = Callable[..., "subprocess.Popen[str]"]
SMALL = ("agents.count=2", "supervision.restart_delay=200ms", "supervision.orphan=3s")


def small(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.orchestrator.cli.small_up", *arguments]


def up_arguments(name: str, *more: str) -> list[str]:
    return ["up", str(CONFIG), *SMALL, "--name", name, *more]


@pytest.fixture(autouse=True)
def nothing_left(runs: Path) -> Iterator[None]:
    """Whatever a test does, its processes are ended; what was still there after a run had ended is an error of the test itself."""
    yield
    for directory in runs.glob("*"):
        sweep(directory)


@pytest.fixture
def up(tmp_path: Path, runs: Path) -> Iterator[Up]:
    """Start `orchestrate ARGUMENTS` on small nodes, output piped."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, behaviour: dict[str, Any] | None = None) -> subprocess.Popen[str]:
        env = environment(runs) | ({"SMALL_BEHAVIOUR": json.dumps(behaviour)} if behaviour else {})
        started.append(
            subprocess.Popen(small(*arguments), cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10)


@pytest.fixture
def terminal(tmp_path: Path, runs: Path) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_one(words: list[str], columns: int = 120) -> Terminal:
        opened.append(Terminal(words, tmp_path, environment(runs), columns))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def running(directory: Path) -> None:
    eventually(f"{directory.name} is RUNNING", lambda: read(directory).state == "RUNNING", 60)


def assert_gone(directory: Path) -> None:
    eventually("nothing is left", lambda: not remains(directory) and not read(directory).alive, 20)
    assert not (directory / "control.json").exists()


def test_up_to_the_end_in_a_pipe(up: Up, runs: Path, orchestrate: Orchestrate) -> None:
    done = up(*up_arguments("night", "until.time=4s"), behaviour={"agent-1": {"crash": True, "first_incarnations": 1}})
    output, errors = done.communicate(timeout=60)
    directory = runs / "night"
    assert done.returncode == 0, errors
    assert "\x1b" not in output + errors
    lines = output.splitlines()
    assert lines[0].startswith("run night    seed 0    engine local    3 nodes on 1 host")
    assert any("agent-1" in line and "WARN" in line for line in lines), "the crash is a line"
    assert any("agent-1 alive, incarnation 2" in line for line in lines), "the restart is a line"
    assert lines[-1].startswith("night done after 0:") and lines[-1].endswith("(exit 0)")
    assert "orchestrate show night" in output
    for file in ("config.yaml", "config.json", "config.origin.yaml", "command.txt", "run.json", "versions.json", "events.jsonl"):
        assert (directory / file).stat().st_size > 0, file
    assert (directory / "config.origin.yaml").read_text() == CONFIG.read_text()
    assert read_json(directory / "config.json")["until"]["time"] == "4s"
    assert (directory / "command.txt").read_text() == f"orchestrate up {CONFIG} {' '.join(SMALL)} until.time=4s\n"
    assert_gone(directory)
    again = up(*up_arguments("night"))
    assert "night exists already" in again.communicate(timeout=60)[1]
    assert again.returncode == 3
    validated = orchestrate("validate", str(directory / "config.yaml"), "--json")
    digest = json.loads(validated.stdout)["digest"]
    assert digest == read(directory).record["config_digest"], "the resolved file is the same configuration"


def test_a_finished_run_has_nothing_to_do_and_its_record_stays_until_more_is_done(up: Up, runs: Path) -> None:
    directory = runs / "night"
    first = up(*up_arguments("night", "until.time=2s"))
    assert first.wait(60) == 0
    assert_gone(directory)
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    again = up("up", "--resume", "night")
    output, errors = again.communicate(timeout=60)
    assert again.returncode == 0, errors
    assert "nothing to do" in output and output.strip().endswith("orchestrate up --resume night until.time=4s")
    as_json = up("--json", "up", "--resume", "night", "until.time=1s")
    end = json.loads(as_json.communicate(timeout=60)[0].splitlines()[-1])
    assert (end["kind"], end["exit_code"], end["state"]) == ("end", 0, "DONE")
    dry = up("up", "--resume", "night", "until.time=60s", "--dry-run")
    assert dry.wait(60) == 0
    assert {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()} == before
    longer = up("up", "--resume", "night", "until.time=60s")
    running(directory)
    longer.send_signal(signal.SIGINT)
    output, errors = longer.communicate(timeout=60)
    assert longer.returncode == 130, errors
    assert "the run stays done" in output
    assert_gone(directory)
    run = read(directory)
    assert (run.state, run.exit_code, read_json(directory / "config.json")["until"]["time"]) == ("DONE", 0, "2s")
    assert read_json(directory / "summary.json")["state"] == "DONE"
    assert run.attempt is not None and run.attempt["exit_code"] == 130


def test_detached_run_seen_from_every_side(
    up: Up, runs: Path, orchestrate: Orchestrate, terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    first = up(*up_arguments("night", "until.time=60s", "-d"))
    output, errors = first.communicate(timeout=60)
    assert first.returncode == 0, errors
    assert output.startswith("night  3/3 up after ")
    rows = [json.loads(line) for line in orchestrate("ps", "--json").stdout.splitlines()]
    assert [(row["run"], row["state"], row["nodes"]) for row in rows] == [("night", "RUNNING", "3/3")]
    assert isinstance(rows[0]["progress"], (int, float)) and isinstance(rows[0]["episodes"], int) and "%" in rows[0]["progress_text"]
    nodes = [json.loads(line) for line in orchestrate("ps", "night", "--json").stdout.splitlines()]
    assert sorted((node["name"], node["state"]) for node in nodes) == [("agent-0", "alive"), ("agent-1", "alive"), ("env-0", "alive")]
    listing = orchestrate("ps")
    assert "\x1b" not in listing.stdout and "running" in listing.stdout
    follower = subprocess.Popen(
        command(["logs", "-f", "night"]), cwd=tmp_path, env=environment(runs), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    screen = terminal(command(["attach", "night"]))
    screen.wait_for("disagree")
    screen.wait_for("d or Ctrl-C: leave the run running")
    screen.press("d")
    assert screen.wait() == 0
    assert "night goes on" in screen.text
    assert read(runs / "night").state == "RUNNING"
    again = terminal(command(["attach"]))
    again.wait_for("agent-1")
    again.press("\x03")
    assert again.wait() == 0
    assert read(runs / "night").state == "RUNNING"
    watching = terminal(command(["ps", "--watch"]))
    watching.wait_for("night")
    watching.press("\x03")
    assert watching.wait() == 0
    stopped = orchestrate("down", "night")
    assert stopped.returncode == 0
    assert stopped.stdout.startswith("night stopped (")
    assert_gone(runs / "night")
    assert read(runs / "night").exit_code == 130
    logged, _ = follower.communicate(timeout=30)
    assert follower.returncode == 0, "following ends with the run"
    assert "\x1b" not in logged
    assert "STOPPED, exit 130" in logged
    repeated = orchestrate("down", "night")
    assert repeated.returncode == 0 and "had ended already" in repeated.stdout


def test_the_live_table_in_a_terminal_and_ctrl_c(runs: Path, terminal: Callable[..., Terminal]) -> None:
    screen = terminal(small(*up_arguments("night", "until.time=60s")))
    screen.wait_for("peers")
    screen.wait_for("1/1")
    assert "\x1b[" in screen.raw
    screen.wait_for("elapsed 0:0")
    screen.press("\x03")
    screen.wait_for("stopping: checkpoints")
    assert screen.wait() == 130
    assert "night stopped after" in screen.text
    assert "(exit 130)" in screen.text
    assert "Traceback" not in screen.text
    assert_gone(runs / "night")


def test_a_second_ctrl_c_ends_at_once(up: Up, runs: Path) -> None:
    process = up(*up_arguments("night", "until.time=60s"), behaviour={"agent-0": {"deaf": True}})
    running(runs / "night")
    process.send_signal(signal.SIGINT)
    eventually("the stop is under way", lambda: read(runs / "night").state == "STOPPING")
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert time.monotonic() - began < 14.0, "a deaf node would have had fifteen seconds for its ordered stop"
    assert_gone(runs / "night")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_stop_in_order(up: Up, runs: Path, number: signal.Signals) -> None:
    process = up(*up_arguments("night", "until.time=60s"))
    running(runs / "night")
    process.send_signal(number)
    assert process.wait(30) == 130
    assert_gone(runs / "night")
    assert read(runs / "night").state == "STOPPED"
    seen = (runs / "night" / "nodes" / "agent-0" / "seen.txt").read_text()
    assert "stopped" in seen, "the nodes were asked to stop, not killed"


def test_a_closed_narrow_terminal_stops_the_run(runs: Path, terminal: Callable[..., Terminal]) -> None:
    screen = terminal(small(*up_arguments("night", "until.time=60s")), columns=20)
    screen.wait_for("node     state")
    screen.wait_for("3 nodes up")
    assert "peers" not in screen.text, "columns that do not fit are left out"
    screen.hang_up()
    assert screen.process.wait(30) == 130
    assert_gone(runs / "night")


def test_a_killed_client_lets_the_leash_go(up: Up, runs: Path) -> None:
    process = up(*up_arguments("night", "until.time=60s"))
    running(runs / "night")
    process.kill()
    process.communicate(timeout=10)
    assert_gone(runs / "night")
    assert read(runs / "night").state == "STOPPED"


def test_a_killed_run_server_is_replaced_by_the_command_that_leads_the_run(up: Up, runs: Path) -> None:
    process = up(*up_arguments("night", "until.time=100s", "supervision.orphan=60s"))
    running(runs / "night")
    first = read(runs / "night").record["pid"]
    os.kill(first, signal.SIGKILL)
    eventually(
        "another run server leads",
        lambda: (run := read(runs / "night")).alive and run.state == "RUNNING" and run.record["pid"] != first,
        60,
    )
    os.kill(read(runs / "night").record["pid"], signal.SIGKILL)  # so soon again: it would go on like that
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 10
    assert "another one takes over the processes" in output and "its run server is gone" in output
    assert_gone(runs / "night")
    assert read(runs / "night").state == "FAILED"


def test_down_now_and_down_of_a_run_whose_server_hangs(up: Up, runs: Path, orchestrate: Orchestrate) -> None:
    for name in ("quick", "hung"):
        assert up(*up_arguments(name, "until.time=60s", "-d")).wait(60) == 0
    os.kill(read(runs / "hung").record["pid"], signal.SIGSTOP)
    assert orchestrate("down", "quick", "--now").returncode == 0
    assert "stopped" not in (runs / "quick" / "nodes" / "agent-0" / "seen.txt").read_text(), "the nodes were killed, not asked to stop"
    assert_gone(runs / "quick")
    done = orchestrate("down", "--all", "-t", "1s")
    assert done.returncode == 0, done.stdout
    assert "did not answer: processes were killed" in done.stdout
    assert_gone(runs / "hung")


def test_a_node_that_refuses_fails_the_start_with_its_log(up: Up, runs: Path) -> None:
    process = up(*up_arguments("night", "-d", "--timeout", "2s"), behaviour={"agent-1": {"refuse": True}})
    _, errors = process.communicate(timeout=60)
    assert process.returncode == read(runs / "night").exit_code != 0
    assert "this node refuses its configuration" in errors
    assert "agent-1" in errors
    assert_gone(runs / "night")


def test_two_runs_at_once_do_not_mix_and_speak_json(up: Up, runs: Path) -> None:
    both = {name: up(*up_arguments(name, "until.time=1s", "--json", "--seed", seed)) for name, seed in (("one", "1"), ("two", "2"))}
    for name, process in both.items():
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        lines = [json.loads(line) for line in output.splitlines()]
        assert {line["kind"] for line in lines} == {"state", "progress", "event", "end"}
        assert {line["run"] for line in lines if line["kind"] == "state"} == {name}
        assert [line["state"] for line in lines if line["kind"] == "state"][-1] == "DONE"
        assert [line["kind"] for line in lines].index("end") == len(lines) - 1
        assert (lines[-1]["exit_code"], Path(lines[-1]["directory"]).name) == (0, name)
        shown = [line["id"] for line in lines if line["kind"] == "event"]
        written = [json.loads(line)["id"] for line in (runs / name / "events.jsonl").read_text().splitlines()]
        assert shown == written, "every event once, in order"
        assert read_json(runs / name / "config.json")["seed"] == {"one": 1, "two": 2}[name]
        assert read(runs / name).state == "DONE"


TWENTY = """
import os, sys
from orchestrator.cli import app
from orchestrator.run_server import run_start
from tests.orchestrator.cli.small_up import Popen
run_start.subprocess.Popen = Popen
begin, go = os.pipe()
children = []
for _ in range(20):
    child = os.fork()
    if child == 0:
        os.close(go)
        os.read(begin, 1)  # until all are there
        app.main(sys.argv[1:])
    children.append(child)
os.close(go)
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""


def test_twenty_with_one_name(tmp_path: Path, runs: Path) -> None:
    """Twenty processes that have imported everything are let go at once."""
    done = subprocess.run(
        [sys.executable, "-c", TWENTY, *up_arguments("night", "until.time=60s", "-d")],
        cwd=tmp_path,
        env=environment(runs),
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert sorted(json.loads(done.stdout.splitlines()[-1])) == [0] + [3] * 19, done.stderr
    assert done.stderr.count("night exists already") == 19
    assert [entry.name for entry in runs.iterdir()] == ["night"]
    assert read(runs / "night").state == "RUNNING"
