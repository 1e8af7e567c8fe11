"""A plugin that breaks its contract ends the command before any process of a run starts, with the module, the rule and the cure."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.runs.system import orchestrate

pytestmark = pytest.mark.timeout(200)
CONFIG = """
version: 2
plugins: [mine]
environment: {id: "gymnasium:CartPole-v1"}
agents: {count: 1, learner: {kind: mine}}
until: {episodes: 1}
"""
SETTINGS = """
from typing import Literal
from agent_node.learners.settings import DoubleDQNSettings
from protocols.runtime.component_registry import register

class MineSettings(DoubleDQNSettings):
    kind: Literal["mine"] = "mine"

register("learner", "mine", MineSettings, "implementation:Mine")
"""
CASES = {
    "kind is missing": (
        SETTINGS.replace('    kind: Literal["mine"] = "mine"', "    other: int = 1"),
        "",
        'plugin mine: learner \'mine\' (implementation:Mine): MineSettings has no field kind; add kind: Literal["mine"] = "mine"',
    ),
    "kind is taken": (
        SETTINGS.replace('"mine"', '"double_dqn"'),
        "",
        "learner 'double_dqn' (implementation:Mine): this name is registered already, by",
    ),
    "path without attribute": (
        SETTINGS.replace("implementation:Mine", "implementation"),
        "",
        "the implementation is not written as module:attribute",
    ),
    "module of the settings fails": ("import nowhere", "", "plugin mine: ModuleNotFoundError: No module named 'nowhere'"),
    "implementation does not exist": (
        SETTINGS,
        "",
        "learner 'mine': the implementation implementation:Mine cannot be imported (module 'implementation' has no attribute 'Mine')",
    ),
    "module of the implementation does not exist": (
        SETTINGS.replace("implementation:Mine", "elsewhere:Mine"),
        "",
        "learner 'mine': the implementation elsewhere:Mine cannot be imported (No module named 'elsewhere'); register it as",
    ),
    "module of the implementation fails": (
        SETTINGS,
        "x = 1 / 0",
        "learner 'mine' (implementation:Mine): importing it failed: ZeroDivisionError: division by zero",
    ),
    "another class": (
        SETTINGS,
        "class Mine:\n    pass",
        "Mine is not derived from agent_node.contracts.learner_contracts.Learner, the contract of its room; write class Mine(Learner)",
    ),
    "methods are missing": (
        SETTINGS,
        "from agent_node.contracts import Learner\nclass Mine(Learner):\n    def learn(self, batch): return {}",
        "Mine does not implement act of agent_node.contracts.learner_contracts.Learner; add this method",
    ),
    "not callable": (SETTINGS, "Mine = 3", "learner 'mine' (implementation:Mine): 3 is not callable; register a class or a function"),
}


def run(tmp_path: Path, settings: str, implementation: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "mine.py").write_text(settings)
    (tmp_path / "implementation.py").write_text(implementation)
    (tmp_path / "mine.yaml").write_text(CONFIG)
    return orchestrate(tmp_path / "runs", "up", "mine.yaml", "--plain", timeout=150)


@pytest.mark.parametrize("case", CASES)
def test_a_plugin_that_breaks_its_contract_is_refused(tmp_path: Path, case: str) -> None:
    settings, implementation, text = CASES[case]
    done = run(tmp_path, settings, implementation)
    assert done.returncode == 3, done.stdout + done.stderr
    assert text in " ".join((done.stdout + done.stderr).split())
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_capability_decides_about_the_contract(tmp_path: Path) -> None:
    settings = (
        SETTINGS.replace("learners.settings import DoubleDQNSettings", "world_models.settings import WorldModelSettings")
        .replace("(DoubleDQNSettings):", '(WorldModelSettings):\n    capabilities = ("additive_statistics", "rewards")')
        .replace('"learner"', '"world_model"')
    )
    (tmp_path / "mine.py").write_text(settings)
    (tmp_path / "implementation.py").write_text("from agent_node.world_models.ensemble import Ensemble as Mine")
    (tmp_path / "mine.yaml").write_text(CONFIG.replace("learner: {kind: mine}", "world_model: {kind: mine}"))
    done = orchestrate(tmp_path / "runs", "validate", "mine.yaml", timeout=150)
    assert done.returncode == 3
    assert "is not derived from agent_node.contracts.world_model_contracts.AdditiveWorldModel" in done.stdout + done.stderr


def test_an_entry_point_that_fails_is_named(tmp_path: Path) -> None:
    metadata = tmp_path / "broken_package-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-package\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[murmuration.components]\nbroken = broken_package:add\n")
    (tmp_path / "broken_package.py").write_text("def add(register):\n    raise OSError('no file')")
    done = run(tmp_path, SETTINGS, "")
    assert done.returncode == 3, done.stdout + done.stderr
    text = "the entry point broken = broken_package:add (murmuration.components) failed: OSError: no file"
    assert text in " ".join((done.stdout + done.stderr).split())
