"""Small regression problems for the tests of Gaussian processes."""

from collections.abc import Iterable
from functools import reduce
from operator import add

import numpy as np
import torch

from agent_node.world_models.gp.feature_basis import Box, HilbertSpaceBasis, KernelParameters
from agent_node.world_models.gp.gp_statistics import Statistics

LENGTHSCALES = (0.4, 0.4, 1.2, 1.2)
PLANE = Box((-10, -10, -1, -1), (10, 10, 1, 1), (1.4, 1.4, 2.6, 2.6))
"""positions in a square of side 20 and displacements of up to 1, with the half-widths of the settings"""
THETA = KernelParameters.of(LENGTHSCALES, 1.0, 0.01)


def moves(random: np.random.Generator, n: int, gain: float = 1.0, noise: float = 0.01) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs `[n, 4]` (position, action) and changes `[n, 2]`: the action times a gain, weaker where the ground is soft."""
    position = random.uniform(-10, 10, (n, 2))
    action = random.uniform(-1, 1, (n, 2))
    soft = 0.7 + 0.3 * np.sin(position[:, :1] / 3) * np.cos(position[:, 1:] / 4)
    change = gain * soft * action + noise * random.standard_normal((n, 2))
    return torch.from_numpy(np.hstack([position, action])), torch.from_numpy(change)


def bases(count: int = 48) -> list[HilbertSpaceBasis]:
    """With the linear part, without it, and with fewer features."""
    return [
        HilbertSpaceBasis(PLANE, count, LENGTHSCALES),
        HilbertSpaceBasis(PLANE, count, LENGTHSCALES, None),
        HilbertSpaceBasis(PLANE, count // 2, LENGTHSCALES),
    ]


def dense_prior(basis: HilbertSpaceBasis, theta: KernelParameters, inputs: torch.Tensor) -> torch.Tensor:
    """Phi Lambda Phi^T, `[n, n]`."""
    features = basis.features(inputs)
    return (features * basis.prior(theta)) @ features.T


def summed(parts: Iterable[Statistics]) -> Statistics:
    """Sum in the order given."""
    return reduce(add, parts)
