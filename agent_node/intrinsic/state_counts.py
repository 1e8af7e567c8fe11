"""Counts of visited states, and intrinsic reward for rarely visited ones (Strehl and Littman, J. Comput. Syst. Sci. 74, 2008).

A state is what the environment shows of it: the whole grid where there is one, with what the agent carries, or the observation of the
policy. It is counted by a 64-bit hash of its bytes; two states of one hash would be counted as one (10^6 states: a chance of 3e-8).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Array, Batch, IntrinsicReward, Metrics, PolicySpec, State, TransitionBatch, arrays, tensors
from agent_node.intrinsic.settings import CountSettings

_HASH_SEED = 0x5EED
MOST_STATES = 2**20
"""states that are counted, about 100 MB; every further one has n = 1 for ever, as nearly all have where observations are continuous"""


class StateHash:
    """Hashes of states among raw observations `[n, D]`: h = sum over bytes b_i of b_i w_i mod 2^64, with fixed random w_i."""

    def __init__(self, policy_spec: PolicySpec, state: Literal["whole", "observation"]) -> None:
        grids = policy_spec.grids
        part = None if grids is None else grids.whole if state == "whole" else grids.seen
        self._part = slice(None) if part is None else slice(part.start, part.stop)
        self._weights = np.zeros(0, np.uint64)

    def __call__(self, raw: Array) -> NDArray[np.uint64]:
        """`[n]`."""
        codes = np.ascontiguousarray(raw[:, self._part]).view(np.uint8)
        if len(self._weights) != codes.shape[1]:
            self._weights = np.random.default_rng(_HASH_SEED).integers(2**64, size=(codes.shape[1],), dtype=np.uint64)
        hashes: NDArray[np.uint64] = codes.astype(np.uint64) @ self._weights
        return hashes


class StateCounts:
    """N(s), the number of visits of each state s, which has a number in order of its first visit. All states beyond `MOST_STATES` have one
    number, and N = 1."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._visits = np.zeros(1024, np.int64)

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Count a visit of each of these states `[n]`, one after the other; their numbers `[n]`."""
        known, room = self._numbers, MOST_STATES - len(self._numbers)
        if room >= len(hashes):
            found = [known.setdefault(state, len(known)) for state in hashes.tolist()]
        else:
            found = [known[state] if state in known else self._new(state) for state in hashes.tolist()]
        numbers = np.array(found, np.int64)
        if len(known) >= len(self._visits):
            self._visits = np.concatenate([self._visits, np.zeros(len(known), np.int64)])
        np.add.at(self._visits, numbers, 1)
        self._bound()
        return numbers

    def _new(self, state: int) -> int:
        number = len(self._numbers)
        if number < MOST_STATES:
            self._numbers[state] = number
        return number

    def _bound(self) -> None:
        if len(self) >= MOST_STATES:
            self._visits[len(self)] = 1

    def visits(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """N of the states with these numbers."""
        return self._visits[numbers]

    def state_dict(self) -> State:
        """`states` (hashes) in the order of their numbers, and `visits`."""
        states = np.fromiter(self._numbers, np.uint64, len(self))
        return tensors({"states": states.view(np.int64), "visits": self._visits[: len(self)].copy()})

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore; `ValueError` where something is missing or does not fit."""
        found = arrays(state)
        if missing := {"states", "visits"} - found.keys():
            raise ValueError(f"{', '.join(sorted(missing))} is missing in the state")
        if found["states"].shape != found["visits"].shape:
            raise ValueError(f"{len(found['states'])} states have {len(found['visits'])} numbers of visits")
        self._numbers = {hashed: number for number, hashed in enumerate(found["states"].view(np.uint64).tolist())}
        self._visits = np.concatenate([found["visits"], np.zeros(1024, np.int64)])
        self._bound()


class CountBonus(IntrinsicReward):
    """Intrinsic reward `count`: r_i = coefficient / sqrt(n(s')).

    n counts the visits of s', this one included: in the whole training (`lifelong`), or in the episode (`episodic`). With `first_visit` it
    counts those of the whole training, and only the first visit of s' in an episode is paid. An episode begins with a visit of its first
    observation, which is counted and not paid.
    """

    def __init__(self, settings: CountSettings, policy_spec: PolicySpec, copies: int, seed: int) -> None:
        self.settings = settings
        self._hash = StateHash(policy_spec, settings.state)
        self._counts = StateCounts()
        self._episodes: list[Counter[int]] = [Counter() for _ in range(copies)]
        self._sums = np.zeros(2)
        self._steps = 0

    def reward(self, transitions: TransitionBatch) -> NDArray[np.float32]:
        """The formula above, `[n]`."""
        scope, before, states = self.settings.scope, self._hash(transitions.raw), self._hash(transitions.next_raw)
        own = self._episode_visits(transitions, before, states)
        self._counts.add(before[transitions.begins])
        if scope == "episodic":
            visits = own
            self._counts.add(states)
        else:
            visits = self._counts.visits(self._counts.add(states))
        bonus = self.settings.coefficient / np.sqrt(visits)
        if scope == "first_visit":
            bonus = bonus * (own == 1)
        self._sums += bonus.sum(), (own == 1).sum()
        self._steps += len(bonus)
        return bonus.astype(np.float32)

    def _episode_visits(self, transitions: TransitionBatch, before: NDArray[np.uint64], states: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Visits of the states after the steps, `[n]`, in the episodes of their copies."""
        visits = np.empty(len(states), np.int64)
        steps = zip(transitions.rows.tolist(), before.tolist(), states.tolist(), strict=True)
        for place, (row, first, state) in enumerate(steps):
            episode = self._episodes[row]
            if transitions.begins[place]:
                episode.clear()
            if not episode:
                episode[first] = 1
            episode[state] += 1
            visits[place] = episode[state]
        return visits

    def learn(self, batch: Batch) -> Metrics:
        """Nothing is trained. Metrics: `states` that were visited so far, and means over the steps since the last rollout: `reward`, and
        `first`, the share of first visits in an episode."""
        reward, first = self._sums / max(1, self._steps)
        self._sums[:] = self._steps = 0
        return {"states": float(len(self._counts)), "reward": float(reward), "first": float(first)}

    def state_dict(self) -> State:
        """Counts of the whole training; those of episodes begin anew with them."""
        return self._counts.state_dict()

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore; `ValueError` where something is missing or does not fit."""
        self._counts.load_state_dict(state)
