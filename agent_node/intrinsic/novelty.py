"""Novelty by random network distillation (Burda et al., arXiv 1810.12894), and the intrinsic rewards that are made of it.

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

from agent_node.contracts import Array, Batch, IntrinsicReward, Metrics, PolicySpec, State, TransitionBatch
from agent_node.intrinsic.settings import BeBoldSettings, NoveltySettings
from agent_node.learners.library.encoders import CARRIED, CELL, CellEmbedding, GridConvolutions, LinearTrunk, orthogonal
from agent_node.learners.library.flat_networks import flatten
from agent_node.learners.library.optimisers import Adam, FlatComponent, RMSProp
from protocols.runtime.errors import ConfigurationError
from protocols.spaces.grid_space import GridPart


class Encoder(nn.Module):
    """Features `[n, F]` to `[n, outputs]`, by two linear layers, the first with ReLU, the second too if `rectified`. Of a grid (`part`)
    they see the embedded cells through five halving convolutions (`GridConvolutions`), beside the agent's own embedded cell and what it
    carries; otherwise the features."""

    def __init__(self, part: GridPart | None, features: int, outputs: int, rectified: bool, generator: torch.Generator) -> None:
        super().__init__()
        self.embedding = None if part is None else CellEmbedding(part, generator)
        self.shrinking = None if part is None else GridConvolutions(part, CELL, generator)
        width = features if self.shrinking is None else self.shrinking.outputs + CELL + CARRIED
        self.first = LinearTrunk(width, [outputs, outputs] if rectified else [outputs], generator)
        self.second = nn.Identity() if rectified else orthogonal(nn.Linear(outputs, outputs), 2**0.5, generator)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Not negative if `rectified`."""
        if self.embedding is not None and self.shrinking is not None:
            codes = self.embedding.codes(inputs)
            cells = self.embedding.cells(codes)
            inputs = torch.cat([self.shrinking(cells), self.embedding.own_cell(codes, cells), self.embedding.carried(codes)], dim=1)
        encoded: torch.Tensor = self.second(self.first(inputs))
        return encoded


class Novelty(FlatComponent):
    """n(s), and how it wears off. Grids are looked at whole, other observations through two linear layers."""

    counters = ()

    def __init__(self, settings: NoveltySettings, policy_spec: PolicySpec, seed: int) -> None:
        self.settings = settings
        generator = torch.Generator().manual_seed(seed)
        part, features = None if policy_spec.grids is None else policy_spec.grids.whole, int(np.prod(policy_spec.observation))
        self.target, self.predictor = (Encoder(part, features, settings.outputs, settings.rectified, generator) for _ in range(2))
        self.target_vector, _ = flatten(self.target)
        self.vector, self.gradient = flatten(self.predictor)
        for parameter in self.target.parameters():
            parameter.requires_grad_(False)
        rate, norm = settings.learning_rate, settings.max_grad_norm
        self.optimiser = (Adam if settings.optimiser == "adam" else RMSProp)(self.vector, self.gradient, rate, norm)
        self.optimisers = {"optimiser": self.optimiser}

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

    def live(self) -> State:
        """Both networks."""
        return {"target": self.target_vector, "predictor": self.vector}


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

    def state_dict(self) -> State:
        """Networks, and the optimiser's moments."""
        return self.novelty.state_dict()

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state_dict` returned, in place. `ValueError` names what is missing or has another shape."""
        self.novelty.load_state_dict(state)


class EpisodeVisits:
    """What each of K copies has shown in its episode."""

    def __init__(self, copies: int) -> None:
        self._seen: list[set[bytes]] = [set() for _ in range(copies)]

    def first(self, rows: NDArray[np.int64], before: Array, after: Array, begins: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Whether each of `after[n, D]` is shown for the first time in its episode, which has `begun` with `before[n, D]`, or goes on."""
        fresh = np.zeros(len(rows), bool)
        for number, row in enumerate(rows):
            seen = self._seen[row]
            if begins[number]:
                seen.clear()
            if not seen:
                seen.add(before[number].tobytes())
            key = after[number].tobytes()
            fresh[number] = key not in seen
            seen.add(key)
        return fresh


class BeBold(RND):
    """Intrinsic reward `bebold` (BeBold: Zhang et al., arXiv 2012.08621; NovelD, NeurIPS 2021): going beyond the boundary of what is known.

        r_i = coefficient max(n(s') - a n(s), 0) [s' is visited for the first time in this episode]

    n by random network distillation, a = 1 in BeBold and 0.5 in NovelD. Visits are counted by everything that an observation shows of the
    whole grid, and what the agent carries; an episode's first observation counts as visited, and s' at its end is that in which it ended.

    `ConfigurationError` where no grid is observed: visits could not be distinguished.
    """

    def __init__(self, settings: BeBoldSettings, policy_spec: PolicySpec, copies: int, seed: int) -> None:
        if policy_spec.grids is None:
            text = "agents.curiosity: bebold counts visits, and this environment shows no grid, so that visits cannot be distinguished"
            raise ConfigurationError(f"{text}; write kind: rnd, or null")
        super().__init__(settings, policy_spec, copies, seed)
        self._previous = settings.previous
        self._part = slice(policy_spec.grids.whole.start, policy_spec.grids.whole.stop)
        self._visits = EpisodeVisits(copies)

    def reward(self, transitions: TransitionBatch) -> NDArray[np.float32]:
        """coefficient max(n(s') - a n(s), 0), at first visits."""
        n = len(transitions.rows)
        before, after = transitions.raw[:, self._part], transitions.next_raw[:, self._part]
        first = self._visits.first(transitions.rows, before, after, transitions.begins)
        both = self.novelty(np.concatenate([transitions.observation, transitions.next_observation]))
        rise = np.maximum(both[n:] - self._previous * both[:n], 0)
        return self._noted(self.settings.coefficient * rise * first, novelty=both[n:], first=first)
