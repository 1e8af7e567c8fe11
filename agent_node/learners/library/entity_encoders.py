"""Encoders of sets of entities: networks whose outputs do not depend on the order of the entities of one kind, and whose parameters do not
depend on their number (Zaheer et al., Deep Sets, arXiv 1703.06114; attention: Vaswani et al., arXiv 1706.03762).

    e_i = relu(W2 relu(W1 [own, x_i] + b1) + b2)                        for entity i of a group, with the agent's own components
    entities:           mean over i of e_i, and the maximum over i of e_i
    entity_attention:   sum over i of softmax over i of (q . K e_i / sqrt(H)) e_i, with q = Q own

Entities of which all components are 0 are absent: environments show what is out of sight so. They are left out of means, maxima and
weights, and a group without entities gives zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from agent_node.contracts import EntityGroup
from agent_node.learners.library.encoders import orthogonal


class GroupEncoder(nn.Module):
    """Entities of one kind, `[n, N, size]`, beside own components `[n, own]`, to `[n, outputs]`; N may vary. Weights are orthogonal with
    gain sqrt(2), those of the attention with gain 1."""

    WIDTH = 64

    def __init__(self, own: int, size: int, attention: bool, generator: torch.Generator) -> None:
        super().__init__()
        self.first = orthogonal(nn.Linear(own + size, self.WIDTH), 2**0.5, generator)
        self.second = orthogonal(nn.Linear(self.WIDTH, self.WIDTH), 2**0.5, generator)
        self.query: nn.Module | None = None
        if attention:
            self.query = orthogonal(nn.Linear(own, self.WIDTH), 1.0, generator)
            self.key = orthogonal(nn.Linear(self.WIDTH, self.WIDTH, bias=False), 1.0, generator)
        self.outputs = self.WIDTH if attention else 2 * self.WIDTH

    def forward(self, own: torch.Tensor, entities: torch.Tensor) -> torch.Tensor:
        """`[n, outputs]`."""
        beside = own.unsqueeze(1).expand(-1, entities.shape[1], -1)
        values = functional.relu(self.second(functional.relu(self.first(torch.cat([beside, entities], dim=2)))))
        present = (entities != 0).any(dim=2, keepdim=True)
        values = values * present
        if self.query is None:
            mean = values.sum(dim=1) / present.sum(dim=1).clamp_min(1)
            return torch.cat([mean, values.amax(dim=1)], dim=1)
        scores = (self.key(values) @ self.query(own).unsqueeze(2)) / self.WIDTH**0.5
        weights = scores.masked_fill(~present, -1e9).softmax(dim=1)
        weighted: torch.Tensor = (weights * values).sum(dim=1)
        return weighted


class EntityEncoder(nn.Module):
    """From the first `features` components of the inputs, the observation, to own components and the encoded groups, `[n, outputs]`."""

    def __init__(
        self,
        network: Literal["entities", "entity_attention"],
        groups: Sequence[EntityGroup],
        features: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.features = features
        of_entities = {place for group in groups for entity in group.components for place in entity}
        self._own = [place for place in range(features) if place not in of_entities]
        self._entities = [[list(entity) for entity in group.components] for group in groups]
        self.groups = nn.ModuleList(
            GroupEncoder(len(self._own), len(entities[0]), network == "entity_attention", generator) for entities in self._entities
        )
        self.outputs = len(self._own) + sum(GroupEncoder.WIDTH * (1 if network == "entity_attention" else 2) for _ in groups)

    def split(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The observation `[n, features]`, and what stands behind it."""
        return inputs[:, : self.features], inputs[:, self.features :]

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        """From observations `[n, features]` to `[n, outputs]`."""
        own = seen[:, self._own]
        return torch.cat([own, *(group(own, seen[:, places]) for group, places in zip(self.groups, self._entities, strict=True))], dim=1)
