"""The language check finds refused words where they are prose or names, and nothing else."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts" / "check_language.py"


def _load() -> ModuleType:
    specification = importlib.util.spec_from_file_location("check_language", SCRIPT)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


language = _load()
RULES, EXCLUDED = language.read_rules()


def findings(path: str, text: str) -> list[tuple[int, str]]:
    return sorted((found.line, found.word) for found in language.check_text(path, text, RULES))


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("a.py", "x = 1  # whoever comes\n", [(1, "whoever")]),
        ("a.py", '"""One.\n\nNobody answers.\n"""\n', [(3, "Nobody")]),
        ("a.py", 'raise ValueError("a goal that there " "is not")\n', [(1, 'that there " "is')]),
        ("a.py", "# an agent who\n# is late\n", [(1, "who # is late")]),
        ("a.py", 'text = f"{name} was told of {count}"\n', [(1, "told")]),
        ("a.py", "class Persona:\n    pass\n", [(1, "Persona")]),
        ("a.py", "def _told(): ...\n", [(1, "told")]),
        ("a.py", 'metrics["lending.called"] = 1\n', [(1, "lending")]),
        ("a.md", "The agent tells its goal.\n", [(1, "tells")]),
        ("a.md", "Set `trace_decay` to 1.\n", [(1, "trace_decay")]),
        ("a.yaml", "seed: 1  # somebody chose it\n", [(1, "somebody")]),
        ("a.yaml", "target_rate: 0.1\n", [(1, "target_rate")]),
        ("pkg/homecoming.py", "x = 1\n", [(1, "homecoming")]),
    ],
)
def test_a_refused_word_is_found(path: str, text: str, expected: list[tuple[int, str]]) -> None:
    assert findings(path, text) == expected


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.py", '"""An agent sends its goal to its neighbours."""\n\n\ndef send(goal: int) -> None: ...\n'),
        ("a.py", 'text = f"{goals} goals"\nforetold = 1\n'),
        ("a.md", "Run `say` in a shell; see [the plots](figures/nobody.svg).\n"),
        ("a.yaml", "command: say  # a program\n"),
    ],
)
def test_plain_text_passes(path: str, text: str) -> None:
    assert findings(path, text) == []


def test_every_finding_names_the_replacement() -> None:
    (found,) = language.check_text("docs/a.md", "first line\nwhoever\n", RULES)
    assert str(found).startswith("docs/a.md:2: 'whoever': name the subject")


def test_the_command_reports_findings_by_its_exit_code() -> None:
    command = [sys.executable, SCRIPT, "LICENSE", "tests/test_language.py"]
    passed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (passed.returncode, passed.stdout) == (0, "")
