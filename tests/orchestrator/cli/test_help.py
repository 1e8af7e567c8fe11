"""Help comes at once, and shows what a shell needs quoted (O18)."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.orchestrator.cli.conftest import REPOSITORY, Orchestrate, environment

COMMANDS = [
    "",
    "up",
    "validate",
    "check-env",
    "schema",
    "show",
    "test",
    "report",
    "compare",
    "topology",
    "simulate",
    "experiment",
    "sweep",
    "ps",
    "attach",
    "logs",
    "down",
    "restart",
    "fault",
    "init",
    "clean",
    "export",
    "doctor",
    "_serve",
    "host",
]
# pydantic is not among them: newer versions of typer import it themselves to convert arguments.
HEAVY = {"torch", "numpy", "networkx", "zmq", "msgspec", "psutil", "ruamel", "agent_node", "env_server"}

_PROBE = """
import json, sys
from orchestrator.cli.app import main
try:
    main([*sys.argv[1:], "--help"])
except SystemExit as end:
    print(json.dumps({"code": end.code, "modules": sorted({name.partition(".")[0] for name in sys.modules})}), file=sys.stderr)
"""


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_quick_and_light(name: str, tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, *([name] if name else [])],
        cwd=tmp_path,
        env={**environment(tmp_path), "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = json.loads(done.stderr.splitlines()[-1])
    assert report["code"] == 0
    assert "Usage: orchestrate" in done.stdout
    assert not HEAVY & set(report["modules"])
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 0.5


def test_help_lists_the_commands_and_hides_the_inner_ones(orchestrate: Orchestrate) -> None:
    text = orchestrate("--help").stdout
    for name in COMMANDS[1:-2]:
        assert f"\n  {name} " in text
    assert "_serve" not in text
    assert "\n  host " not in text


def test_brackets_and_braces_are_shown_quoted(orchestrate: Orchestrate) -> None:
    text = orchestrate("up", "--help").stdout
    assert "'agents.learner={kind: discrete_sac}'" in text
    assert "'metrics.sinks=[csv]'" in text


def test_version(orchestrate: Orchestrate) -> None:
    done = orchestrate("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("orchestrate 0.")
