"""Batches of made-up data, and learners by their kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Batch, Learner, PolicySpec
from protocols.runtime.component_registry import component, create

DISCRETE = ("discrete_cql", "discrete_bcq", "discrete_brac", "discrete_bear", "discrete_icq", "dbr")
CONTINUOUS = ("td3_bc", "icq", "cql", "omar")


def learner(kind: str, spec: PolicySpec, seed: int = 0, **changes: Any) -> Any:
    """Small networks, 8 copies."""
    settings = component("learner", kind).settings(**{"hidden": [32, 32], "learning_rate": 3e-3} | changes)
    made: Learner = create("learner", settings)(settings, spec, 8, seed, seed)
    return made


def steps(observation: torch.Tensor, action: torch.Tensor, reward: torch.Tensor, terminated: float = 0.0) -> Batch:
    """Transitions `[B]` that lead back to the same observation, where the action of another row follows; their rewards are their relative
    returns too."""
    rows = len(reward)
    ended = torch.full((rows,), terminated)
    extras = {"relative_return": reward - reward.mean(), "next_action": action.roll(1, dims=0), "followed": 1 - ended}
    return Batch(observation, torch.zeros(rows, 0), action, reward, observation, ended, torch.ones(rows), torch.zeros(rows), extras=extras)


def random_steps(spec: PolicySpec, seed: int = 0, rows: int = 64) -> Batch:
    """Normal observations, uniform actions, rewards in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    observation = torch.randn(rows, *spec.observation, generator=generator)
    if spec.actions:
        action = torch.randint(0, spec.actions[0], (rows, 1), generator=generator)
    else:
        action = torch.rand(rows, len(spec.low), generator=generator) * 2 - 1
    return steps(observation, action, torch.rand(rows, generator=generator))


def greedy(one: Learner, observation: NDArray[np.float32]) -> NDArray[Any]:
    """Actions of evaluations `[n, A]`."""
    rows = len(observation)
    return one.act(observation, np.zeros((rows, 0), np.float32), None, np.zeros(rows, bool), False).actions
