"""The example package is outside of our packages, uses public modules only, and has a configuration for each registered kind."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from protocols.runtime.component_registry import OWN_PACKAGES
from tests.plugins.example_package import CONFIGS, EXAMPLES, PACKAGE, REPOSITORY

PUBLIC = {
    "agent_node.contracts",
    "agent_node.memory.episode",
    "agent_node.session.observation_features",
    "agent_node.session.session_context",
    "protocols.conversations.stepping.stepping_messages",
    "protocols.averaging.rule_settings",
    "protocols.wire.messages",
}
"""modules that components need besides those of docs/reference/api; `*.settings` are public too"""
MODULES = sorted(PACKAGE.glob("*.py"))


def documented() -> set[str]:
    pages = (REPOSITORY / "docs" / "reference" / "api").glob("*.md")
    return {name for page in pages for name in re.findall(r"^::: (\S+)", page.read_text(), re.MULTILINE)}


def registered() -> dict[str, str]:
    """Kind -> room, from the calls of `register`."""
    found = {}
    for node in ast.walk(ast.parse((PACKAGE / "components.py").read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "register":
            room, kind = (ast.literal_eval(argument) for argument in node.args[:2])
            found[kind] = room
    return found


def test_no_file_of_ours_names_the_example_package() -> None:
    ours = [path for package in OWN_PACKAGES for path in (REPOSITORY / package).rglob("*.py")]
    assert len(ours) > 400
    kinds = "|".join(registered())
    naming = [path for path in ours if re.search(rf"swarm_extras|\"({kinds})\"", path.read_text())]
    assert naming == []
    shipped = [path for path in (REPOSITORY / "configs").rglob("*") if path.is_file() and "swarm_extras" in path.read_text()]
    assert shipped == []


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_it_imports_public_modules_only(module: Path) -> None:
    public = PUBLIC | documented()
    for node in ast.walk(ast.parse(module.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            assert not node.level
            private = [alias.name for alias in node.names if alias.name.startswith("_")]
            assert not private
        for name in names:
            if name.partition(".")[0] in OWN_PACKAGES:
                assert name in public or name.endswith(".settings"), f"{module.name} imports {name}"


def test_every_file_is_short() -> None:
    for module in MODULES:
        assert len(module.read_text().splitlines()) <= 150, module.name


def test_every_kind_is_used_by_one_of_its_configurations() -> None:
    texts = "\n".join(path.read_text() for path in CONFIGS)
    rooms = registered()
    assert set(rooms.values()) == {
        "learner", "world_model", "goals", "negotiation", "averaging_rule", "curiosity", "environment", "exchange",
    }  # fmt: skip
    for kind in rooms:
        assert re.search(rf"(kind|mode|id): {kind}\b", texts), kind
    assert len(CONFIGS) == len(rooms)


def test_its_own_tests_pass() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(EXAMPLES), "tests"],
        cwd=EXAMPLES,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (REPOSITORY, EXAMPLES)))},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("page", "module"),
    [
        ("learner", "encoder_q"),
        ("world_model", "ridge_model"),
        ("goal_source", "frontier_goals"),
        ("negotiation", "direct_convention"),
        ("averaging_rule", "median_step"),
        ("intrinsic_reward", "rare_states"),
        ("environment", "beacons"),
        ("conversation", "return_sharing"),
    ],
)
def test_the_code_of_the_documentation_is_that_of_the_package(page: str, module: str) -> None:
    """Line by line; `...` stands for what is left out, and examples of tests are not part of the package."""
    text = (REPOSITORY / "docs" / "howto" / f"write_{page}.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 2
    written = "\n".join((PACKAGE / f"{name}.py").read_text() for name in (module, "components", "return_messages")).splitlines()
    for block in blocks:
        if "assert " in block:
            continue
        lines = [line for line in block.splitlines() if line.strip() and not line.strip().startswith("...")]
        assert [line for line in lines if line not in written] == []
