"""Networks on flat memory.

All parameters of a network lie in one vector of which the layers are views, and so do their gradients. Optimiser step, target update,
gradient norm and averaging with neighbours are then a few operations on one vector, instead of a few for each layer: at these sizes
that is most of the cost beside the matrix products.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from agent_node.contracts import Array
from agent_node.learners.library.devices import CPU


class _FlatMLP(nn.Module):
    """Layers of weights and biases, all of them parts of one `vector`, and their gradients of one `gradient`, on `device`."""

    def __init__(self, layers: Iterable[tuple[torch.Tensor, torch.Tensor]], device: torch.device) -> None:
        super().__init__()
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for weight, bias in layers:
            self.weights.append(nn.Parameter(weight.to(device)))
            self.biases.append(nn.Parameter(bias.to(device)))
        self.vector, self.gradient = flatten(self)
        self._layers = list(zip(self.weights, self.biases, strict=True))


class StackedMLP(_FlatMLP):
    """`members` independent ReLU networks computed together: `[M, n, widths[0]] -> [M, n, widths[-1]]`, one matrix product a layer.

    Weights and biases start uniform in +-1/sqrt(inputs). With one member `[n, inputs] -> [n, outputs]` works too.
    """

    def __init__(self, members: int, widths: Sequence[int], generator: torch.Generator, device: torch.device = CPU) -> None:
        def uniform(bound: float, *shape: int) -> torch.Tensor:
            return (torch.rand(shape, generator=generator) * 2 - 1) * bound

        layers = (
            (uniform(inputs**-0.5, members, inputs, outputs), uniform(inputs**-0.5, members, 1, outputs))
            for inputs, outputs in pairwise(widths)
        )
        super().__init__(layers, device)
        self.members = members

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs of the last layer, without activation."""
        values = inputs
        for number, (weight, bias) in enumerate(self._layers):
            if number:
                values = functional.relu(values)
            values = torch.addmm(bias[0], values, weight[0]) if values.dim() == 2 else torch.baddbmm(bias, values, weight)
        return values

    def first(self, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs of the first member alone, `[n, widths[0]] -> [n, widths[-1]]`."""
        values = inputs
        for number, (weight, bias) in enumerate(self._layers):
            if number:
                values = functional.relu(values)
            values = torch.addmm(bias[0], values, weight[0])
        return values

    def paired(self, inputs: torch.Tensor, behind: torch.Tensor, members: int) -> torch.Tensor:
        """Outputs of the first `members` for each of `inputs[n, F]` with each of the S rows `behind[n, S, A]` behind it, widths[0] = F + A:
        `[members, n, S, widths[-1]]`. The product of the first layer with `inputs` is computed once instead of S times."""
        (weight, bias), *others = [(weight[:members], bias[:members]) for weight, bias in self._layers]
        features = inputs.shape[1]
        common = torch.baddbmm(bias, inputs.expand(members, -1, -1), weight[:, :features])
        outputs = []
        for sample in behind.unbind(dim=1):  # one after the other: what a layer computes stays in the processor's cache
            values = torch.baddbmm(common, sample.expand(members, -1, -1), weight[:, features:])
            for other_weight, other_bias in others:
                values = torch.baddbmm(other_bias, functional.relu(values), other_weight)
            outputs.append(values)
        return torch.stack(outputs, dim=2)

    # Gradients by hand, for updates whose networks are so small that autograd's bookkeeping takes longer than the products.

    @torch.no_grad()
    def run(self, inputs: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """`forward` of `[n, widths[0]]`, the same for all members, without autograd: outputs `[M, n, widths[-1]]` and what `back`
        needs."""
        values = inputs.expand(self.members, -1, -1)
        trace = []
        for number, (weight, bias) in enumerate(self._layers):
            if number:
                values = values.relu_()
            trace.append(values)
            values = torch.baddbmm(bias, values, weight)
        return values, trace

    @torch.no_grad()
    def back(self, trace: list[torch.Tensor], slope: torch.Tensor, of: Literal["parameters", "inputs"]) -> torch.Tensor:
        """From d loss / d outputs, `[M, n, widths[-1]]`: adds d loss / d parameters to `gradient` (and returns it), or returns
        d loss / d inputs, `[M, n, widths[0]]`, and leaves `gradient` alone."""
        for number in range(len(self._layers) - 1, -1, -1):
            (weight, bias), values = self._layers[number], trace[number]
            if of == "parameters" and weight.grad is not None and bias.grad is not None:
                weight.grad.baddbmm_(values.transpose(1, 2), slope)
                bias.grad.add_(slope.sum(dim=1, keepdim=True))
                if not number:
                    return self.gradient
            slope = torch.bmm(slope, weight.transpose(1, 2))
            if number:
                slope = torch.ops.aten.threshold_backward(slope, values, 0)
        return slope


class _Tanh(torch.autograd.Function):
    """tanh x = 2 sigmoid(2 x) - 1: torch's own tanh takes three times as long on processors without AVX-512."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        result = (2 * values).sigmoid_().mul_(2).sub_(1)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        (result,) = ctx.saved_tensors
        gradient: torch.Tensor = torch.ops.aten.tanh_backward(gradients[0], result)
        return gradient


class TanhMLP(_FlatMLP):
    """A tanh network `[..., widths[0]] -> [..., widths[-1]]`, linear at the end.

    Weights start orthogonal with gain sqrt(2), those of the last layer with `gain` (a small one lets a policy begin near its uniform
    distribution); biases start at zero.
    """

    def __init__(self, widths: Sequence[int], generator: torch.Generator, gain: float, device: torch.device = CPU) -> None:
        gains = [2**0.5] * (len(widths) - 2) + [gain]
        layers = (
            (nn.init.orthogonal_(torch.empty(outputs, inputs), own, generator), torch.zeros(outputs))
            for (inputs, outputs), own in zip(pairwise(widths), gains, strict=True)
        )
        super().__init__(layers, device)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs of the last layer, without activation."""
        values = inputs
        for number, (weight, bias) in enumerate(self._layers):
            if number:
                values = cast(torch.Tensor, _Tanh.apply(values))  # type: ignore[no-untyped-call]
            values = functional.linear(values, weight, bias)
        return values


def flatten(module: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Move a module's parameters and gradients into one vector each, of which they become views."""
    parameters = list(module.parameters())
    vector = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
    gradient = torch.zeros_like(vector)
    start = 0
    for parameter in parameters:
        end = start + parameter.numel()
        parameter.data = vector[start:end].view_as(parameter)
        parameter.grad = gradient[start:end].view_as(parameter)
        start = end
    return vector, gradient


def policy_inputs(observations: Array, goals: Array, device: torch.device = CPU) -> torch.Tensor:
    """Features `[n, F]` and goal encodings `[n, goal]` side by side, as float32 on the device."""
    return torch.from_numpy(np.concatenate([observations, goals], axis=1, dtype=np.float32)).to(device)
