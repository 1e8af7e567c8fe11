"""Contracts of learners: what improves the policy, and what some of them can do besides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts.training_data import Array, Batch, Metrics, PolicyOutput


class Learner(Protocol):
    """Improves a goal-conditioned policy from batches; knows no process, message or file."""

    wants: Literal["replay", "rollout"]
    """replay: random transitions of any age; rollout: each transition once, in order, soon after it happened"""

    def act(
        self, observations: Array, goals: Array, rows: NDArray[np.int64] | None, first: NDArray[np.bool_], explore: bool
    ) -> PolicyOutput:
        """Actions for n of the K copies: `observations[n, ...]`, `goals[n, goal]`, `rows[n]` the copies' numbers (recurrent learners
        keep their state by row, and reset it where `first`). `rows` None: states that belong to no copy (imagined ones); nothing is
        kept. `explore` false means greedy and must change no state that explores."""
        ...

    def learn(self, batch: Batch) -> Metrics:
        """Learn from one batch: one gradient update from replay, all epochs of a rollout."""
        ...

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """Named parameters in a fixed order, for averaging: `policy`, `critic`. Tensors are the live ones."""
        ...

    def averaged(self) -> None:
        """Told after the live parameters were changed from outside."""
        ...

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Everything a restart needs: flat names to tensors (networks, targets, optimiser moments, temperatures, counters)."""
        ...

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore; `ValueError` with the name of what does not fit."""
        ...


@runtime_checkable
class ActionProbabilities(Protocol):
    """A learner that can say how likely it is to act in a way (`capabilities` of its settings: `probabilities`)."""

    def log_probability(self, observations: Array, goals: Array, actions: Array) -> NDArray[np.float32]:
        """ln pi(a | o, g), `[n]`, of `actions[n, A]` for `observations[n, ...]`, `goals[n, goal]`, by the policy that explores. Finite:
        what it would never do has the least probability that the learner tells apart."""
        ...


@runtime_checkable
class TDErrors(Protocol):
    """A learner that can say how wrong it is about transitions (`capabilities` of its settings: `td_errors`)."""

    def td_errors(self, batch: Batch) -> NDArray[np.float32]:
        """Absolute one-step temporal-difference error of each, `[B]`; learns nothing and changes nothing."""
        ...


@runtime_checkable
class GoalValues(Protocol):
    """A learner that can say what a goal is worth to it (`capabilities` of its settings: `values`)."""

    def values(self, observations: Array, goals: Array) -> NDArray[np.float32]:
        """V(s, g) `[n]` of features `[n, F]` and goal encodings `[n, L]`: the discounted return that its policy expects."""
        ...
