"""World model `exact_gp`: an exact Gaussian process on a part of the own transitions, through GPyTorch, for agents that share no model.

The same prior as `gp` (squared exponential with a length-scale for each input, and a linear part), one theta for all outputs. Two of
GPyTorch's habits would make it inexact, and are switched off: above 800 points it takes conjugate gradients in the place of a Cholesky
factorization, and a failed factorization is tried again with more and more jitter, with nothing but a warning.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gpytorch
import numpy as np
import torch
from gpytorch.constraints import Interval
from gpytorch.utils.warnings import NumericalWarning
from numpy.typing import NDArray

from agent_node.contracts import Array, Metrics, ModelData
from agent_node.learners.library.devices import device_of
from agent_node.session.observation_features import Features
from agent_node.world_models.gp.feature_basis import Box, InputScale, KernelParameters
from agent_node.world_models.gp.gp_posterior import FactorizationError
from agent_node.world_models.gp.log_evidence import ParameterBounds
from agent_node.world_models.gp.transition_encoder import GaussianProcess, TransitionEncoder
from agent_node.world_models.settings import ExactGPSettings

QUERIES = 256
"""rows predicted at once: GPyTorch computes their joint covariance"""


@contextmanager
def exactly(points: int) -> Iterator[None]:
    """Let GPyTorch factorize matrices of up to `points` rows, once; `FactorizationError` where it would have to add jitter."""
    with (
        gpytorch.settings.max_cholesky_size(points + 1),
        gpytorch.settings.fast_pred_var(False),
        gpytorch.settings.fast_computations(covar_root_decomposition=False, log_prob=False, solves=False),
        gpytorch.settings.cholesky_max_tries(1),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("error", NumericalWarning)
        try:
            yield
        except NumericalWarning as error:
            text = f"the covariance of {points} transitions is not positive definite to working precision"
            raise FactorizationError(f"{text}: many are nearly equal, and the noise variance is too small for them ({error})") from error


class _Linear(gpytorch.kernels.Kernel):  # type: ignore[misc]
    """variance * (1 + x^T x'), with nothing to learn."""

    def __init__(self, variance: float) -> None:
        super().__init__()
        self.variance = variance

    def forward(self, first: torch.Tensor, second: torch.Tensor, diag: bool = False, **rest: object) -> torch.Tensor:
        """`[..., n, k]`, or its diagonal `[..., n]`."""
        products = (first * second).sum(dim=-1) if diag else first @ second.transpose(-1, -2)
        return self.variance * (1 + products)


class _Process(gpytorch.models.ExactGP):  # type: ignore[misc]
    """Independent outputs `[d_y, n]` on common inputs `[n, D]`, zero mean, shared kernel."""

    def __init__(
        self, inputs: torch.Tensor, targets: torch.Tensor, start: KernelParameters, bounds: ParameterBounds, linear_variance: float
    ) -> None:
        # Constraints are open intervals, and parameters may start at their ends.
        lower, upper = (bounds.lower.exp() * (1 - 1e-6), bounds.upper.exp() * (1 + 1e-6))
        size = inputs.shape[1]
        likelihood = gpytorch.likelihoods.GaussianLikelihood(noise_constraint=Interval(lower[-1], upper[-1]))
        super().__init__(inputs.expand(len(targets), *inputs.shape), targets, likelihood)
        shape = gpytorch.kernels.RBFKernel(ard_num_dims=size, lengthscale_constraint=Interval(lower[:size], upper[:size]))
        self.signal = gpytorch.kernels.ScaleKernel(shape, outputscale_constraint=Interval(lower[-2], upper[-2]))
        self.mean_module = gpytorch.means.ZeroMean()
        self.kernel = self.signal + _Linear(linear_variance) if linear_variance else self.signal
        self.to(inputs.device, torch.float64)
        shape.lengthscale, self.signal.outputscale, likelihood.noise = start.lengthscales, start.signal_variance, start.noise_variance

    def forward(self, inputs: torch.Tensor) -> Any:
        """Prior over the outputs at scaled inputs `[d_y, n, D]`."""
        return gpytorch.distributions.MultivariateNormal(self.mean_module(inputs), self.kernel(inputs))


class ExactRegression(InputScale):
    """Exact posterior of targets `[n, d_y]` given raw inputs `[n, D]`, scaled by `box` and clipped to it; theta within `bounds`."""

    def __init__(
        self,
        box: Box,
        inputs: torch.Tensor,
        targets: torch.Tensor,
        parameters: KernelParameters,
        bounds: ParameterBounds | None = None,
        linear_variance: float = 0.0,
    ) -> None:
        super().__init__(box, parameters.lengthscales.device)
        self.points = len(inputs)
        observed = targets.to(self.device, torch.float64).T.contiguous()
        within = ParameterBounds.around(parameters) if bounds is None else bounds
        self.process = _Process(self.scale(inputs), observed, parameters, within, linear_variance)
        self.process.eval()

    @property
    def parameters(self) -> KernelParameters:
        """The kernel parameters theta, without gradient."""
        signal, noise = self.process.signal, self.process.likelihood.noise.detach().reshape(())
        return KernelParameters(signal.base_kernel.lengthscale.detach().reshape(-1), signal.outputscale.detach().reshape(()), noise)

    def log_evidence(self) -> torch.Tensor:
        """ln p(Y) of all outputs together in nats, differentiable in GPyTorch's parameters."""
        process = self.process
        process.train()
        try:
            with exactly(self.points):
                likelihood = gpytorch.mlls.ExactMarginalLogLikelihood(process.likelihood, process)
                each: torch.Tensor = likelihood(process(*process.train_inputs), process.train_targets)
        finally:
            process.eval()
        return each.sum() * self.points

    def optimise(self, iterations: int) -> None:
        """theta of greater evidence, by L-BFGS; the present one stays where nothing better is found."""
        process = self.process
        before = {name: tensor.clone() for name, tensor in process.state_dict().items()}
        optimizer = torch.optim.LBFGS(list(process.parameters()), max_iter=iterations, line_search_fn="strong_wolfe")

        def closure() -> float:
            optimizer.zero_grad()
            loss = -self.log_evidence() / process.train_targets.numel()
            torch.autograd.backward(loss)
            return float(loss.detach())

        with torch.no_grad():
            first = float(self.log_evidence())
        try:
            optimizer.step(closure)  # type: ignore[no-untyped-call]
            with torch.no_grad():
                better = float(self.log_evidence()) >= first
        except FactorizationError:
            better = False
        if not better:
            process.load_state_dict(before)
        process.train()  # forgets what was computed with the theta before
        process.eval()

    def predict(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean `[n, d_y]` and epistemic variance `[n]`, without the noise."""
        scaled = self.scale(inputs)
        outputs = len(self.process.train_targets)
        means, variances = [], []
        with torch.no_grad(), exactly(self.points + QUERIES):
            for start in range(0, len(scaled), QUERIES):
                part = scaled[start : start + QUERIES]
                posterior = self.process(part.expand(outputs, *part.shape))
                means.append(posterior.mean.T)
                # The diagonal as it is: `variance` would be kept above a floor.
                variances.append(posterior.covariance_matrix[0].diagonal())
        if not means:
            return scaled.new_zeros(0, outputs), scaled.new_zeros(0)
        return torch.cat(means), torch.cat(variances).clamp_min(0.0)


class ExactGP(GaussianProcess):
    """World model `exact_gp`: rests on the transitions of its newest fit."""

    def __init__(self, settings: ExactGPSettings, features: Features, achieved_size: int, seed: int) -> None:
        self.settings = settings
        self.encoder = TransitionEncoder(settings, features, achieved_size)
        device = device_of(settings.device, "agents.world_model.device")
        lengthscales = self.encoder.lengthscales
        self.parameters = KernelParameters.of(lengthscales, settings.signal_variance, settings.noise_variance, device)
        self._bounds = ParameterBounds.around(self.parameters, settings.lengthscale_range, settings.signal_range)
        self._box = self.encoder.box(2.0, 2.0)
        size, outputs = self._box.size, self.encoder.outputs
        self._inputs, self._targets = torch.zeros(0, size, dtype=torch.float64), torch.zeros(0, outputs, dtype=torch.float64)
        self._fits = 0
        self.regression: ExactRegression | None = None

    @property
    def ready(self) -> bool:
        """Whether it rests on `learning_starts` transitions, or on as many as it takes."""
        return len(self._inputs) >= min(self.settings.learning_starts, self.settings.batch_size)

    def _rest(self) -> ExactRegression:
        linear = self.settings.linear_variance
        return ExactRegression(self._box, self._inputs, self._targets, self.parameters, self._bounds, linear)

    def fit(self, data: list[ModelData]) -> Metrics:
        """Rest on these transitions from now on; every `optimise_every`-th time with kernel parameters learnt from them. `ValueError` where
        one is not finite."""
        observed = [part for part in data if len(part.action)]
        if not observed:
            return {}
        inputs = torch.cat([self.encoder.inputs(part.observation, part.action) for part in observed])
        targets = torch.cat([self.encoder.targets(part) for part in observed])
        if not (torch.isfinite(inputs).all() and torch.isfinite(targets).all()):
            raise ValueError("a transition has an observation, action or change that is not finite; leave it out before the fit")
        self._inputs, self._targets = inputs[: self.settings.batch_size], targets[: self.settings.batch_size]
        self.regression = self._rest()
        if self.settings.optimise_every and self._fits % self.settings.optimise_every == 0:
            self.regression.optimise(self.settings.iterations)
            self.parameters = self.regression.parameters
        self._fits += 1
        return {"transitions": float(len(self._inputs)), "noise": float(self.parameters.noise_variance.sqrt())}

    def _predict(self, observation: Array, action: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        inputs = self.encoder.inputs(observation, action)
        if self.regression is None:
            settings, scaled = self.settings, self.encoder.scaled(inputs)
            prior = settings.signal_variance + settings.linear_variance * (1 + scaled.square().sum(dim=1, keepdim=True))
            return np.zeros((len(inputs), self.encoder.outputs)), prior.sqrt().numpy()
        mean, variance = self.regression.predict(inputs)
        return mean.cpu().numpy(), variance.sqrt().cpu().numpy()[:, None]

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The transitions it rests on, kernel parameters and the number of fits."""
        parameters = self.parameters.logarithms().cpu()
        return {"inputs": self._inputs, "targets": self._targets, "parameters": parameters, "fits": torch.tensor([self._fits])}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore; `ValueError` with the name of what does not fit."""
        wanted = {"inputs": self._inputs.shape[1], "targets": self._targets.shape[1], "parameters": len(self._bounds.lower), "fits": 1}
        for name, width in wanted.items():
            if name not in state or state[name].shape[-1] != width:
                raise ValueError(f"{name} of the world model is missing in the state, or not {width} wide")
        self._inputs, self._targets = state["inputs"].clone(), state["targets"].clone()
        self.parameters = KernelParameters.from_logarithms(state["parameters"].to(self.parameters.lengthscales.device))
        self._fits = int(state["fits"])
        self.regression = self._rest() if len(self._inputs) else None
