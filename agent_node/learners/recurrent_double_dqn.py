"""Double Q-learning with recurrent networks, from sequences of remembered episodes (Kapturowski et al., R2D2, ICLR 2019).

The targets are those of `double_dqn`. Both networks are computed along the sequences, from a state of zero: the first `burn_in` steps of
a sequence only compute the state with which the others begin, without gradient, and states become zero where the episode begins. The loss
is the mean over the steps of all sequences that count. States of R2D2's actors are not stored, and rewards are not rescaled.

When acting, each copy has one state, of the network that acts in the episode (the online network; in evaluations the target network).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Array, Batch, Metrics, PolicySpec
from agent_node.learners.double_dqn import DoubleDQN
from agent_node.learners.library.recurrent_networks import RecurrentNetwork
from agent_node.learners.settings import DoubleDQNSettings


def double_dqn(settings: DoubleDQNSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None) -> DoubleDQN:
    """Learner `double_dqn`, recurrent where the settings ask for it."""
    return (DoubleDQN if settings.recurrent is None else RecurrentDoubleDQN)(settings, policy_spec, rows, seed, initial)


class RecurrentDoubleDQN(DoubleDQN):
    """Double DQN on sequences, with a state `[rows, S]`."""

    online: RecurrentNetwork
    target: RecurrentNetwork

    def __init__(self, settings: DoubleDQNSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None) -> None:
        if settings.recurrent is None:
            raise ValueError("agents.learner.recurrent is null; use DoubleDQN")
        self.recurrent, self.burn_in = settings.recurrent, settings.recurrent.burn_in
        super().__init__(settings, policy_spec, rows, seed, initial)
        self._memory = np.zeros((rows, self.online.state_width), np.float32)

    def _network(self, policy_spec: PolicySpec, generator: torch.Generator) -> RecurrentNetwork:
        settings, outputs = self.settings, self.actions.count + self.settings.dueling
        return RecurrentNetwork(settings.network, self.recurrent, policy_spec, settings.hidden, outputs, generator, 1.0, self.device)

    def _acting_values(
        self, network: torch.nn.Module, inputs: torch.Tensor, rows: NDArray[np.int64] | None, first: NDArray[np.bool_]
    ) -> torch.Tensor:
        memory = np.zeros((len(inputs), self._memory.shape[1]), np.float32) if rows is None else self._memory[rows]
        memory[first] = 0.0
        outputs, following = network(inputs, torch.from_numpy(memory).to(self.device))
        if rows is not None:
            self._memory[rows] = following.cpu().numpy()
        return self._combined(outputs)

    def learn(self, batch: Batch) -> Metrics:
        """One gradient update from sequences `[burn_in + L, B, ...]`; metrics as `DoubleDQN.learn`."""
        batch = batch.to(self.device)
        burn_in = self.burn_in
        observed = torch.cat([batch.observation, batch.next_observation[-1:]])
        inputs = torch.cat([observed, torch.cat([batch.goal, batch.goal[-1:]])], dim=2)
        begins = torch.zeros_like(batch.weight) if batch.first is None else batch.first
        begins = torch.cat([begins, torch.zeros_like(begins[:1])])

        values = self._along(self.online, inputs, begins)
        counts = batch.weight[burn_in:] > 0
        taken = self.actions.index(batch.action[burn_in:]).unsqueeze(2)
        value = values[:-1].gather(2, taken).squeeze(2)
        with torch.no_grad():
            following = inputs[burn_in + 1 :].flatten(0, 1)
            best = self.actions.masked(values[1:].flatten(0, 1), following).argmax(dim=1, keepdim=True)
            next_value = self._along(self.target, inputs, begins)[1:].flatten(0, 1).gather(1, best).view(value.shape)
            target = batch.reward[burn_in:] + self.settings.discount * (1 - batch.terminated[burn_in:]) * next_value
        return self._update(value[counts], target[counts], batch.weight[burn_in:][counts])

    def _along(self, network: RecurrentNetwork, inputs: torch.Tensor, begins: torch.Tensor) -> torch.Tensor:
        """Q along sequences `inputs[burn_in + L + 1, B, F + goal]`, without the steps of the burn-in: `[L + 1, B, choices]`."""
        state = inputs.new_zeros(inputs.shape[1], network.state_width)
        if self.burn_in:
            with torch.no_grad():
                state = network.unroll(inputs[: self.burn_in], state, begins[: self.burn_in])[1][-1]
        outputs, _ = network.unroll(inputs[self.burn_in :], state, begins[self.burn_in :])
        return self._combined(outputs)

    def log_probability(self, observations: Array, goals: Array, actions: Array) -> NDArray[np.float32]:
        """`ValueError`: what the policy does depends on what went before."""
        raise ValueError("probabilities of actions depend on the policy's memory")

    def td_errors(self, batch: Batch) -> NDArray[np.float32]:
        """`ValueError`: values of single transitions depend on what went before them."""
        raise ValueError("errors of single transitions depend on the policy's memory")
