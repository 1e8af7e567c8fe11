"""Several discrete factors as one choice: joint actions, their exploration, and what their replay learners have in common."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Array, Batch, Learner, PolicySpec
from agent_node.learners.library.devices import CPU, device_of
from agent_node.learners.library.flat_networks import policy_inputs
from agent_node.learners.library.optimisers import FlatComponent
from agent_node.learners.settings import HeldExplorationSettings
from protocols.runtime.errors import ConfigurationError

LARGEST_JOINT_ACTION = 4096
LEAST_PROBABILITY = 1e-8


class JointAction:
    """Several discrete factors as one choice: factors (3, 3) make 9 joint actions."""

    def __init__(self, policy_spec: PolicySpec, learner: str, device: torch.device = CPU) -> None:
        if not policy_spec.actions:
            raise ConfigurationError(
                f"learner {learner} needs discrete actions, and this environment's are continuous; choose another learner"
            )
        self.count = int(np.prod(policy_spec.actions))
        if self.count > LARGEST_JOINT_ACTION:
            raise ConfigurationError(
                f"learner {learner} would need {self.count} joint actions; at most {LARGEST_JOINT_ACTION} are sensible"
            )
        self.table = np.stack(np.unravel_index(np.arange(self.count), policy_spec.actions), axis=1).astype(np.int32)
        """`[count, A]` factors of every joint action"""
        sizes = (*policy_spec.actions[1:], 1)
        self.strides = torch.from_numpy(np.cumprod(sizes[::-1], dtype=np.int64)[::-1].copy()).to(device)

    def index(self, action: torch.Tensor) -> torch.Tensor:
        """Factors `[n, A]` to joint actions `[n]`, both on the device."""
        return (action * self.strides).sum(dim=-1)


class HeldExploration:
    """Random actions that are held for a while, by row: single random steps cancel out, a held turn or push goes somewhere.

    A share `probability` of all steps is random: at each free step a row starts to hold with probability
    q = p / (h (1 - p) + p), h the mean duration.
    """

    def __init__(self, rows: int, choices: int, probability: float, duration: tuple[int, int], random: np.random.Generator) -> None:
        mean = (duration[0] + duration[1]) / 2
        self.start = probability / (mean * (1 - probability) + probability) if probability > 0 else 0.0
        self.probability = probability
        self.duration = duration
        self.choices = choices
        self.random = random
        self._left = np.zeros(rows, np.int64)
        self._held = np.zeros(rows, np.int64)

    def apply(self, greedy: NDArray[np.int64], rows: NDArray[np.int64], first: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The joint action of each of `rows`: the held one where one is held, else the greedy one."""
        if self.start == 0.0:
            return greedy
        left = np.where(first, 0, self._left[rows])
        begin = (left == 0) & (self.random.random(len(rows)) < self.start)
        count = int(begin.sum())
        if count:
            left[begin] = self.random.integers(self.duration[0], self.duration[1] + 1, count)
            self._held[rows[begin]] = self.random.integers(0, self.choices, count)
        chosen = np.where(left > 0, self._held[rows], greedy)
        self._left[rows] = np.maximum(left - 1, 0)
        return chosen


class JointActionLearner(FlatComponent, Learner):
    """A replay learner over joint actions; `rows` copies act at once. `seed`: exploration."""

    def __init__(self, settings: HeldExplorationSettings, policy_spec: PolicySpec, rows: int, seed: int) -> None:
        self.device = device_of(settings.device, "agents.learner.device")
        self.actions = JointAction(policy_spec, settings.kind, self.device)
        self.widths = [int(np.prod(policy_spec.observation)) + policy_spec.goal, *settings.hidden, self.actions.count]
        """of a network from states (features and goal) to joint actions"""
        self.random = np.random.default_rng(seed)
        hold = settings.exploration_hold
        self.exploration = HeldExploration(rows, self.actions.count, settings.exploration, hold, self.random)
        self.updates = 0

    @abstractmethod
    def _probability(self, state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """`[n]`: that the policy takes the joint actions `action[n]`, exploration by random steps aside."""

    @abstractmethod
    def _value(self, batch: Batch) -> torch.Tensor:
        """Q(s, a), `[..., B]`; the mean over the first dimension counts, where there are two."""

    @abstractmethod
    def _target(self, batch: Batch) -> torch.Tensor:
        """y, `[B]`, without gradient."""

    def log_probability(self, observations: Array, goals: Array, actions: Array) -> NDArray[np.float32]:
        """`[n]`: ln((1 - e) p + e / choices), at least ln(1e-8), of actions that the policy takes with probability p and that are random
        in a share e of all steps."""
        with torch.inference_mode():
            taken = self.actions.index(torch.from_numpy(actions.astype(np.int64)).to(self.device))
            probability = self._probability(policy_inputs(observations, goals, self.device), taken).cpu().numpy()
        share = self.exploration.probability
        mixed = (1 - share) * probability + share / self.actions.count
        logarithm: NDArray[np.float32] = np.log(np.maximum(mixed, LEAST_PROBABILITY)).astype(np.float32)
        return logarithm

    def td_errors(self, batch: Batch) -> NDArray[np.float32]:
        """|Q(s, a) - y| of each transition, `[B]`, with the target y of the module's formula; the mean over several critics."""
        batch = batch.to(self.device)
        with torch.inference_mode():
            error = (self._value(batch) - self._target(batch)).abs().view(-1, len(batch.reward)).mean(dim=0)
        return np.asarray(error.cpu().numpy(), np.float32)
