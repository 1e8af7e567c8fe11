"""The documentation names files that exist, links that lead somewhere, and exit codes that commands return."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from protocols.runtime.errors import ExitCode

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "results" not in path.parts)
OUTSIDE = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"]
FOLDERS = "protocols|agent_node|env_server|orchestrator|murmuration|configs|tests|benchmarks|scripts|examples|docs"
CODES = sorted((DOCS / "reference" / "exit_codes").glob("[0-9]*.md"))


@pytest.mark.parametrize("page", [*PAGES, *OUTSIDE], ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_are_named_exist(page: Path) -> None:
    named = re.findall(rf"`((?:{FOLDERS})/[\w./*-]*)`", page.read_text())
    assert [name for name in named if not any(ROOT.glob(name.rstrip("/")))] == []


@pytest.mark.parametrize("page", OUTSIDE, ids=lambda path: path.name)
def test_links_outside_the_site_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_exit_code_has_a_page() -> None:
    assert {int(page.stem) for page in CODES} == set(ExitCode)


@pytest.mark.parametrize("page", [page for page in CODES if int(page.stem) < 10], ids=lambda path: path.stem)
def test_the_example_of_an_exit_code_returns_it(page: Path) -> None:
    line = next(line for line in page.read_text().splitlines() if line.startswith("$ orchestrate "))
    command = [sys.executable, "-m", "orchestrator", *shlex.split(line)[2:]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == int(page.stem), done.stdout + done.stderr
