"""`orchestrate check-env`: numbers or the first broken rule, by exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.orchestrator.cli.conftest import Orchestrate

HERE = "tests.murmuration.broken_environments"


def test_an_environment_in_order(orchestrate: Orchestrate) -> None:
    done = orchestrate("check-env", f"{HERE}:Corridor", "length=5", "--steps", "40")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"{HERE}:Corridor: no rule is broken"
    assert [line.split()[0] for line in lines[1:]] == ["agents", "observation", "action", "speed", "rewards", "returns"]
    assert "2: left, right" in lines[1] and "0.5 to 0.5 in a step" in lines[5]
    found = json.loads(orchestrate("--json", "check-env", f"{HERE}:Corridor").stdout)
    assert found["ok"] and found["exit_code"] == 0 and found["steps"] == 300


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("FourValues", "step returned 4 values instead of 5"),
        ("Ends", "the process that plays the environment ended with exit code 9"),
    ],
)
def test_a_broken_rule_has_its_cure_and_the_exit_code_of_wrong_configurations(orchestrate: Orchestrate, name: str, text: str) -> None:
    done = orchestrate("check-env", f"{HERE}:{name}")
    assert done.returncode == 3
    assert text in done.stderr and "\n  -> " in done.stderr and "Traceback" not in done.stderr


def test_a_missing_package_is_a_missing_resource(orchestrate: Orchestrate, tmp_path: Path) -> None:
    file = tmp_path / "needs_a_package.py"
    file.write_text("import no_such_package\n")
    assert orchestrate("check-env", f"{file}:Room").returncode == 6
    done = orchestrate("validate", "4agents_ring", f"environment={{id: '{file}:Room'}}")
    assert done.returncode == 6 and "needs the package no_such_package, which is missing: install it" in done.stderr
    done = orchestrate("validate", "4agents_ring", f"environment={{id: '{file}:Room'}}", "seed=-1")
    assert done.returncode == 3, "another mistake is one of the configuration"


def test_an_observation_outside_of_its_space_is_a_warning(orchestrate: Orchestrate) -> None:
    done = orchestrate("check-env", f"{HERE}:Outside", "--steps", "40")
    assert done.returncode == 0 and "no rule is broken" in done.stdout
    text = "the observation of left from step has 1.5 at component [0], outside of [-1, 1], the bounds of its space"
    assert done.stderr.startswith(f"warning: {text}"), done.stderr


def test_what_is_no_option_is_a_mistake_in_usage(orchestrate: Orchestrate) -> None:
    done = orchestrate("check-env", "landmarks", "horizon")
    assert done.returncode == 2 and "write option=value" in done.stderr


def test_validate_names_the_exception_of_an_environment_that_cannot_be_made(orchestrate: Orchestrate) -> None:
    identifier = f"{HERE}:Raising"
    done = orchestrate("validate", "4agents_ring", f"environment={{id: '{identifier}'}}", "agents.count=2")
    assert done.returncode == 3
    assert f"{identifier} cannot be made: RuntimeError: no display (" in done.stderr and "broken_environments.py:" in done.stderr
