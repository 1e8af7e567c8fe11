"""What the benchmarks of learners from stored data share: learners with the data of an agent, and averaging between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import EntityGroup, Learner
from agent_node.learners.settings import ReplaySettings
from agent_node.memory.episode import Episode
from agent_node.memory.replay_buffer import ReplayBuffer
from agent_node.session.observation_features import Features
from agent_node.session.transition_batches import goal_encodings, make_batch
from protocols.averaging.averager import FixedNeighbourhood
from protocols.averaging.synchronous_gossip import SynchronousAveraging
from protocols.runtime.component_registry import create


def filled(episodes: Iterable[Episode], rows: int, features: Features, discount: float) -> ReplayBuffer:
    """A buffer of `rows` rows with these episodes, whose samples have all extras; `discount`: of relative returns."""
    buffer = ReplayBuffer(rows, features, returns_discount=discount, next_actions=True)
    for episode in episodes:
        buffer.add(episode)
    return buffer


def made(settings: ReplaySettings, features: Features, seed: int, initial: int, entities: Sequence[EntityGroup] = ()) -> Learner:
    """A learner of these observations; `entities`: those that its network takes, if it takes any."""
    spec = replace(features.policy_spec(0), entities=tuple(entities))
    learner: Learner = create("learner", settings)(settings, spec, 1, seed, initial)
    return learner


class Member:
    """A learner with its data. `seed`: of its batches and its exploration; `initial`: of its first parameters."""

    def __init__(
        self, settings: ReplaySettings, buffer: ReplayBuffer, seed: int, initial: int, entities: Sequence[EntityGroup] = ()
    ) -> None:
        self._features = buffer.features
        self.learner = made(settings, self._features, seed, initial, entities)
        self._buffer = buffer
        self._random = np.random.default_rng(seed)
        self._encodings = goal_encodings(None)
        self._size = settings.batch_size

    def update(self) -> dict[str, float]:
        """One update from a batch of its own data."""
        sample = self._buffer.sample(self._size, self._random)
        return self.learner.learn(make_batch([sample], [False], self._features, self._encodings))

    @property
    def tensors(self) -> list[torch.Tensor]:
        """All averaged parameters."""
        return [tensor for group in self.learner.parameter_groups().values() for tensor in group]


class Gossip:
    """Synchronous averaging of all parameter groups between the members, each a neighbour of all others."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = {f"agent-{number}": member for number, member in enumerate(members)}
        size = sum(tensor.numel() for tensor in members[0].tensors)
        weight = 1 / len(members)
        self._machines = {
            name: SynchronousAveraging(FixedNeighbourhood({other: weight for other in self._members if other != name}), "all", size)
            for name in self._members
        }

    def round(self, number: int) -> None:
        """One round: vectors are sent, and each member moves to the mean."""
        for name, machine in self._machines.items():
            vector = torch.cat([tensor.flatten() for tensor in self._members[name].tensors]).numpy()
            machine.begin(number, vector, float(number))
        sends = [(name, send) for name, machine in self._machines.items() for send in machine.outgoing()]
        for name, send in sends:
            self._machines[send.dst].receive(name, send.message, send.arrays, float(number))
        for name, machine in self._machines.items():
            (closed,) = machine.events()
            self._move(self._members[name], closed.delta)

    @staticmethod
    def _move(member: Member, delta: NDArray[np.float64]) -> None:
        start = 0
        for tensor in member.tensors:
            tensor += torch.from_numpy(delta[start : start + tensor.numel()]).view_as(tensor)
            start += tensor.numel()
        member.learner.averaged()
