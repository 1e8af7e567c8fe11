"""A file of the other kind is named once, with the command that takes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config.checks.machine_resources import MachineResources
from orchestrator.config.configuration import Configuration
from orchestrator.config.loader import load
from orchestrator.config.parsing.file_kinds import CONFIGURATION, EXPERIMENT
from orchestrator.config.parsing.problems import Problems
from orchestrator.experiments.design.experiment_design import ExperimentDesign
from orchestrator.experiments.design.experiment_reader import read

CONFIGS = Path(__file__).parents[3] / "configs"


def test_the_keys_are_those_of_one_kind_alone() -> None:
    configuration, experiment = set(Configuration.model_fields), set(ExperimentDesign.model_fields)
    assert CONFIGURATION - {"extends"} <= configuration - experiment
    assert experiment - configuration >= EXPERIMENT


@pytest.mark.parametrize("file", sorted((CONFIGS / "experiments").glob("*.yaml")), ids=lambda file: file.name)
def test_an_experiment_is_no_configuration(file: Path) -> None:
    with pytest.raises(Problems) as caught:
        load(file, ["agents.count=3"], machine=MachineResources(cores=1e6, memory=2**60))
    (problem,) = caught.value.problems
    assert "this is an experiment" in problem.text and f"orchestrate experiment {file} --dry-run" in problem.text


def test_a_configuration_is_no_experiment() -> None:
    for file in (CONFIGS / "4agents_ring.yaml", CONFIGS / "logical_4agents_ring.yaml"):
        with pytest.raises(Problems) as caught:
            read(file)
        (problem,) = caught.value.problems
        assert "configuration of a run" in problem.text and f"orchestrate up {file}" in problem.text


def test_one_strange_key_or_some_of_both_kinds_are_mistakes_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "mixed.yaml"
    for text in ("version: 1\nbase: a.yaml\n", "version: 1\nbase: a.yaml\nseeds: 0..4\nagents: {count: 2}\n"):
        file.write_text(text)
        with pytest.raises(Problems) as caught:
            load(file)
        assert len(caught.value.problems) > 1 and not any("experiment" in problem.text for problem in caught.value.problems)
