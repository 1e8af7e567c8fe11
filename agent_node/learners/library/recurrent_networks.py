"""Recurrent layers over time, and networks with them.

States are flat, `[n, S]`: S = L H for L gated recurrent units of width H, and 2 L H for LSTM layers (output and cell of each in turn).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from agent_node.contracts import PolicySpec
from agent_node.learners.library.devices import CPU
from agent_node.learners.library.encoders import orthogonal, uniform
from agent_node.learners.library.flat_networks import flatten
from agent_node.learners.library.network_architectures import trunk_of
from agent_node.learners.network_settings import Network, RecurrentSettings


class RecurrentLayers(nn.Module):
    """`layers` cells of `width` H in a row, parameters uniform in +-1/sqrt(H): `[n, H]` and a state to `[n, H]` and the next state.
    `settings` None: no layers, and states of width 0."""

    def __init__(self, settings: RecurrentSettings | None, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.width = width
        self.lstm = settings is not None and settings.cell == "lstm"
        kind = nn.LSTMCell if self.lstm else nn.GRUCell
        layers = 0 if settings is None else settings.layers
        self.cells = nn.ModuleList(uniform(kind(width, width), width, generator) for _ in range(layers))
        self.state_width = layers * width * (2 if self.lstm else 1)

    def forward(self, values: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One step from `values[n, H]` and `state[n, S]`: the output of the last layer, `[n, H]`, and the next state."""
        if not len(self.cells):
            return values, state
        parts = list(torch.split(state, self.width, dim=1))
        for number, cell in enumerate(self.cells):
            if self.lstm:
                values, memory = cell(values, (parts[2 * number], parts[2 * number + 1]))
                parts[2 * number], parts[2 * number + 1] = values, memory
            else:
                values = parts[number] = cell(values, parts[number])
        return values, torch.cat(parts, dim=1)

    def unroll(self, values: torch.Tensor, state: torch.Tensor, begins: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Over `values[T, B, H]` in order of time, from the `state[B, S]` before step 0, which becomes zero wherever an episode begins
        (`begins[T, B]`): outputs `[T, B, H]`, and the states after each step, `[T, B, S]`."""
        if not len(self.cells):
            return values, state.expand(len(values), *state.shape)
        outputs, states = [], []
        for t in range(len(values)):
            now, state = self(values[t], state * (1 - begins[t]).unsqueeze(1))
            outputs.append(now)
            states.append(state)
        return torch.stack(outputs), torch.stack(states)


class RecurrentNetwork(nn.Module):
    """ReLU layers `hidden` (behind an encoder, where `network` selects one), recurrent layers, and a linear layer with orthogonal weights
    of `gain`. All parameters lie in one `vector`, their gradients in one `gradient`, on `device`."""

    def __init__(
        self,
        network: Network,
        recurrent: RecurrentSettings,
        policy_spec: PolicySpec,
        hidden: Sequence[int],
        outputs: int,
        generator: torch.Generator,
        gain: float,
        device: torch.device = CPU,
    ) -> None:
        super().__init__()
        self.trunk = trunk_of(network, policy_spec, hidden, generator)
        self.memory = RecurrentLayers(recurrent, self.trunk.outputs, generator)
        self.head = orthogonal(nn.Linear(self.trunk.outputs, outputs), gain, generator)
        self.state_width = self.memory.state_width
        self.to(device)
        self.vector, self.gradient = flatten(self)

    def forward(self, inputs: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One step from `inputs[n, F + goal]` and `state[n, S]`: outputs `[n, outputs]` and the next state."""
        values, following = self.memory(self.trunk(inputs), state)
        return self.head(values), following

    def unroll(self, inputs: torch.Tensor, state: torch.Tensor, begins: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Over `inputs[T, B, F + goal]`, as `RecurrentLayers.unroll`: outputs `[T, B, outputs]` and states `[T, B, S]`."""
        values: torch.Tensor = self.trunk(inputs.flatten(0, 1))
        values, states = self.memory.unroll(values.view(*inputs.shape[:2], -1), state, begins)
        return self.head(values), states


class ActorCriticNetwork(nn.Module):
    """Trunk from features with a goal behind them, maybe recurrent layers, and two linear heads with orthogonal weights of gain 1: policy
    and value."""

    def __init__(
        self,
        network: Network,
        policy_spec: PolicySpec,
        hidden: Sequence[int],
        recurrent: RecurrentSettings | None,
        outputs: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.trunk = trunk_of(network, policy_spec, hidden, generator)
        width = self.trunk.outputs
        self.memory = RecurrentLayers(recurrent, width, generator)
        self.policy = orthogonal(nn.Linear(width, outputs), 1.0, generator)
        self.value = orthogonal(nn.Linear(width, 1), 1.0, generator)
        self.state_width = self.memory.state_width

    def heads(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Outputs for the policy, `[n, outputs]`, and values, `[n]`."""
        return self.policy(values), self.value(values).squeeze(1)

    def unroll(self, inputs: torch.Tensor, state: torch.Tensor | None, begins: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Heads over `[T, B, F + goal]`, as `RecurrentLayers.unroll` from `state[B, S]` (None: there are no recurrent layers): `[T B,
        outputs]` and `[T B]`."""
        values: torch.Tensor = self.trunk(inputs.flatten(0, 1))
        if state is not None:
            values = self.memory.unroll(values.view(*inputs.shape[:2], -1), state, begins)[0].flatten(0, 1)
        return self.heads(values)
