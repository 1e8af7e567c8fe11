"""Kernel parameters from statistics alone: the log-evidence, its gradient, and its maximum within bounds.

For one output, with c = L^-1 Lambda^1/2 b / sigma^2 and D = `log_determinant` of marginalised private effects,

    ln p(y) = -1/2 [ q / sigma^2 - |c|^2 + n ln(2 pi sigma^2) + 2 sum ln L_kk + D ]

All outputs share theta; their evidences add. With w = A^-1 Lambda^1/2 b / sigma^2 (whitened weights), h = Lambda^1/2 b / sigma^2 and
B = A^-1 the gradient is closed, so that no factorization is ever differentiated through:

    d ln p / d ln Lambda_k = -1/2 [ 1 - B_kk - w_k^2 ]
    d ln p / d ln sigma^2  = -1/2 [ n - sum_k (1 - B_kk) - q / sigma^2 + h^T w + w^T w ]
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from agent_node.world_models.gp.feature_basis import HilbertSpaceBasis, KernelParameters
from agent_node.world_models.gp.gp_posterior import FactorizationError, factorize
from agent_node.world_models.gp.gp_statistics import Statistics

NOISE_FLOOR = 1e-4
"""Least noise variance: below it the whitened matrix loses digits, and exact duplicates would count without bound."""
HISTORY = 10
"""steps that L-BFGS remembers"""
EDGE = 12.0
"""largest logit of a parameter between its bounds: nearer to a bound nothing moves it any more"""


@dataclass(frozen=True)
class ParameterBounds:
    """Least and largest logarithms `[D + 2]`, in the order of `KernelParameters.logarithms`. Equal bounds freeze a parameter."""

    lower: torch.Tensor
    upper: torch.Tensor

    @classmethod
    def around(
        cls,
        start: KernelParameters,
        lengthscale_range: tuple[float, float] = (0.25, 10.0),
        signal_range: tuple[float, float] = (1e-4, 1e4),
        noise_range: tuple[float, float] = (NOISE_FLOOR, 1e2),
        frozen_noise: bool = False,
    ) -> ParameterBounds:
        """Length-scales and signal variance within factors of `start`; the noise variance within absolute bounds, or frozen at `start`."""
        logarithms = start.logarithms()
        size = len(logarithms) - 2
        ends = []
        for end in (0, 1):
            bound = logarithms.clone()
            bound[:size] += torch.tensor(lengthscale_range[end], dtype=torch.float64).log()
            bound[size] += torch.tensor(signal_range[end], dtype=torch.float64).log()
            if not frozen_noise:
                bound[size + 1] = torch.tensor(noise_range[end], dtype=torch.float64).log()
            ends.append(bound)
        return cls(ends[0], ends[1])


@dataclass(frozen=True)
class Evidence:
    """Log-evidence of all outputs together in nats, with its gradient in ln Lambda `[m]` and ln sigma^2."""

    value: float
    prior_gradient: torch.Tensor
    noise_gradient: float


def evidence(statistics: Statistics, prior: torch.Tensor, noise_variance: float) -> Evidence:
    """For Lambda's diagonal `prior[m]`. One factorization and one triangular inverse, O(m^3)."""
    root = prior.sqrt()
    factor = factorize(statistics.gram, root, noise_variance)
    size, outputs = len(root), statistics.outputs
    loads = root[:, None] * statistics.moment / noise_variance
    weights = torch.cholesky_solve(loads, factor)
    inverse = torch.linalg.solve_triangular(factor, torch.eye(size, dtype=torch.float64, device=factor.device), upper=False)
    learnt = 1 - inverse.square().sum(dim=0)
    explained = float((loads * weights).sum())
    squares = float(statistics.squares.sum()) / noise_variance
    determinants = 2 * float(factor.diagonal().log().sum()) + statistics.log_determinant
    constant = statistics.count * math.log(2 * math.pi * noise_variance)
    value = -0.5 * (squares - explained + outputs * (constant + determinants))
    prior_gradient = -0.5 * (outputs * learnt - weights.square().sum(dim=1))
    sizes = outputs * (statistics.count - float(learnt.sum()))
    noise_gradient = -0.5 * (sizes - squares + explained + float(weights.square().sum()))
    return Evidence(value, prior_gradient, noise_gradient)


def log_evidence(basis: HilbertSpaceBasis, parameters: KernelParameters, statistics: Statistics) -> float:
    """ln p(y) in nats, by the module's formula, summed over all outputs. `BasisMismatch` for statistics of another basis."""
    statistics.require(basis)
    with torch.no_grad():
        return evidence(statistics, basis.prior(parameters), float(parameters.noise_variance)).value


def maximise(
    basis: HilbertSpaceBasis, statistics: Statistics, start: KernelParameters, bounds: ParameterBounds, iterations: int = 20
) -> KernelParameters:
    """theta of greatest evidence within bounds, less n d_y t / (2 sigma^2), by L-BFGS from `start`.

    t is the prior variance that the features lack (`HilbertSpaceBasis.missing`). So corrected, the evidence of the features bounds that
    of the whole process from below (Titsias 2009, who takes t over the data), and the posterior with the variance of `gp_posterior` is
    the one that belongs to the bound. The evidence by itself does not object to a theta of which the features represent
    next to nothing; the variance that they lack would then outweigh, everywhere and for ever, all data.

    A function of its arguments alone: agents that start at the same theta with the same statistics get the same theta bit by bit (on
    machines that compute alike, with equally many threads). The best point met is returned. A free
    parameter moves on the logit of its place between its bounds; one with equal bounds stays.
    """
    statistics.require(basis)
    if statistics.count <= 0:
        return start
    first = start.logarithms().clamp(bounds.lower, bounds.upper)
    free = (bounds.upper > bounds.lower).nonzero().flatten()
    if not len(free):
        return KernelParameters.from_logarithms(first)
    low, span = bounds.lower[free], (bounds.upper - bounds.lower)[free]
    place = torch.logit((first[free] - low) / span).clamp(-EDGE, EDGE).requires_grad_()
    samples = statistics.count * statistics.outputs
    best, best_value = first, -math.inf

    def logarithms() -> torch.Tensor:
        return first.index_put((free,), low + span * torch.sigmoid(place))

    def closure() -> float:
        """Loss per number observed; its gradient goes to `place`."""
        nonlocal best, best_value
        optimizer.zero_grad()
        vector = logarithms()
        parameters = KernelParameters.from_logarithms(vector)
        prior = basis.prior(parameters)
        found = evidence(statistics, prior.detach(), float(parameters.noise_variance.detach()))
        penalty = 0.5 * samples * basis.missing(parameters) / parameters.noise_variance
        bound = found.value - float(penalty.detach())
        if bound > best_value:
            best, best_value = vector.detach(), bound
        # A function with the same gradient: what theta does to ln Lambda and ln sigma^2 is left to autograd.
        tangent = (prior.log() * found.prior_gradient).sum() + vector[-1] * found.noise_gradient
        torch.autograd.backward((penalty - tangent) / samples)
        return -bound / samples

    optimizer = torch.optim.LBFGS(
        [place],
        max_iter=iterations,
        max_eval=iterations * 5 // 4,
        history_size=HISTORY,
        tolerance_grad=1e-6,
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )
    try:
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    except FactorizationError:  # at an extreme theta; at the start it would mean invalid statistics
        if best_value == -math.inf:
            raise
    return KernelParameters.from_logarithms(best)
