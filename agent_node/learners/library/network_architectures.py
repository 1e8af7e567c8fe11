"""Which network a learner gets: layers on the vector of features, or an encoder of what is observed with ReLU layers behind it.

Encoders are those of `encoders` and `entity_encoders`. Components that are no part of the grid, image or entities (goals, actions) join the
encoder's outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

import numpy as np
import torch
from torch import nn

from agent_node.contracts import PolicySpec
from agent_node.learners.library.devices import CPU
from agent_node.learners.library.encoders import GridEncoder, ImageEncoder, LinearTrunk, orthogonal
from agent_node.learners.library.entity_encoders import EntityEncoder
from agent_node.learners.library.flat_networks import StackedMLP, TanhMLP, flatten
from agent_node.learners.network_settings import LEAST_SIDE, Network, network_for
from protocols.runtime.errors import ConfigurationError

Encoder = GridEncoder | ImageEncoder | EntityEncoder


def encoder_of(network: Network, policy_spec: PolicySpec, generator: torch.Generator) -> Encoder | None:
    """The encoder of entities, a grid or an image; None for layers on the vector. `ConfigurationError` where what it needs is not
    observed."""
    grids, image, entities = policy_spec.grids, policy_spec.image, policy_spec.entities
    chosen = network_for(network, grids is not None, image, bool(entities))
    if chosen == "mlp":
        return None
    if chosen == "entities" or chosen == "entity_attention":
        if not entities:
            raise ConfigurationError(
                f"agents.learner.network is {chosen}, and agents.entities describes none; describe them, or write auto"
            )
        return EntityEncoder(chosen, entities, int(np.prod(policy_spec.observation)) - policy_spec.mask, generator)
    if chosen == "grid":
        if grids is None:
            raise ConfigurationError("agents.learner.network is grid, but this environment shows no grid of cells; write auto")
        return GridEncoder(grids.seen, int(np.prod(policy_spec.observation)), policy_spec.goal, generator)
    if image is None:
        raise ConfigurationError(f"agents.learner.network is {chosen}, but this environment shows no images; write auto")
    if chosen == "cnn" and min(image[:2]) < LEAST_SIDE:
        text = f"agents.learner.network: cnn needs images of at least {LEAST_SIDE} x {LEAST_SIDE} pixels, not {image[0]} x {image[1]}"
        raise ConfigurationError(f"{text}; write impala_cnn, or auto")
    return ImageEncoder(chosen, image, generator)


class EncodedTrunk(nn.Module):
    """An encoder, and `LinearTrunk` on its outputs and what stands behind its inputs: `[n, F + behind] -> [n, hidden[-1]]`, >= 0.
    `behind`: number of components behind those that the encoder takes."""

    def __init__(self, encoder: Encoder, behind: int, hidden: Sequence[int], generator: torch.Generator) -> None:
        super().__init__()
        self.encoder = encoder
        self.linear = LinearTrunk(encoder.outputs + behind, hidden, generator)
        self.outputs = self.linear.outputs

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """From features with the goal behind them, `[n, F + goal]`, to the activations of the last hidden layer."""
        seen, behind = self.encoder.split(inputs)
        values: torch.Tensor = self.linear(torch.cat([self.encoder(seen), behind], dim=1))
        return values


class EncodedNetwork(nn.Module):
    """One encoder, and `members` heads on it, each `LinearTrunk` and a linear layer with orthogonal weights of `gain`.

    `[..., F + goal + behind] -> [..., outputs]` with one member; with several `[M, n, ...] -> [M, n, outputs]`, from inputs that are the
    same for all members (`Tensor.expand`). All parameters lie in one `vector`, their gradients in one `gradient`, on `device`.
    """

    def __init__(
        self,
        encoder: Encoder,
        behind: int,
        hidden: Sequence[int],
        outputs: int,
        generator: torch.Generator,
        gain: float,
        members: int = 1,
        device: torch.device = CPU,
    ) -> None:
        super().__init__()
        self.members = members
        self.encoder = encoder
        self.heads = nn.ModuleList()
        for _ in range(members):
            trunk = LinearTrunk(encoder.outputs + behind, hidden, generator)
            self.heads.append(nn.Sequential(trunk, orthogonal(nn.Linear(trunk.outputs, outputs), gain, generator)))
        self.to(device)
        self.vector, self.gradient = flatten(self)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs of the last layers, without activation."""
        if self.members > 1:
            return self._outputs(*self.encoder.split(inputs[0]))
        return self._outputs(*self.encoder.split(inputs.flatten(0, -2)))[0].view(*inputs.shape[:-1], -1)

    def _outputs(self, seen: torch.Tensor, behind: torch.Tensor) -> torch.Tensor:
        """`[M, n, outputs]`."""
        values = torch.cat([self.encoder(seen), behind], dim=1)
        return torch.stack([head(values) for head in self.heads])

    # As those of `StackedMLP`; the gradients by autograd.

    def first(self, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs of the first head alone, `[n, F + goal + behind] -> [n, outputs]`."""
        seen, behind = self.encoder.split(inputs)
        values: torch.Tensor = self.heads[0](torch.cat([self.encoder(seen), behind], dim=1))
        return values

    def paired(self, inputs: torch.Tensor, behind: torch.Tensor, members: int) -> torch.Tensor:
        """Outputs of the first `members` heads for each of `inputs[n, F + goal]` with each of the S rows `behind[n, S, A]` behind it,
        `[members, n, S, outputs]`. The encoder runs once for each of the n inputs."""
        seen, beside = self.encoder.split(inputs)
        common = torch.cat([self.encoder(seen), beside], dim=1)
        rows, samples = behind.shape[:2]
        values = torch.cat([common.repeat_interleave(samples, dim=0), behind.flatten(0, 1)], dim=1)
        return torch.stack([head(values).view(rows, samples, -1) for head in self.heads[:members]])

    def run(self, inputs: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Outputs `[M, n, outputs]` of `[n, F + goal + behind]`, without gradient, and what `back` needs."""
        with torch.enable_grad():
            seen, behind = self.encoder.split(inputs.detach())
            behind.requires_grad_()
            values = self._outputs(seen, behind)
        return values.detach(), [behind, values]

    def back(self, trace: list[torch.Tensor], slope: torch.Tensor, of: Literal["parameters", "inputs"]) -> torch.Tensor:
        """From d loss / d outputs, `[M, n, outputs]`: adds d loss / d parameters to `gradient` (and returns it), or returns d loss / d what
        stands behind the encoder's inputs, summed over the members, `[1, n, behind]`, and leaves `gradient` alone."""
        behind, values = trace
        if of == "parameters":
            values.backward(slope, inputs=list(self.parameters()))  # type: ignore[no-untyped-call]
            return self.gradient
        return torch.autograd.grad(values, behind, slope)[0].unsqueeze(0)


@overload
def network_of(
    network: Network,
    policy_spec: PolicySpec,
    hidden: Sequence[int],
    outputs: int,
    generator: torch.Generator,
    gain: float,
    device: torch.device = ...,
) -> TanhMLP | EncodedNetwork: ...


@overload
def network_of(
    network: Network,
    policy_spec: PolicySpec,
    hidden: Sequence[int],
    outputs: int,
    generator: torch.Generator,
    gain: float,
    device: torch.device = ...,
    *,
    members: int,
    behind: int = ...,
) -> StackedMLP | EncodedNetwork: ...


def network_of(
    network: Network,
    policy_spec: PolicySpec,
    hidden: Sequence[int],
    outputs: int,
    generator: torch.Generator,
    gain: float,
    device: torch.device = CPU,
    *,
    members: int | None = None,
    behind: int = 0,
) -> TanhMLP | StackedMLP | EncodedNetwork:
    """`[..., F + goal + behind] -> [..., outputs]`: an encoder of the observed grid or image with heads of ReLU layers, where `network`
    selects one, whose last layer is orthogonal with `gain`.

    On vectors tanh layers (`TanhMLP`, with the same `gain`), or with `members` that many ReLU networks computed together (`StackedMLP`).
    `behind`: components behind features and goal, such as actions.
    """
    encoder = encoder_of(network, policy_spec, generator)
    features = int(np.prod(policy_spec.observation)) + policy_spec.goal + behind
    if encoder is not None:
        beside = _behind(encoder, features)
        return EncodedNetwork(encoder, beside, hidden, outputs, generator, gain, members or 1, device)
    if members is None:
        return TanhMLP([features, *hidden, outputs], generator, gain, device)
    return StackedMLP(members, [features, *hidden, outputs], generator, device)


def _behind(encoder: Encoder, inputs: int) -> int:
    """Components, of `inputs`, that the encoder does not take."""
    return int(encoder.split(torch.empty(1, inputs))[1].shape[1])


def trunk_of(network: Network, policy_spec: PolicySpec, hidden: Sequence[int], generator: torch.Generator) -> EncodedTrunk | LinearTrunk:
    """ReLU layers `hidden` on features with a goal behind them, behind an encoder where `network` selects one: `[n, F + goal] -> [n,
    hidden[-1]]`."""
    encoder, features = encoder_of(network, policy_spec, generator), int(np.prod(policy_spec.observation)) + policy_spec.goal
    if encoder is None:
        return LinearTrunk(features, hidden, generator)
    return EncodedTrunk(encoder, _behind(encoder, features), hidden, generator)
