"""The parts of scripts/check_wheel.py; the check itself is `make test-wheel`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_wheel", ROOT / "scripts" / "check_wheel.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_commands_and_programs_of_a_page(script: ModuleType) -> None:
    page = "# A\n```console\n$ make up\n$ orchestrate ps   # what runs\nrun-1 up\n```\n```python\nimport a\nb()\n```\n```text\n$ no\n```\n"
    found = [(one.line, one.text, one.python) for one in script.snippets(page)]
    assert found == [(3, "make up", False), (4, "orchestrate ps   # what runs", False), (8, "import a\nb()\n", True)]
    assert [script.reason_not_to_run(one) is None for one in script.snippets(page)] == [False, True, True]


@pytest.mark.parametrize(
    ("command", "interrupted"),
    [
        ("orchestrate up configs/4agents_ring.yaml", True),
        ("orchestrate up configs/4agents_ring.yaml until.time=60s", False),
        ("orchestrate up configs/4agents_ring.yaml -d --name night", False),
        ("orchestrate up configs/4agents_ring.yaml --dry-run", False),
        ("orchestrate up --resume night", True),
        ("orchestrate logs -f night agent-2", True),
        ("orchestrate attach night", True),
        ("orchestrate show night", False),
    ],
)
def test_what_is_interrupted(script: ModuleType, command: str, interrupted: bool) -> None:
    assert (script.interrupted_after(script.Snippet(1, command)) is not None) is interrupted


def test_a_command_that_fails_or_is_interrupted(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"PATH": "/usr/bin:/bin"}
    assert script.play(script.Snippet(1, "true"), tmp_path, environment) is None
    assert "exit code 3\nno" in script.play(script.Snippet(1, "echo no; exit 3"), tmp_path, environment)
    monkeypatch.setattr(script, "INTERRUPTED", {"exec sleep": 2.0})
    ended = script.play(script.Snippet(1, "exec sleep 60"), tmp_path, environment)
    assert ended is not None and ended.startswith("exit code -2"), "a program that does not handle the interrupt"
    assert script.play(script.Snippet(1, "exec sleep 0"), tmp_path, environment) is None


def test_the_readme_has_commands_to_check(script: ModuleType) -> None:
    found = script.snippets((ROOT / "README.md").read_text())
    assert sum(script.reason_not_to_run(one) is None for one in found) > 15 and any(one.python for one in found)
