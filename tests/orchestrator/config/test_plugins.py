"""Modules that the configuration names register components, which pass the same rules as ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PLUGIN = """\
from typing import ClassVar, Literal

from agent_node.exchange.settings import NegotiationSettings
from agent_node.goals.settings import GoalSourceSettings
from agent_node.learners.settings import LearnerSettings
from agent_node.world_models.settings import WorldModelSettings
from protocols.runtime.component_registry import register


def component(*arguments):
    raise NotImplementedError


class EncoderSettings(LearnerSettings):
    groups: ClassVar[tuple[str, ...]] = ("critic", "encoder")
    capabilities: ClassVar[tuple[str, ...]] = ("replay", "discrete", "continuous", "probabilities", "td_errors", "optimism", "values")
    kind: Literal["encoded"] = "encoded"
    gamma: float = 0.5


class SumSettings(WorldModelSettings):
    groups: ClassVar[tuple[str, ...]] = ()
    capabilities: ClassVar[tuple[str, ...]] = ("additive_statistics", "plan_aware", "sampleable", "rewards")
    kind: Literal["sums"] = "sums"


class NewestGoalSettings(GoalSourceSettings):
    capabilities: ClassVar[tuple[str, ...]] = ("needs_traces",)
    kind: Literal["newest"] = "newest"


class VoteSettings(NegotiationSettings):
    kind: Literal["vote"] = "vote"


register("learner", "encoded", EncoderSettings, "my_parts:component")
register("world_model", "sums", SumSettings, "my_parts:component")
register("goals", "newest", NewestGoalSettings, "my_parts:component")
register("negotiation", "vote", VoteSettings, "my_parts:component")
"""
GOALS = """\
plugins: [my_parts]
until: {steps: 60}
environment: {id: landmarks}
agents: {learner: {kind: encoded, gamma: 0.7}, goals: {kind: newest}}
exchange:
  negotiation: {kind: vote}
  hindsight: {share: 0.5}
  consensus: {groups: [critic, encoder]}
"""
SUMS = """\
plugins: [my_parts]
until: {steps: 60}
environment: {id: reward_collection}
agents: {learner: {kind: encoded}, world_model: {kind: sums, imagination: {}}, optimism: {kind: thompson}}
exchange: {statistics: {}, plans: {}}
"""


def validate(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "orchestrator", "validate", *arguments]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("text", [GOALS, SUMS], ids=["goals", "sums"])
def test_components_that_declare_the_capabilities_pass_the_same_rules(text: str, tmp_path: Path) -> None:
    (tmp_path / "my_parts.py").write_text(PLUGIN)
    (tmp_path / "x.yaml").write_text(text)
    done = validate(tmp_path, "x.yaml", "--print")
    assert done.returncode == 0, done.stderr
    assert "kind: encoded" in done.stdout
    if text is GOALS:
        assert "gamma: 0.7" in done.stdout and "discount: 0.98" in done.stdout, "a component's own key is no alias"


def test_modules_beside_the_configuration_and_as_an_argument(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "my_parts.py").write_text(PLUGIN)
    (tmp_path / "there" / "x.yaml").write_text(GOALS)
    assert validate(tmp_path, "there/x.yaml").returncode == 0
    (tmp_path / "there" / "x.yaml").write_text(GOALS.replace("plugins: [my_parts]\n", ""))
    assert validate(tmp_path / "there", "x.yaml", "plugins=[my_parts]").returncode == 0
    refused = validate(tmp_path / "there", "x.yaml")
    assert refused.returncode == 3 and '"encoded" is not one of' in refused.stderr


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "there is no module my_parts"),
        ("import no_such_package_here\n", "no_such_package_here"),
        ("1 / 0\n", "ZeroDivisionError"),
        (PLUGIN.replace('Literal["vote"]', "str"), "kind"),
    ],
    ids=["missing", "needs another", "fails", "breaks the contract"],
)
def test_a_plugin_that_fails_is_a_configuration_error(content: str | None, says: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "my_parts.py").write_text(content)
    (tmp_path / "x.yaml").write_text(GOALS)
    done = validate(tmp_path, "x.yaml")
    assert done.returncode == 3, done.stderr
    assert "my_parts" in done.stderr and says in done.stderr and "Traceback" not in done.stderr
