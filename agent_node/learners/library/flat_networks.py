"""Networks and optimiser on flat memory.

All parameters of a network lie in one vector of which the layers are views, and so do their gradients. Optimiser step, target update,
gradient norm and averaging with neighbours are then a few operations on one vector, instead of a few for each layer: at these sizes
that is most of the cost beside the matrix products.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from agent_node.contracts import Array, PolicySpec
from agent_node.learners.library.devices import CPU
from protocols.runtime.errors import ConfigurationError

LARGEST_JOINT_ACTION = 4096
LEAST_PROBABILITY = 1e-8


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


class Adam:
    """Adam (Kingma & Ba, arXiv 1412.6980) on one parameter vector: m, v the running first and second moments of the gradient g,
    vector -= rate * m' / (sqrt(v') + 1e-8) with m' = m / (1 - 0.9^t), v' = v / (1 - 0.999^t). Gradients longer than `norm` are scaled."""

    def __init__(self, vector: torch.Tensor, gradient: torch.Tensor, rate: float, norm: float) -> None:
        self.vector, self.gradient, self.rate, self.norm = vector, gradient, rate, norm
        self.first = torch.zeros_like(vector)
        self.second = torch.zeros_like(vector)
        self.steps = 0

    @torch.no_grad()
    def step(self, share: float = 1.0) -> None:
        """One step of Adam (Kingma & Ba, arXiv 1412.6980; beta 0.9 and 0.999, epsilon 1e-8) at `share` of the learning rate. The
        gradient is first scaled down to the norm `norm` where it is longer, and is zero afterwards."""
        self.steps += 1
        scale = self.norm / (torch.linalg.vector_norm(self.gradient) + 1e-8)
        self.gradient.mul_(scale.clamp_(max=1.0))
        self.first.lerp_(self.gradient, 0.1)
        self.second.mul_(0.999).addcmul_(self.gradient, self.gradient, value=0.001)
        correction = (1 - 0.999**self.steps) ** 0.5
        denominator = self.second.sqrt().add_(1e-8 * correction)
        self.vector.addcdiv_(self.first, denominator, value=-share * self.rate * correction / (1 - 0.9**self.steps))
        self.gradient.zero_()

    def state(self, name: str) -> dict[str, torch.Tensor]:
        """Its tensors, under names that begin with `name`."""
        return {f"{name}.first": self.first, f"{name}.second": self.second, f"{name}.steps": torch.tensor([self.steps])}

    def load(self, name: str, state: Mapping[str, torch.Tensor]) -> None:
        """Restore the tensors that `state(name)` returned, in place. `ValueError` names a moment that is missing or has another shape."""
        restore({f"{name}.first": self.first, f"{name}.second": self.second}, state)
        self.steps = int(state[f"{name}.steps"][0])


@torch.no_grad()
def restore(live: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor]) -> None:
    """Copy `state` into the live tensors of the same names; `ValueError` names what is missing or has another shape."""
    for name, tensor in live.items():
        if name not in state:
            raise ValueError(f"{name} is missing in the state")
        if state[name].shape != tensor.shape:
            raise ValueError(f"{name} has shape {list(state[name].shape)} in the state and {list(tensor.shape)} here")
        tensor.copy_(state[name])


class JointAction:
    """Several discrete factors as one choice: factors (3, 3) make 9 joint actions."""

    def __init__(self, policy_spec: PolicySpec, learner: str, device: torch.device = CPU) -> None:
        if not policy_spec.actions:
            raise ConfigurationError(
                f"learner {learner} needs discrete actions, and this environment's are continuous; choose another learner"
            )
        self.count = int(np.prod(policy_spec.actions))
        if self.count > LARGEST_JOINT_ACTION:
            raise ConfigurationError(
                f"learner {learner} would need {self.count} joint actions; at most {LARGEST_JOINT_ACTION} are sensible"
            )
        self.table = np.stack(np.unravel_index(np.arange(self.count), policy_spec.actions), axis=1).astype(np.int32)
        """`[count, A]` factors of every joint action"""
        sizes = (*policy_spec.actions[1:], 1)
        self.strides = torch.from_numpy(np.cumprod(sizes[::-1], dtype=np.int64)[::-1].copy()).to(device)

    def index(self, action: torch.Tensor) -> torch.Tensor:
        """Factors `[n, A]` to joint actions `[n]`, both on the device."""
        return (action * self.strides).sum(dim=-1)


class HeldExploration:
    """Random actions that are held for a while, by row: single random steps cancel out, a held turn or push goes somewhere.

    A share `probability` of all steps is random: at each free step a row starts to hold with probability
    q = p / (h (1 - p) + p), h the mean duration.
    """

    def __init__(self, rows: int, choices: int, probability: float, duration: tuple[int, int], random: np.random.Generator) -> None:
        mean = (duration[0] + duration[1]) / 2
        self.start = probability / (mean * (1 - probability) + probability) if probability > 0 else 0.0
        self.duration = duration
        self.choices = choices
        self.random = random
        self._left = np.zeros(rows, np.int64)
        self._held = np.zeros(rows, np.int64)

    def apply(self, greedy: NDArray[np.int64], rows: NDArray[np.int64], first: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The joint action of each of `rows`: the held one where one is held, else the greedy one."""
        if self.start == 0.0:
            return greedy
        left = np.where(first, 0, self._left[rows])
        begin = (left == 0) & (self.random.random(len(rows)) < self.start)
        count = int(begin.sum())
        if count:
            left[begin] = self.random.integers(self.duration[0], self.duration[1] + 1, count)
            self._held[rows[begin]] = self.random.integers(0, self.choices, count)
        chosen = np.where(left > 0, self._held[rows], greedy)
        self._left[rows] = np.maximum(left - 1, 0)
        return chosen


def explored(probability: NDArray[np.float32], exploration: float, choices: int) -> NDArray[np.float32]:
    """ln((1 - e) p + e / choices) of actions that the policy takes with `probability[n]` = p and that are random in a share e of all steps,
    at least ln(1e-8)."""
    mixed = (1 - exploration) * probability + exploration / choices
    logarithm: NDArray[np.float32] = np.log(np.maximum(mixed, LEAST_PROBABILITY)).astype(np.float32)
    return logarithm


def policy_inputs(observations: Array, goals: Array, device: torch.device = CPU) -> torch.Tensor:
    """Features `[n, F]` and goal encodings `[n, goal]` side by side, as float32 on the device."""
    return torch.from_numpy(np.concatenate([observations, goals], axis=1, dtype=np.float32)).to(device)
