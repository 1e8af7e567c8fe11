"""Novelty by random network distillation (Burda et al., arXiv 1810.12894), and the intrinsic reward r_i = coefficient n(s').

    n(s) = || predictor(s) - target(s) ||_2

`target` is a random network that never changes, `predictor` a network of the same shape that learns to agree with it on what the agent
sees: what it has seen often is no longer new. Loss over a rollout: sum over t of mean over copies of n(s_{t+1}), whose gradient is as long
where little is left to learn, so that n does not fall below some height; or of n(s_{t+1})^2 / 2, with which it falls to nearly 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from agent_node.contracts import Array, Batch, IntrinsicReward, Metrics, PolicySpec, TransitionBatch
from agent_node.intrinsic.rnd.settings import NoveltySettings
from agent_node.learners.library.flat_networks import Adam, flatten, restore
from agent_node.learners.library.grid_networks import CARRIED, CELL, CellEmbedding, GridConvolutions, orthogonal
from agent_node.learners.library.network_architectures import LinearTrunk
from agent_node.learners.library.rmsprop import RMSProp
from protocols.spaces.grid_space import GridPart


class GridEncoder(nn.Module):
    """Features `[n, F]` of a grid to `[n, outputs]`: embedded cells through five halving convolutions (`GridConvolutions`), beside the
    agent's own embedded cell and what it carries, through two linear layers, the first with ReLU, the second too if `rectified`."""

    def __init__(self, part: GridPart, outputs: int, rectified: bool, generator: torch.Generator) -> None:
        super().__init__()
        self.rectified = rectified
        self.embedding = CellEmbedding(part, generator)
        self.shrinking = GridConvolutions(part, CELL, generator)
        sizes = (self.shrinking.outputs + CELL + CARRIED, outputs)
        self.first = orthogonal(nn.Linear(*sizes), 2**0.5, generator)
        self.second = orthogonal(nn.Linear(outputs, outputs), 2**0.5, generator)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Not negative if `rectified`."""
        codes = self.embedding.codes(inputs)
        cells = self.embedding.cells(codes)
        values = torch.cat([self.shrinking(cells), self.embedding.own_cell(codes, cells), self.embedding.carried(codes)], dim=1)
        made: torch.Tensor = self.second(functional.relu(self.first(values)))
        return functional.relu(made) if self.rectified else made


class Novelty:
    """n(s), and how it wears off. Grids are looked at whole, other observations through two linear layers."""

    def __init__(self, settings: NoveltySettings, policy_spec: PolicySpec, seed: int) -> None:
        self.settings = settings
        generator = torch.Generator().manual_seed(seed)
        self.target, self.predictor = (self._encoder(policy_spec, generator) for _ in range(2))
        self.target_vector, _ = flatten(self.target)
        self.vector, self.gradient = flatten(self.predictor)
        for parameter in self.target.parameters():
            parameter.requires_grad_(False)
        rate, norm = settings.learning_rate, settings.max_grad_norm
        self.optimiser: Adam | RMSProp = (Adam if settings.optimiser == "adam" else RMSProp)(self.vector, self.gradient, rate, norm)

    def _encoder(self, policy_spec: PolicySpec, generator: torch.Generator) -> nn.Module:
        outputs, rectified = self.settings.outputs, self.settings.rectified
        if policy_spec.grids is not None:
            return GridEncoder(policy_spec.grids.whole, outputs, rectified, generator)
        first = LinearTrunk(int(np.prod(policy_spec.observation)), [outputs, outputs] if rectified else [outputs], generator)
        return first if rectified else nn.Sequential(first, orthogonal(nn.Linear(outputs, outputs), 2**0.5, generator))

    def __call__(self, features: Array) -> NDArray[np.float32]:
        """n(s) for `[n, F]`."""
        with torch.inference_mode():
            inputs = torch.from_numpy(features)
            novelty: NDArray[np.float32] = torch.linalg.vector_norm(self.predictor(inputs) - self.target(inputs), dim=1).numpy()
        return novelty

    def learn(self, batch: Batch) -> Metrics:
        """One gradient step of the predictor for each part of one rollout `[T, K, ...]`. Metric: `loss`, the mean of n(s) before."""
        copies = batch.weight.shape[1]
        losses = []
        for part in torch.arange(copies).tensor_split(max(1, round(copies / self.settings.rollouts))):
            chosen = slice(int(part[0]), int(part[-1]) + 1)
            counts = batch.weight[:, chosen].reshape(-1)
            inputs = batch.next_observation[:, chosen].flatten(0, 1)
            error = self.predictor(inputs) - self.target(inputs)
            # The root has no slope at 0, where a small network may arrive exactly.
            novelty = (error.square().sum(dim=1) + 1e-12).sqrt()
            costs = novelty if self.settings.loss == "norm" else novelty.square() / 2
            loss: torch.Tensor = self.settings.weight * (counts * costs).sum() / len(part)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
            losses.append(((counts * novelty.detach()).sum() / counts.sum().clamp_min(1)).item())
        return {"loss": float(np.mean(losses))}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Both networks, and the optimiser's moments."""
        return {"target": self.target_vector, "predictor": self.vector} | self.optimiser.state("optimiser")

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state_dict` returned, in place. `ValueError` names what is missing or has another shape."""
        restore({"target": self.target_vector, "predictor": self.vector}, state)
        try:
            self.optimiser.load("optimiser", state)
        except KeyError as error:
            raise ValueError(f"{error} is missing in the state of the predictor's optimiser") from None


class RND(IntrinsicReward):
    """Intrinsic reward `rnd`: random network distillation (Burda et al., arXiv 1810.12894), r_i = coefficient n(s')."""

    def __init__(self, settings: NoveltySettings, policy_spec: PolicySpec, copies: int, seed: int) -> None:
        self.settings = settings
        self.novelty = Novelty(settings, policy_spec, seed)
        self._sums: dict[str, list[float]] = defaultdict(list)

    def reward(self, transitions: TransitionBatch) -> NDArray[np.float32]:
        """r_i = coefficient * n(s') of each step, `[n]` float32."""
        novelty = self.novelty(transitions.next_observation)
        return self._noted(self.settings.coefficient * novelty, novelty=novelty)

    def _noted(self, reward: NDArray[Any], **metrics: NDArray[Any]) -> NDArray[np.float32]:
        for name, values in {"reward": reward, **metrics}.items():
            self._sums[name].append(float(np.mean(values)))
        return reward.astype(np.float32)

    def learn(self, batch: Batch) -> Metrics:
        """The predictor learns what is seen after each step. Metrics: its `loss`, and means over the steps since the last rollout:
        `reward`, `novelty` of what was seen after a step."""
        means = {name: float(np.mean(values)) for name, values in self._sums.items()}
        self._sums.clear()
        return means | self.novelty.learn(batch)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Networks and optimiser."""
        return self.novelty.state_dict()

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state_dict` returned, in place. `ValueError` names what is missing or has another shape."""
        self.novelty.load_state_dict(state)
