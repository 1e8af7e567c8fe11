"""Proximal policy optimisation with recurrent policy and value networks.

The loss is that of `ppo`. A rollout of T steps is cut into sequences of `recurrent.sequence` steps, each of which begins with the states
that both networks had when the agent acted there (stored with its actions), and which become zero where an episode begins. A minibatch
has whole sequences; gradients flow through their steps. Values of the rollout are computed in order of time from its first states, and
V(s_{t+1}) from the state after step t.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Array, Batch, PolicySpec
from agent_node.learners.library.recurrent_networks import RecurrentNetwork
from agent_node.learners.ppo import PPO, FlatNetwork, Forward
from agent_node.learners.settings import PPOSettings
from agent_node.learners.team.centralised_ppo import CentralisedPPO


def ppo(settings: PPOSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None) -> PPO:
    """Learner `ppo`, recurrent or with a centralised critic where the settings ask for it."""
    if settings.centralised_critic:
        return CentralisedPPO(settings, policy_spec, rows, seed, initial)
    return (PPO if settings.recurrent is None else RecurrentPPO)(settings, policy_spec, rows, seed, initial)


class Sequences(NamedTuple):
    """N sequences of L steps of one rollout."""

    inputs: torch.Tensor
    """`[L, N, F + goal]`"""
    begins: torch.Tensor
    """`[L, N]`: 1 where an episode begins"""
    memory: torch.Tensor
    """`[N, S]`: states of both networks before the first step"""
    row: torch.Tensor
    """`[L, N]`: number of the step among those that count; -1 for others"""

    def of(self, part: torch.Tensor) -> Sequences:
        """The sequences with the numbers `part[n]`."""
        return Sequences(self.inputs[:, part], self.begins[:, part], self.memory[part], self.row[:, part])


class RecurrentPPO(PPO):
    """PPO on sequences, with `[K, S]` states: those of the policy network, and behind them those of the value network."""

    policy: RecurrentNetwork
    value: RecurrentNetwork

    def __init__(self, settings: PPOSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None) -> None:
        super().__init__(settings, policy_spec, rows, seed, initial)
        self._memory = np.zeros((rows, self.policy.state_width + self.value.state_width), np.float32)
        self._sequences: Sequences | None = None

    def _networks(self, policy_spec: PolicySpec, generator: torch.Generator) -> tuple[RecurrentNetwork, RecurrentNetwork]:
        settings = self.settings
        if settings.recurrent is None:
            raise ValueError("agents.learner.recurrent is null; use PPO")
        shape = settings.network, settings.recurrent, policy_spec, settings.hidden
        policy = RecurrentNetwork(*shape, self.head.width, generator, gain=0.01, device=self.device)
        return policy, RecurrentNetwork(*shape, 1, generator, gain=1.0, device=self.device)

    def _acting_outputs(
        self, inputs: torch.Tensor, rows: NDArray[np.int64] | None, first: NDArray[np.bool_], explore: bool
    ) -> tuple[torch.Tensor, dict[str, NDArray[np.float32]]]:
        """Outputs of the policy, and the states `memory[n, S]` of both networks before the step."""
        memory = np.zeros((len(inputs), self._memory.shape[1]), np.float32) if rows is None else self._memory[rows]
        memory[first] = 0.0
        before, value_before = self._of_both(torch.from_numpy(memory).to(self.device))
        outputs, after = self.policy(inputs, before)
        if rows is not None:
            self._memory[rows] = torch.cat([after, self.value(inputs, value_before)[1]], dim=1).cpu().numpy()
        return outputs, {"memory": memory} if explore else {}

    def _of_both(self, memory: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return memory[:, : self.policy.state_width], memory[:, self.policy.state_width :]

    def values(self, observations: Array, goals: Array) -> NDArray[np.float32]:
        """`ValueError`: values depend on what went before."""
        raise ValueError("what a goal is worth depends on the policy's memory")

    def _rollout_values(self, batch: Batch, state: torch.Tensor, following: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        begins = torch.zeros_like(batch.weight) if batch.first is None else batch.first
        _, memory = self._of_both(batch.extras["memory"][0])
        outputs, states = self.value.unroll(state, memory, begins)
        next_outputs, _ = self.value(following.flatten(0, 1), states.flatten(0, 1))
        return self._scaled(outputs.squeeze(-1)), self._scaled(next_outputs.squeeze(-1)).view(batch.reward.shape)

    def _rollout_outputs(self, batch: Batch, state: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """As in `PPO`; also cuts the rollout into the sequences of its minibatches."""
        begins = torch.zeros_like(batch.weight) if batch.first is None else batch.first
        self._sequences = self._cut(state, begins, batch.extras["memory"], counts.view(batch.weight.shape))
        memory, _ = self._of_both(batch.extras["memory"][0])
        outputs, _ = self.policy.unroll(state, memory, begins)
        return outputs.flatten(0, 1)[counts]

    def _cut(self, inputs: torch.Tensor, begins: torch.Tensor, memory: torch.Tensor, counts: torch.Tensor) -> Sequences:
        """A rollout `[T, K, ...]` in sequences, without those in which no step counts. The last ones are filled up with steps that do not
        count."""
        steps, copies = counts.shape
        length = min(self.settings.recurrent.sequence if self.settings.recurrent else steps, steps)
        row = torch.where(counts, counts.flatten().cumsum(0).view(steps, copies) - 1, -1)

        def cut(values: torch.Tensor, fill: int = 0) -> torch.Tensor:
            missing = values.new_full((-steps % length, *values.shape[1:]), fill)
            parts = torch.cat([values, missing]).view(-1, length, *values.shape[1:])
            return parts.transpose(0, 1).flatten(1, 2)

        rows = cut(row, -1)
        used = (rows >= 0).any(dim=0)
        return Sequences(cut(inputs)[:, used], cut(begins)[:, used], memory[::length].flatten(0, 1)[used], rows[:, used])

    def _minibatches(self, rows: int) -> Iterator[tuple[torch.Tensor, Forward]]:
        """Minibatches of whole sequences, with about `minibatch_size` steps that count."""
        if self._sequences is None:
            raise ValueError("minibatches are those of a rollout")
        number = self._sequences.row.shape[1]
        order = torch.from_numpy(self._shuffle.permutation(number)).to(self.device)
        for part in order.tensor_split(min(number, max(1, round(rows / self.settings.minibatch_size)))):
            one = self._sequences.of(part)
            yield one.row[one.row >= 0], partial(self._unrolled, one)

    def _unrolled(self, sequences: Sequences, network: FlatNetwork, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs of the network at the steps of `sequences` that count, in the order of `row`."""
        if not isinstance(network, RecurrentNetwork):
            raise TypeError("sequences are for recurrent networks")
        memory, value_memory = self._of_both(sequences.memory)
        outputs, _ = network.unroll(sequences.inputs, memory if network is self.policy else value_memory, sequences.begins)
        return outputs[sequences.row >= 0]
