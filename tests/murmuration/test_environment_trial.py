"""An environment is tried: its numbers, or the first rule that it breaks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from murmuration.testing import try_environment

HERE = "tests.murmuration.broken_environments"


def test_the_numbers_of_an_environment() -> None:
    trial = try_environment(f"{HERE}:Corridor", {"length": 5}, steps=60)
    assert trial.ok, (trial.rule, trial.cure)
    assert trial.agents == ["left", "right"] and trial.steps == 60 and trial.episodes == 10
    assert trial.spaces == [{"agent": f"agent-{i}", "observation": "2 numbers", "action": "one of 2"} for i in range(2)]
    assert trial.reward == (0.5, 0.5) and trial.returns == (5.0, 5.0)
    assert trial.steps_per_second is not None and trial.steps_per_second > 0


@pytest.mark.parametrize(
    ("name", "rule", "cure"),
    [
        ("FourValues", "step returned 4 values instead of 5", "five dicts by agent"),
        ("NoSeed", "reset(seed=...) raised TypeError", "seed and options"),
        ("OtherShape", "the observation of left from step has shape [3], and its space [2]", "of the shape of observation_space"),
        ("NotANumber", "the reward of left is nan", "finite numbers"),
        ("Infinite", "the observation of left from step has values that are not finite", "finite numbers"),
        ("Unseeded", "the same seed give different observations", "made of `seed`"),
        ("Missing", "the rewards of step lack right", "every agent in `agents`"),
        ("Raises", "step(actions) raised AttributeError", "step takes a dict"),
        ("Old", "step returned 4 values instead of 5", "observation, reward, terminated, truncated, info"),
        ("Raising", "Raising cannot be made: RuntimeError: no display (", "correct the error there"),
    ],
)
def test_the_first_broken_rule_has_its_cure(name: str, rule: str, cure: str) -> None:
    trial = try_environment(f"{HERE}:{name}", steps=50)
    assert not trial.ok
    assert rule in trial.rule and cure in trial.cure, (trial.rule, trial.cure)


def test_options_and_ids_that_do_not_exist_are_named() -> None:
    trial = try_environment(f"{HERE}:Corridor", {"lenght": 5})
    assert "no such option" in trial.rule and "length" in trial.rule + trial.cure and trial.rule.startswith("lenght: ")
    assert "no environment or factory Nothing" in " ".join(vars(try_environment(f"{HERE}:Nothing"))[key] for key in ("rule", "cure"))


def test_vectorised_environments_are_tried_too() -> None:
    trial = try_environment("landmarks", {"horizon": 20}, agents=3, steps=60)
    assert trial.ok, (trial.rule, trial.cure)
    assert trial.agents == ["agent-0", "agent-1", "agent-2"] and trial.returns is not None


def test_images_that_are_never_drawn_are_found() -> None:
    """PettingZoo's pistonball returns images of the background without a render mode; by default it has one."""
    options = {"n_pistons": 2, "continuous": False, "render_mode": None}
    trial = try_environment("pettingzoo.butterfly:pistonball_v6", options, steps=40)
    assert "the image of agent-0, agent-1 did not change within an episode, in 40 random steps" in trial.rule
    assert "environment.options.render_mode: rgb_array" in trial.cure
    assert try_environment("pettingzoo.butterfly:pistonball_v6", {**options, "render_mode": "rgb_array"}, steps=40).ok


HANGING = """
import threading

from gymnasium.envs.classic_control import CartPoleEnv


class Hanging(CartPoleEnv):
    def __init__(self, where):
        super().__init__()
        self.where = where
        if where == "constructor":
            threading.Event().wait()

    def step(self, action):
        if self.where == "step":
            threading.Event().wait()
        return super().step(action)
"""


@pytest.mark.parametrize(("where", "call"), [("constructor", "the constructor"), ("step", "step(action)")])
def test_a_call_that_does_not_return_is_a_broken_rule(tmp_path: Path, where: str, call: str) -> None:
    (tmp_path / "hanging.py").write_text(HANGING)
    request = {"id": "./hanging.py:Hanging", "options": {"where": where}}
    words = [sys.executable, "-m", "murmuration.testing", json.dumps(request), "trial.json", "3"]
    paths = {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "PATH": ""}
    done = subprocess.run(words, cwd=tmp_path, env=paths, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "trial.json").read_text())
    assert not found["ok"] and found["rule"] == f"{call} has not returned for 3 s"
    assert "hanging.py" in done.stderr, "the stack shows where it is"
