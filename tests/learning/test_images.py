"""Learners with convolutions learn from images: real processes under the logical clock, so that a seed has one result on a machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runs.system import metrics, orchestrate

pytestmark = [pytest.mark.cluster, pytest.mark.runs, pytest.mark.timeout(200)]
SQUARES = '''\
"""A bright square of a random colour on noise stands in the left, middle or right third of the image, at a random place in it: its third is
the right action. 16 images make an episode."""

import gymnasium
import numpy as np


class Squares(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 255, (72, 72, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(3)

    def _image(self):
        image = self.np_random.integers(0, 60, (72, 72, 3), np.uint8)
        self.third = int(self.np_random.integers(3))
        x, y = 24 * self.third + self.np_random.integers(12), self.np_random.integers(60)
        image[y : y + 12, x : x + 12] = self.np_random.integers(120, 256, 3)
        return image

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 16
        return self._image(), {}

    def step(self, action):
        reward = float(action == self.third)
        self.left -= 1
        return self._image(), reward, False, self.left == 0, {}
'''
CONFIGURATION = """\
environment: {id: "./squares.py:Squares", copies: 16, images: {size: [36, 36], grayscale: true}}
agents: {count: 1, learner: %s}
until: {steps: %d}
clock: logical
evaluation: {every: 100000, final_episodes: 32}
"""
REPLAY = "batch_size: 64, learning_starts: 256, replay_ratio: 0.125, discount: 0.0, learning_rate: 1e-3"
LEARNERS = {
    "ppo": "{kind: ppo, network: cnn, steps: 16, epochs: 4, minibatch_size: 64, discount: 0.0, learning_rate: 1e-3}",
    "impala": "{kind: impala, network: cnn, steps: 8, rollouts: 4, discount: 0.0, learning_rate: 1e-3}",
    "double_dqn": f"{{kind: double_dqn, network: cnn, {REPLAY}}}",
    "discrete_sac": f"{{kind: discrete_sac, network: cnn, target_entropy: 0.1, {REPLAY}}}",
}


@pytest.mark.parametrize("kind", LEARNERS)
def test_learners_find_a_square_in_an_image(kind: str, tmp_path: Path) -> None:
    (tmp_path / "squares.py").write_text(SQUARES)
    (tmp_path / "squares.yaml").write_text(CONFIGURATION % (LEARNERS[kind], 4000))
    done = orchestrate(tmp_path / "runs", "up", str(tmp_path / "squares.yaml"), "--name", kind, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    assert metrics(tmp_path / "runs" / kind, "env-0", "eval.own.return")[-1] >= 14, "of 16; random actions earn 5.3"
