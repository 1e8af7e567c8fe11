"""The goal-coordination game: a convention between goals and messages that grows from success alone (Nisioti et al., arXiv 2211.06082).

Each agent owns one table P `[|G|, |M|]`, zeros at the start, used both when it leads and when it follows:
- the leader holds goal g and sends message m with probability proportional to exp(kappa P[g, m]) over m;
- the follower takes goal g with probability proportional to exp(kappa P[g, m]) over g;
- after the episode each side moves its own cell toward its own reward: P[g, m] += alpha (r - P[g, m]).
Rule `inhibition` besides shrinks, where r > 0, all other cells of that row (synonyms) and column (homonyms) by the factor 1 - alpha.
Rule `forgetting`, the published one, learns from a whole batch of episodes instead: in each of several epochs it is cut at random into
parts, and after every part b all cells move, P[g, m] += alpha (rbar_b(g, m) - P[g, m]), rbar_b being the mean reward of the cell in b and
0 where b does not have it. After epochs * parts steps the table depends mainly on the last batch, which makes the convention one-to-one.
Nothing but m is ever sent, and only negotiated episodes count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Array, EpisodeNegotiation, Metrics, State, arrays, tensors
from agent_node.exchange.negotiation.settings import CoordinationGameSettings
from protocols.conversations.negotiation.signalling_convention import accuracy, leading_choices, reading_choices

Table = NDArray[np.float64]


class CoordinationGame(EpisodeNegotiation):
    """Negotiation `coordination_game` over `goals` goals: one agent's table."""

    def __init__(self, settings: CoordinationGameSettings, goals: int, seed: int = 0) -> None:
        self.settings = settings
        self.table: Table = np.zeros((goals, settings.messages))
        self._batch: list[tuple[int, int, float]] = []
        self._seed = seed
        self._batches = 0

    @property
    def vocabulary(self) -> int:
        """|M|."""
        return self.settings.messages

    def lead(self, goal: int, random: np.random.Generator, greedy: bool = False) -> int:
        """The message to send for a goal."""
        return self._choose(self.table[goal], random, greedy)

    def follow(self, message: int, random: np.random.Generator, greedy: bool = False) -> int:
        """The goal to take for a message; `ValueError` if it is no message of this game (the sender is at fault)."""
        if not 0 <= message < self.settings.messages:
            raise ValueError(f"message {message} is not in 0..{self.settings.messages - 1}; all agents need the same negotiation.messages")
        return self._choose(self.table[:, message], random, greedy)

    def update(self, records: Iterable[tuple[int, int, float]]) -> None:
        """Learn from (goal, message, own reward) of negotiated episodes, one after the other."""
        if self.settings.update == "forgetting":
            self._batch += records
            while len(self._batch) >= self.settings.batch:
                batch, self._batch = self._batch[: self.settings.batch], self._batch[self.settings.batch :]
                self._forget_and_learn(batch)
            return
        rate = self.settings.step_size
        for goal, message, reward in records:
            cell = self.table[goal, message]
            moved = cell + rate * (reward - cell)
            if reward > 0 and self.settings.update == "inhibition":
                self.table[goal] *= 1 - rate
                self.table[:, message] *= 1 - rate
            self.table[goal, message] = moved

    def _forget_and_learn(self, batch: list[tuple[int, int, float]]) -> None:
        settings, rate = self.settings, self.settings.step_size
        goals, messages = np.array([record[:2] for record in batch], np.intp).T
        rewards = np.array([record[2] for record in batch])
        random = np.random.default_rng((self._seed, self._batches))
        self._batches += 1
        for _ in range(settings.epochs):
            for part in np.array_split(random.permutation(len(batch)), min(settings.parts, len(batch))):
                cells = goals[part], messages[part]
                total, count = np.zeros_like(self.table), np.zeros_like(self.table)
                np.add.at(total, cells, rewards[part])
                np.add.at(count, cells, 1)
                self.table += rate * (total / np.maximum(count, 1) - self.table)

    def metrics(self) -> Metrics:
        """`negotiation.self_consistency`: accuracy between the own leading and reading choices (`convention_accuracy` of one table)."""
        return {"negotiation.self_consistency": convention_accuracy(self.table, self.table)}

    def shared_arrays(self) -> dict[str, Array]:
        """`leading[|G|]` and `reading[|M|]` (`protocols.conversations.negotiation.signalling_convention`)."""
        return {"leading": leading_choices(self.table), "reading": reading_choices(self.table)}

    def state_dict(self) -> State:
        """The table, and for `forgetting` the records `[n, 3]` of the next batch and the number of completed batches."""
        batch = np.array(self._batch, np.float64).reshape(len(self._batch), 3)
        return tensors({"table": self.table.copy(), "batch": batch, "batches": np.array([float(self._batches)])})

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore; `ValueError` with the name of what is missing or has another shape."""
        found = arrays(state)
        for name, shape in (("table", self.table.shape), ("batch", (None, 3)), ("batches", (1,))):
            if name not in found:
                raise ValueError(f"coordination game: the checkpoint has no {name}")
            given = found[name].shape
            if len(given) != len(shape) or any(own not in (None, size) for own, size in zip(shape, given, strict=True)):
                wanted = ", ".join("n" if size is None else str(size) for size in shape)
                raise ValueError(f"coordination game: {name} has shape {list(given)} in the checkpoint and [{wanted}] here")
        self.table = found["table"].copy()
        self._batch = [(int(goal), int(message), float(reward)) for goal, message, reward in found["batch"].tolist()]
        self._batches = int(found["batches"][0])

    def _choose(self, values: Table, random: np.random.Generator, greedy: bool) -> int:
        if greedy:
            return int(random.choice(np.flatnonzero(values == values.max())))
        # The largest of (log-weight + Gumbel noise) is a draw from the softmax.
        return int((self.settings.inverse_temperature * values + random.gumbel(size=len(values))).argmax())


def convention_accuracy(leader: Table, follower: Table) -> float:
    """Share of goals g for which the follower's best goal of the leader's best message for g is g. With one table twice: how far the
    agent would understand itself. Rows and columns of zeros convey nothing."""
    return accuracy(leading_choices(leader), reading_choices(follower))
