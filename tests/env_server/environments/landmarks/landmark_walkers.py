"""Scripted policies for the landmarks arena."""

from __future__ import annotations

import numpy as np

from env_server.environments.landmarks.landmarks_environment import VectorLandmarks
from tests.walking import steer


def walk(environment: VectorLandmarks, observation: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Actions `[K, 2]` that lead each row to the landmark `target[K]` and stop there; the option `velocity` must be on."""
    rows = np.arange(len(observation))
    return steer(observation[rows, 2 * target] * environment.options.room, observation[rows, 2 * target + 1], observation[:, -2])
