"""Global options anywhere, exit codes, and messages that name the cure."""

import json

import pytest

from orchestrator.cli.app import hoist
from orchestrator.cli.command_options import seconds
from protocols.runtime.errors import UsageError
from tests.orchestrator.cli.conftest import CONFIG, Orchestrate


def test_global_options_may_stand_anywhere() -> None:
    assert hoist(["ps", "-a", "--json", "--runs-dir", "x", "--runs-dir=y"]) == ["--json", "--runs-dir", "x", "--runs-dir=y", "ps", "-a"]
    assert hoist(["logs", "--", "--json"]) == ["logs", "--", "--json"]
    assert hoist(["ps", "--runs-dir"]) == ["--runs-dir", "ps"]


@pytest.mark.parametrize(("text", "value"), [("10s", 10.0), ("10", 10.0), ("500ms", 0.5), ("5m", 300.0), ("1.5min", 90.0), ("2h", 7200.0)])
def test_times_on_the_command_line(text: str, value: float) -> None:
    assert seconds(text, "--grace") == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "s", "-3s", "5 parsecs", "1e3s"])
def test_wrong_times_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"--grace: .* write for example 10s"):
        seconds(text, "--grace")


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("up",), ("ps", "--nonsense"), ("down", "a", "--all"), ("logs", "nosuchrun"), ("host", "file"), ("attach",)],
)
def test_usage_errors_exit_2(orchestrate: Orchestrate, arguments: tuple[str, ...]) -> None:
    done = orchestrate(*arguments)
    assert done.returncode == 2, done.stderr
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_a_near_run_is_suggested(orchestrate: Orchestrate, runs) -> None:
    (runs / "night").mkdir(parents=True)
    (runs / "night" / "run.json").write_text(json.dumps({"state": "DONE", "exit_code": 0}))
    done = orchestrate("attach", "nigth")
    assert done.returncode == 2
    assert 'did you mean "night"?' in done.stderr


def test_validate_names_every_mistake_at_once_and_exits_3(orchestrate: Orchestrate) -> None:
    done = orchestrate("validate", str(CONFIG), "agents.cuont=8", "network.topology.kind=rign")
    assert done.returncode == 3
    assert "argument 1" in done.stderr and 'did you mean "count"?' in done.stderr
    assert "argument 2" in done.stderr and 'did you mean "ring"?' in done.stderr
    assert "2 errors" in done.stderr
    report = json.loads(orchestrate("validate", str(CONFIG), "agents.cuont=8", "--json").stdout)
    assert report["ok"] is False and report["exit_code"] == 3
    assert [problem["path"] for problem in report["problems"] if problem["severity"] == "error"] == ["agents.cuont"]


def test_up_with_a_mistake_starts_nothing(orchestrate: Orchestrate, runs) -> None:
    done = orchestrate("up", str(CONFIG), "-d", "agents.cuont=8")
    assert done.returncode == 3
    assert "nothing was started" in done.stderr
    assert not runs.exists()


def test_overrides_may_stand_between_options(orchestrate: Orchestrate, runs) -> None:
    done = orchestrate("up", str(CONFIG), "agents.count=6", "--dry-run", "network.topology.kind=star", "--seed", "7")
    assert done.returncode == 0, done.stderr
    assert "agent-5" in done.stdout
    assert "nothing was started" in done.stdout
    assert not runs.exists()


def test_a_dry_run_checks_the_name(orchestrate: Orchestrate, runs) -> None:
    done = orchestrate("up", str(CONFIG), "--dry-run", "--name", "My Run")
    assert done.returncode == 3 and "is no name for a run" in done.stderr and not runs.exists()
    (runs / "night").mkdir(parents=True)
    done = orchestrate("up", str(CONFIG), "--dry-run", "--name", "night")
    assert done.returncode == 3 and "run night exists already" in done.stderr
    assert orchestrate("up", str(CONFIG), "--dry-run", "--name", "noon").returncode == 0 and not (runs / "noon").exists()


def test_validate_prints_values_with_their_origin(orchestrate: Orchestrate) -> None:
    done = orchestrate("validate", str(CONFIG), "agents.count=6", "--print")
    assert done.returncode == 0
    line = next(line for line in done.stdout.splitlines() if line.strip().startswith("count:"))
    assert "6" in line and "argument 1" in line


def test_schema_is_json(orchestrate: Orchestrate, tmp_path) -> None:
    done = orchestrate("schema", "--write", "schema.json")
    assert done.returncode == 0
    written = json.loads((tmp_path / "schema.json").read_text())
    assert written == json.loads(orchestrate("schema").stdout)
    assert "environment" in written["properties"]


def test_doctor_is_right_here(orchestrate: Orchestrate) -> None:
    done = orchestrate("doctor", "--brief", "--json")
    checks = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert {"python", "packages", "torch", "cores", "memory", "open files", "loopback"} <= {check["name"] for check in checks}
    assert all(check["status"] in ("ok", "warn") for check in checks)


def test_doctor_names_a_bad_place_with_its_cure(orchestrate: Orchestrate) -> None:
    done = orchestrate("doctor", "--brief", "--json", "--runs-dir", "/proc/runs")
    found = {check["name"]: check for check in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 6
    assert found["run directories"]["status"] == "bad"
    assert "--runs-dir" in found["run directories"]["cure"]
