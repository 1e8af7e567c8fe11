"""Contract of learners, which improve a policy."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts.component import Component
from agent_node.contracts.training_data import Array, Batch, Metrics, PolicyOutput


class Learner(Component, ABC):
    """Improves a goal-conditioned policy from batches.

    Constructor: `(settings, policy_spec, copies, seed, initial)`, with `policy_spec` a `PolicySpec`, `copies` the number K of environment
    copies, `seed` for exploration and `initial` for the first parameters. `capabilities` contains "replay" (random transitions of any
    age) or "rollout" (each transition once, in order, soon after it happened); with "joint" as well its batches have `Batch.joint`, and
    `policy_spec.team` is given.
    """

    @abstractmethod
    def act(
        self, observations: Array, goals: Array, rows: NDArray[np.int64] | None, first: NDArray[np.bool_], explore: bool
    ) -> PolicyOutput:
        """Actions for n of the K copies: `observations[n, ...]`, `goals[n, goal]`, `rows[n]` the numbers of the copies (recurrent learners
        keep their state by row, and reset it where `first`). `rows` None: the observations belong to no copy (imagined states), and no
        state is kept. `explore` false: greedy actions; the state of the exploration must not change."""

    @abstractmethod
    def learn(self, batch: Batch) -> Metrics:
        """Learn from one batch: one gradient update from a replay batch `[B, ...]`, all epochs of a rollout `[T, K, ...]`. Returns
        metrics by name."""

    # --- optional, declared in `capabilities` ---------------------------------------------------------------------------------------

    def log_probability(self, observations: Array, goals: Array, actions: Array) -> NDArray[np.float32]:
        """Capability "probabilities": ln pi(a | o, g), `[n]`, of `actions[n, A]` for `observations[n, ...]`, `goals[n, goal]` under
        the exploring policy. Finite: impossible actions have the smallest probability that the learner distinguishes."""
        raise NotImplementedError("this learner declares no probabilities")

    def imitate(self, observations: Array, goals: Array, actions: Array) -> float:
        """Capability "imitation": one gradient step of the policy towards the actions, with the loss -mean ln pi(a | o, g) of features
        `[n, F]`, goal encodings `[n, goal]` and `actions[n, A]`; the loss before."""
        raise NotImplementedError("this learner declares no imitation")

    def td_errors(self, batch: Batch) -> NDArray[np.float32]:
        """Capability "td_errors": absolute one-step temporal-difference error of each transition, `[B]`. Changes no state."""
        raise NotImplementedError("this learner declares no td_errors")

    def values(self, observations: Array, goals: Array) -> NDArray[np.float32]:
        """Capability "values": V(s, g), `[n]`, of features `[n, F]` and goal encodings `[n, L]`: the expected discounted return of
        the policy."""
        raise NotImplementedError("this learner declares no values")

    def policy_snapshot(self) -> NDArray[np.float32]:
        """Capability "joint": `[P]`, the parameters from which the other members compute this agent's part of their targets (target actor,
        utility network). It is sent to them every few updates (`exchange.joint_experience.snapshot_every`)."""
        raise NotImplementedError("this learner declares no joint")

    def load_peer_policy(self, member: int, snapshot: NDArray[np.float32] | None) -> None:
        """Capability "joint": use this `policy_snapshot` of another member, by its place in the team, from now on; None: the newest one is
        too old, and the logged actions of that member stand for its policy. `ValueError` for a snapshot of another shape, which changes
        nothing. It must be in the learner's state, so that a resumed agent goes on with it."""
        raise NotImplementedError("this learner declares no joint")
