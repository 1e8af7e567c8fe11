"""A scripted policy as a third party's learner, found by its entry point: it walks to a landmark of its goal and learns nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Array, Batch, Learner, Metrics, PolicyOutput, PolicySpec
from agent_node.learners.settings import ReplaySettings
from tests.walking import steer


class WalkerSettings(ReplaySettings):
    """The option `velocity` of the environment must be on, `sight` above the room's diagonal, and `history` 1."""

    capabilities = ("replay", "discrete")
    groups = ()
    kind: Literal["walker"] = "walker"
    batch_size: int = 32
    learning_starts: int = 200
    replay_ratio: float = 0.025
    room: float = 200.0
    """the environment's option"""


class Walker(Learner):
    """Learner `walker`: of a goal of several landmarks each episode's is drawn."""

    def __init__(self, settings: WalkerSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None) -> None:
        self.settings = settings
        self._landmarks = policy_spec.goal
        # Width = size + angles with two components per object (distance, bearing), and the own velocity last.
        self._size = 2 * (policy_spec.observation[0] - 2) // 3 + 2
        self._target = np.zeros(rows, np.int64)
        self._random = np.random.default_rng(seed)

    def act(
        self, observations: Array, goals: Array, rows: NDArray[np.int64] | None, first: NDArray[np.bool_], explore: bool
    ) -> PolicyOutput:
        """Straight to the landmark."""
        drawn = (goals * (1e-6 + self._random.random(goals.shape))).argmax(axis=1)
        target = drawn if rows is None else np.where(first, drawn, self._target[rows])
        if rows is not None:
            self._target[rows] = target
        at = np.arange(len(observations))
        bearing = np.arctan2(observations[at, 2 * target + 1], observations[at, self._size + target])
        return PolicyOutput(steer(observations[at, 2 * target] * self.settings.room, bearing, observations[:, self._size - 2]))

    def learn(self, batch: Batch) -> Metrics:
        """Nothing."""
        return {}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Where it was heading."""
        return {"target": torch.from_numpy(self._target.copy())}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state_dict` gave."""
        self._target = state["target"].numpy().copy()


def register_walker(register: Callable[[str, str, type[ReplaySettings], str], None]) -> None:
    """The entry point."""
    register("learner", "walker", WalkerSettings, "tests.runs.walker:Walker")


def install(site: Path) -> Path:
    """What an installer would leave behind of a package with that entry point; `site` belongs into PYTHONPATH."""
    facts = site / "walker-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: walker\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[murmuration.components]\nwalker = tests.runs.walker:register_walker\n")
    return site
