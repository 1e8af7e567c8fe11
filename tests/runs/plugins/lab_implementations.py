"""Implementations of the components of `lab_components`."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from lab_components import Beat, BeatSettings, LinearSettings, NamingSettings
from numpy.typing import NDArray

from agent_node.contracts import (
    AdditiveWorldModel,
    Array,
    Component,
    EpisodeNegotiation,
    Metrics,
    ModelData,
    Prediction,
    State,
    arrays,
    tensors,
)
from agent_node.learners.double_dqn import DoubleDQN
from agent_node.session.observation_features import Features
from agent_node.session.session_context import SessionContext
from protocols.conversations.conversation import EdgeConversation, Send
from protocols.wire.messages import Message


class Encoded(DoubleDQN):
    """Double DQN with a parameter group `encoder`, whose elements differ between agents until they are averaged."""

    def __init__(self, settings: Any, policy_spec: Any, rows: int, seed: int, initial: int | None = None) -> None:
        super().__init__(settings, policy_spec, rows, seed, initial)
        self.encoder = torch.full((3,), float(seed % 1000))

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        return {**super().parameter_groups(), "encoder": [self.encoder]}

    def metrics(self) -> Metrics:
        return {"lab.encoder": float(self.encoder.mean())}

    def state_dict(self) -> State:
        return super().state_dict() | {"encoder": self.encoder}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        super().load_state_dict({name: tensor for name, tensor in state.items() if name != "encoder"})
        self.encoder.copy_(state["encoder"])


class Linear(AdditiveWorldModel):
    """o' - o = W [o, a, 1], with W = (X^T X + I)^-1 X^T Y. Statistics: X^T X and X^T Y, flat."""

    def __init__(self, settings: LinearSettings, features: Features, achieved_size: int, seed: int) -> None:
        self.settings = settings
        self._outputs, self._inputs = features.size, features.size + features.action_size + 1
        self._own = np.zeros((self._inputs, self._inputs + self._outputs))
        self._total = self._own.copy()
        self._news = self._own.copy()
        self._weights = np.zeros((self._inputs, self._outputs))
        self._counts = np.zeros(2, np.int64)
        """transitions absorbed, and those of them since the last refit"""

    @property
    def basis_id(self) -> str:
        return blake2b(f"linear {self._inputs} {self._outputs}".encode(), digest_size=16).hexdigest()

    @property
    def transitions(self) -> int:
        return int(self._counts[0])

    @property
    def ready(self) -> bool:
        return self.transitions > 0

    @property
    def due(self) -> bool:
        return bool(self._counts[1] >= self.settings.refresh)

    def absorb(self, data: ModelData) -> None:
        inputs = self._rows(data.observation, data.action)
        gained = inputs.T @ np.concatenate([inputs, data.next_observation - data.observation[:, -1]], axis=1)
        for sums in (self._own, self._total, self._news):
            sums += gained
        self._counts += len(inputs)

    def statistics(self) -> NDArray[np.float64]:
        return self._own.reshape(-1).copy()

    def check(self, vector: NDArray[np.float64]) -> None:
        if vector.shape != (self._own.size,) or not np.isfinite(vector).all():
            raise ValueError(f"sums of a linear model are {self._own.size} finite numbers")

    def published(self) -> None:
        self._news[:] = 0

    def use(self, total: NDArray[np.float64], complete: bool) -> None:
        self.check(total)
        self._total = total.reshape(self._own.shape) + self._news

    def refit(self) -> Metrics:
        self._counts[1] = 0
        squares, products = self._total[:, : self._inputs], self._total[:, self._inputs :]
        self._weights = np.linalg.solve(squares + np.eye(self._inputs), products)
        return {"transitions": float(squares[-1, -1])}

    def predict(self, observation: Array, action: Array) -> Prediction:
        change = self._rows(observation, action) @ self._weights
        none = np.zeros(len(change), np.float32)
        return Prediction(observation[:, -1] + change, none, none, None, np.ones_like(change), np.zeros_like(change))

    def sample(self, observation: Array, action: Array, random: np.random.Generator) -> Prediction:
        return self.predict(observation, action)

    def error(self, data: ModelData) -> float:
        wrong = self.predict(data.observation, data.action).observation - data.next_observation
        return float(np.mean(wrong**2) / max(1e-9, float(np.var(data.next_observation))))

    def state_dict(self) -> State:
        return tensors({"own": self._own, "total": self._total, "news": self._news, "weights": self._weights, "counts": self._counts})

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        found = arrays(state)
        self._own, self._total, self._news = (found[name].copy() for name in ("own", "total", "news"))
        self._weights, self._counts = found["weights"].copy(), found["counts"].copy()

    def _rows(self, observation: Array, action: Array) -> NDArray[np.float64]:
        newest = observation[:, -1].astype(np.float64)
        return np.concatenate([newest, action.astype(np.float64), np.ones((len(newest), 1))], axis=1)


class Naming(EpisodeNegotiation):
    """The index of the goal is the message."""

    def __init__(self, settings: NamingSettings, goals: int, seed: int) -> None:
        self.settings = settings
        self._goals = goals

    @property
    def vocabulary(self) -> int:
        return self._goals

    def lead(self, goal: int, random: np.random.Generator) -> int:
        return goal

    def follow(self, message: int, random: np.random.Generator) -> int:
        return message


class BeatExchange(EdgeConversation[int]):
    """Events are the neighbours' numbers of updates."""

    message_types = (Beat,)

    def __init__(self) -> None:
        super().__init__()
        self._alive: set[str] = set()

    def send(self, updates: int) -> None:
        self._sends += [Send(peer, Beat(updates=updates)) for peer in sorted(self._alive)]

    def _receive(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        if isinstance(message, Beat):
            self._events.append(message.updates)

    def tick(self, now: float) -> None:
        pass

    def peer_alive(self, peer: str, incarnation: int, now: float) -> None:
        self._alive.add(peer)

    def peer_dead(self, peer: str, now: float) -> None:
        self._alive.discard(peer)


class Beats(Component):
    """Exchange `beats`."""

    def __init__(self, settings: BeatSettings) -> None:
        self.settings = settings
        self._received = 0

    def joined(self, context: SessionContext) -> None:
        self._progress, self._machine = context.progress, BeatExchange()
        context.converse(self._machine)

    def tick(self, now: float) -> None:
        self._received += len(self._machine.events())
        self._machine.send(self._progress.updates)

    def metrics(self) -> Metrics:
        return {"lab.beats": float(self._received)}

    def state_dict(self) -> State:
        return {"received": torch.tensor([self._received])}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        self._received = int(state["received"][0])
