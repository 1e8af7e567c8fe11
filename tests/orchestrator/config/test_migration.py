"""Files of version 1 with the keys of the present version, and alternative names of keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli.app import app
from orchestrator.config.checks.machine_resources import MachineResources
from orchestrator.config.checks.settings_shape import shape_at
from orchestrator.config.configuration import Configuration
from orchestrator.config.key_names import _RENAMED, migration_of
from orchestrator.config.loader import load
from orchestrator.config.parsing.problems import Problems
from protocols.runtime.component_registry import component, kinds

LARGE = MachineResources(cores=1e6, memory=2**60, gpu=False)
OLD = """\
# A run.
version: 1
until: {steps: 600}               # of all copies
environment:
  id: landmarks
  stand_in: noop                  # of late agents
evaluation: {every: 40, 'final': 8}
agents:
  learner: {kind: double_dqn, warmup: 100, gradient_norm: 5.0}   # "warmup" in a comment stays
  world_model: {kind: ensemble, warmup: 5}
  overrides:
    agent-1: {learner: {target_rate: 0.1}}
supervision: {first: 500ms, at_most: 3}
"""
NEW = """\
# A run.
version: 2
until: {steps: 600}               # of all copies
environment:
  id: landmarks
  late_action: noop               # of late agents
evaluation: {every: 40, 'final_episodes': 8}
agents:
  learner: {kind: double_dqn, learning_starts: 100, max_grad_norm: 5.0}  # "warmup" in a comment stays
  world_model: {kind: ensemble, learning_starts: 5}
  overrides:
    agent-1: {learner: {tau: 0.1}}
supervision: {restart_delay: 500ms, max_restarts: 3}
"""
OLD_EXPERIMENT = """\
version: 1
name: x
base: base.yaml
set: {evaluation.final: 4, agents.learner: {warmup: 5}}
factors:
  rule: {key: exchange.consensus, values: {a: {mode: clip, liars: 1}, b: {mode: mh}}}
  late: {key: environment.stand_in, values: [noop, repeat]}
seeds: 0
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.yaml"
    path.write_text(OLD)
    return path


def test_keys_change_and_comments_stay(old: Path) -> None:
    migration = migration_of(old)
    assert migration.text == NEW
    assert [change.path for change in migration.changes][:3] == ["version", "environment.stand_in", "evaluation.final"]
    assert str(migration.changes[1]) == f"{old}:6:3  environment.stand_in: stand_in -> late_action"
    with pytest.raises(Problems, match="is an earlier format; run: orchestrate migrate"):
        load(old, machine=LARGE)
    old.write_text(migration.text)
    assert load(old, machine=LARGE).warnings == []
    assert migration_of(old).changes == []


def test_experiments_are_migrated_by_the_keys_that_they_name(tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(OLD_EXPERIMENT)
    text = migration_of(path).text
    assert "set: {evaluation.final_episodes: 4, agents.learner: {learning_starts: 5}}" in text
    assert "a: {mode: clip, num_byzantine: 1}" in text and "key: environment.late_action" in text
    assert text.startswith("version: 1\n")


def test_the_command_prints_and_writes(old: Path) -> None:
    runner = CliRunner()
    shown = runner.invoke(app, ["migrate", str(old)])
    assert shown.exit_code == 0 and "agents.learner.warmup: warmup -> learning_starts" in shown.output
    assert old.read_text() == OLD
    assert runner.invoke(app, ["migrate", str(old), "--write"]).exit_code == 0
    assert old.read_text() == NEW
    assert "nothing to change" in runner.invoke(app, ["migrate", str(old)]).output


def test_changed_values(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("version: 1\nagents: {teacher: {kind: amigo, changed_by: anybody}}\n")
    assert "changed_by: any_agent" in migration_of(path).text


def test_present_names_are_keys_of_some_component() -> None:
    for section, names in _RENAMED.items():
        path = tuple(section.split("."))
        shape = shape_at(Configuration, path, {"agents": {"world_model": {"kind": "ensemble"}}})
        assert shape is not None, section
        settings = [component(shape.room, kind).settings for kind in kinds(shape.room)] if shape.room else [shape.model]
        keys = {key for one in settings if one is not None for key in one.by_key()}
        assert set(names.values()) <= keys, section
        assert not set(names) & keys, section


def test_gamma_is_accepted_for_discount(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    text = "until: {steps: 6}\nenvironment: {id: landmarks}\nagents:\n  learner: {kind: double_dqn, %s: 0.9}\n"
    text += "  overrides: {agent-1: {learner: {%s: 0.8}}}\n"
    path.write_text(text % ("gamma", "gamma"))
    configuration = load(path, machine=LARGE).configuration
    assert configuration.agents.learner.discount == 0.9
    learner = configuration.agents.overrides["agent-1"]["learner"]
    assert learner["discount"] == 0.8 and "gamma" not in learner
    path.write_text(text % ("discount", "discount"))
    assert load(path, ["agents.learner.gamma=0.5"], machine=LARGE).configuration.agents.learner.discount == 0.5
