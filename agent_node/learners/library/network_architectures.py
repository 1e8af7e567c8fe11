"""Which network a learner gets: layers on the vector of features, or convolutions over the cells of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from agent_node.contracts import PolicySpec
from agent_node.learners.library.devices import CPU
from agent_node.learners.library.flat_networks import TanhMLP, flatten
from agent_node.learners.library.grid_networks import GridTrunk, orthogonal, uniform
from agent_node.learners.settings import Network
from protocols.runtime.errors import ConfigurationError
from protocols.spaces.grid_space import GridPart


def grid_of(network: Network, policy_spec: PolicySpec) -> GridPart | None:
    """The grid that a network is to look at; None for layers on the vector. `ConfigurationError` where there is no grid to look at."""
    if network == "grid" and policy_spec.grids is None:
        raise ConfigurationError("agents.learner.network is grid, but this environment shows no grid of cells; write auto")
    return None if network == "mlp" or policy_spec.grids is None else policy_spec.grids.seen


class LinearTrunk(nn.Module):
    """Linear layers with ReLU, weights orthogonal with gain sqrt(2): `[n, inputs] -> [n, hidden[-1]]`."""

    def __init__(self, inputs: int, hidden: Sequence[int], generator: torch.Generator) -> None:
        super().__init__()
        self.layers = nn.ModuleList(orthogonal(nn.Linear(*sizes), 2**0.5, generator) for sizes in pairwise((inputs, *hidden)))
        self.outputs = hidden[-1]

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """From inputs `[..., F + goal]` to the activations of the last hidden layer (ReLU), `[..., hidden[-1]]`."""
        for layer in self.layers:
            inputs = functional.relu(layer(inputs))
        return inputs


def trunk_of(network: Network, policy_spec: PolicySpec, hidden: Sequence[int], generator: torch.Generator) -> GridTrunk | LinearTrunk:
    """From features with a goal behind them, `[n, F + goal]`, to `[n, hidden[-1]]`."""
    part = grid_of(network, policy_spec)
    if part is not None:
        return GridTrunk(part, policy_spec.goal, hidden, generator)
    return LinearTrunk(int(np.prod(policy_spec.observation)) + policy_spec.goal, hidden, generator)


class GridNetwork(nn.Module):
    """A trunk and one linear layer, whose weights are orthogonal with `gain`, on flat memory: `[..., F + goal] -> [..., outputs]`."""

    def __init__(
        self, policy_spec: PolicySpec, part: GridPart, hidden: Sequence[int], outputs: int, generator: torch.Generator, gain: float
    ) -> None:
        super().__init__()
        self.trunk = GridTrunk(part, policy_spec.goal, hidden, generator)
        self.last = orthogonal(nn.Linear(self.trunk.outputs, outputs), gain, generator)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """From inputs `[..., F + goal]` to the outputs of the last layer, `[..., outputs]`, without activation."""
        values: torch.Tensor = self.last(self.trunk(inputs.flatten(0, -2)))
        return values.view(*inputs.shape[:-1], -1)


class FlatParameterNetwork(nn.Module):
    """A network with all its parameters in one `vector` and their gradients in one `gradient`, on `device`."""

    def __init__(self, network: nn.Module, device: torch.device = CPU) -> None:
        super().__init__()
        self.network = network.to(device)
        self.vector, self.gradient = flatten(self.network)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs of the wrapped network, of the same shape as without the wrapper."""
        outputs: torch.Tensor = self.network(inputs)
        return outputs


def network_of(
    network: Network,
    policy_spec: PolicySpec,
    hidden: Sequence[int],
    outputs: int,
    generator: torch.Generator,
    gain: float,
    device: torch.device = CPU,
) -> TanhMLP | FlatParameterNetwork:
    """`[..., F + goal] -> [..., outputs]`, by a grid network where one is wanted and possible, else by tanh layers."""
    part = grid_of(network, policy_spec)
    if part is None:
        return TanhMLP([int(np.prod(policy_spec.observation)) + policy_spec.goal, *hidden, outputs], generator, gain, device)
    return FlatParameterNetwork(GridNetwork(policy_spec, part, hidden, outputs, generator, gain), device)


class ActorCriticNetwork(nn.Module):
    """Trunk, maybe LSTM layers, and two linear heads with orthogonal weights of gain 1: policy and value.

    The state of L layers of width H is `[n, 2 L H]`: hidden and cell values of the first layer, then of the next.
    """

    def __init__(
        self, network: Network, policy_spec: PolicySpec, hidden: Sequence[int], memory: int, outputs: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.trunk = trunk_of(network, policy_spec, hidden, generator)
        self.width = self.trunk.outputs
        self.memory = nn.ModuleList(uniform(nn.LSTMCell(self.width, self.width), self.width, generator) for _ in range(memory))
        self.policy = orthogonal(nn.Linear(self.width, outputs), 1.0, generator)
        self.value = orthogonal(nn.Linear(self.width, 1), 1.0, generator)

    @property
    def state_width(self) -> int:
        """2 L H, numbers of one row's state."""
        return 2 * len(self.memory) * self.width

    def heads(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Outputs for the policy, `[n, outputs]`, and values, `[n]`."""
        return self.policy(values), self.value(values).squeeze(1)

    def remember(self, values: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One step of the L LSTM layers from `values[n, ...]` and `state[n, 2 L H]` (output and cell of each layer in turn): the output
        of the last layer `[n, H]` and the next state `[n, 2 L H]`."""
        parts = list(torch.split(state, self.width, dim=1))
        for number, layer in enumerate(self.memory):
            values, cell = layer(values, (parts[2 * number], parts[2 * number + 1]))
            parts[2 * number], parts[2 * number + 1] = values, cell
        return values, torch.cat(parts, dim=1)

    def unroll(self, inputs: torch.Tensor, state: torch.Tensor | None, begins: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Heads over `[T, B, F + goal]`, in order of time from the `state[B, 2 L H]` before step 0, which becomes zero wherever an episode
        begins (`begins[T, B]`): `[T B, outputs]` and `[T B]`."""
        values: torch.Tensor = self.trunk(inputs.flatten(0, 1))
        if state is not None and len(self.memory):
            steps, outputs = values.view(*inputs.shape[:2], -1), []
            for t in range(len(inputs)):
                now, state = self.remember(steps[t], state * (1 - begins[t]).unsqueeze(1))
                outputs.append(now)
            values = torch.cat(outputs)
        return self.heads(values)
