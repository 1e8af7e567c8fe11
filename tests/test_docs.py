"""The documentation names files that exist, links that lead somewhere, and exit codes that commands return."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

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
def test_the_example_of_an_exit_code_returns_it(page: Path, tmp_path: Path) -> None:
    line = next(line for line in page.read_text().splitlines() if line.startswith("$ orchestrate "))
    command = [sys.executable, "-m", "orchestrator", *shlex.split(line)[2:]]
    (tmp_path / "configs").symlink_to(ROOT / "configs")  # an example that starts a run leaves its directory here
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, env=environment)
    assert done.returncode == int(page.stem), done.stdout + done.stderr


@pytest.mark.parametrize("name", ["own_environment", "first_plugin"])
def test_the_configurations_of_the_tutorial_are_right(name: str, tmp_path: Path) -> None:
    """Python blocks are files named by the nearest `NAME.py` before them; YAML blocks with a version are configurations."""
    text, module = (DOCS / "tutorial" / f"{name}.md").read_text(), ""
    for block in re.finditer(r"`(\w+\.py)`|```(python|yaml)\n(.*?)```", text, re.DOTALL):
        if block[1]:
            module = block[1]
        elif block[2] == "python":
            with (tmp_path / module).open("a") as file:
                file.write(block[3])
        elif block[3].startswith("version:"):
            (tmp_path / "configuration.yaml").write_text(block[3])
            command = [sys.executable, "-m", "orchestrator", "validate", "configuration.yaml"]
            done = subprocess.run(
                command, cwd=tmp_path, capture_output=True, text=True, timeout=100, env={**os.environ, "PYTHONPATH": str(ROOT)}
            )
            assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", sorted((DOCS / "howto").glob("write_*.md")), ids=lambda path: path.stem)
def test_the_code_of_the_pages_can_be_parsed(page: Path) -> None:
    for block in re.finditer(r"```(python|yaml)\n(.*?)```", page.read_text(), re.DOTALL):
        if block[1] == "python":
            ast.parse(block[2])
        else:
            YAML(typ="safe").load(block[2])
