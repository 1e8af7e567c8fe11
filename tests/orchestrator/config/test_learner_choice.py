"""Learners are chosen by the environment where a configuration leaves them open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.config.checks.machine_resources import MachineResources
from orchestrator.config.loader import load
from orchestrator.config.parsing.problems import Problems
from orchestrator.config.resolved_configuration import resolved_yaml

LARGE = MachineResources(cores=1e6, memory=2**60, gpu=False)
POLE, PENDULUM = "{id: 'gymnasium:CartPole-v1'}", "{id: 'gymnasium:Pendulum-v1'}"
SPREAD = "{id: 'mpe2:simple_spread_v3'}"
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def made(text: str) -> Path:
        path = tmp_path / "x.yaml"
        path.write_text("until: {episodes: 3}\n" + text)
        return path

    return made


@pytest.mark.parametrize(
    ("environment", "agents", "kind"),
    [
        (POLE, "count: 1", "ppo"),
        (POLE, "count: 1, learner: auto", "ppo"),
        (POLE, "count: 1, learner: {kind: auto, batch_size: 64}", "double_dqn"),
        (POLE, "count: 1, learner: auto, world_model: {kind: ensemble, imagination: {reward: model}}", "double_dqn"),
        (PENDULUM, "count: 1", "sac"),
        (PENDULUM, "count: 1, learner: {kind: auto, clip: 0.1}", "ppo"),
        (PENDULUM, "count: 1, learner: auto, shaping: {}", "ppo"),
        (SPREAD, "count: 3, learner: {kind: auto, discount: 0.9}", "ppo"),
        ("{id: landmarks}", "learner: auto", "double_dqn"),
        ("{id: reward_collection}", "learner: auto", "sac"),
    ],
)
def test_the_choice_follows_the_environment_and_what_the_agent_is_made_of(write: Write, environment: str, agents: str, kind: str) -> None:
    loaded = load(write(f"environment: {environment}\nagents: {{{agents}}}\n"), machine=LARGE, strict=True)
    assert loaded.configuration.agents.learner.kind == kind
    (choice,) = loaded.warnings
    assert (choice.severity, choice.path) == ("choice", "agents.learner.kind") and choice.text.startswith(f"{kind} was chosen for ")
    assert loaded.origins["agents.learner.kind"] == "default for this environment"
    assert f"# {choice.message}" in resolved_yaml(loaded.configuration, notices=loaded.notices)


def test_keys_are_kept_and_those_that_no_candidate_has_are_refused(write: Write) -> None:
    path = write(f"environment: {POLE}\nagents: {{count: 1}}\n")
    assert load(path, ["agents.learner.hidden=[8]"], machine=LARGE).configuration.agents.learner.hidden == [8]
    learner = load(path, ["agents.learner.batch_size=64"], machine=LARGE).configuration.agents.learner
    assert (learner.kind, learner.model_dump()["batch_size"]) == ("double_dqn", 64)
    with pytest.raises(Problems, match=r"agents\.learner\.bach_size: unknown key"):
        load(path, ["agents.learner.bach_size=64"], machine=LARGE)


def test_without_a_learner_the_usual_one_is_not_announced(write: Write) -> None:
    loaded = load(write("environment: {id: landmarks}\n"), machine=LARGE)
    assert (loaded.configuration.agents.learner.kind, loaded.warnings) == ("double_dqn", [])


def test_names_stand_for_learners(write: Write) -> None:
    path = write(f"environment: {SPREAD}\nagents: {{count: 3, learner: discrete_sac, overrides: {{agent-1: {{learner: ppo}}}}}}\n")
    configuration = load(path, machine=LARGE).configuration
    assert configuration.agents.learner.kind == "discrete_sac"
    assert configuration.agents.overrides == {"agent-1": {"learner": {"kind": "ppo", "discount": 0.96}}}
    given = load(path, ["agents.learner=ppo", "agents.learner.clip=0.1"], machine=LARGE).configuration.agents.learner
    assert (given.kind, given.model_dump()["clip"]) == ("ppo", 0.1)


def test_an_agent_may_differ_in_its_learner(write: Write) -> None:
    text = f"environment: {PENDULUM}\nagents: {{count: 1, learner: ppo, overrides: {{agent-0: {{learner: auto}}}}}}\n"
    loaded = load(write(text), machine=LARGE)
    assert loaded.configuration.agents.overrides["agent-0"]["learner"]["kind"] == "sac"


@pytest.mark.parametrize("kind", ["double_dqn", "discrete_sac"])
def test_learners_that_cannot_play_continuous_actions_are_refused_before_the_start(write: Write, kind: str) -> None:
    with pytest.raises(
        Problems, match=f"{kind} does not support the continuous actions of gymnasium:Pendulum-v1; choose impala, ppo, sac or td3"
    ):
        load(write(f"environment: {PENDULUM}\nagents: {{count: 1, learner: {kind}}}\n"), machine=LARGE)


def test_the_resolved_form_names_the_learner(write: Write, tmp_path: Path) -> None:
    loaded = load(write(f"environment: {PENDULUM}\nagents: {{count: 1}}\n"), machine=LARGE)
    again = tmp_path / "config.yaml"
    again.write_text(resolved_yaml(loaded.configuration, notices=loaded.notices))
    other = load(again, machine=LARGE)
    assert (other.configuration, other.digest, other.warnings) == (loaded.configuration, loaded.digest, [])
