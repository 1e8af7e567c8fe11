"""World model `gp`: a Gaussian process on sums over transitions, of one agent or of all agents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import AdditiveWorldModel, Array, Metrics, ModelData, Predict, Prediction
from agent_node.learners.library.devices import device_of
from agent_node.session.observation_features import Features
from agent_node.world_models.gp.feature_basis import HilbertSpaceBasis, KernelParameters
from agent_node.world_models.gp.gp_posterior import PersonalPosterior, Posterior
from agent_node.world_models.gp.gp_statistics import PersonalStatistics, Statistics
from agent_node.world_models.gp.log_evidence import ParameterBounds, log_evidence, maximise
from agent_node.world_models.gp.transition_encoder import GaussianProcess, TransitionEncoder
from agent_node.world_models.settings import GPSettings


def build_basis(settings: GPSettings, encoder: TransitionEncoder) -> HilbertSpaceBasis:
    """The basis that settings and layout describe."""
    box, lengthscales = encoder.box(settings.half_width, settings.action_half_width), encoder.lengthscales
    meaning: dict[str, object] = {"change_scale": encoder.scale.tolist(), "personal": None}
    if settings.personal:
        meaning["personal"] = settings.noise_variance / settings.personal_deviation**2
    linear, device = settings.linear_variance or None, device_of(settings.device, "agents.world_model.device")
    return HilbertSpaceBasis(box, settings.features, lengthscales, linear, meaning, device)


class GPModel(GaussianProcess, AdditiveWorldModel):
    """World model `gp`. `achieved_size` and `seed` belong to the constructor of every world model; nothing is random before `sample`, so
    that all agents of equal settings build the same basis."""

    def __init__(self, settings: GPSettings, features: Features, achieved_size: int, seed: int) -> None:
        self.settings = settings
        self.encoder = TransitionEncoder(settings, features, achieved_size)
        self.basis = build_basis(settings, self.encoder)
        self._plans: list[torch.Tensor] = []
        start = KernelParameters.of(self.encoder.lengthscales, settings.signal_variance, settings.noise_variance, self.basis.device)
        self._start = self.parameters = start
        self._bounds = ParameterBounds.around(start, settings.lengthscale_range, settings.signal_range, frozen_noise=settings.personal)
        ratio = settings.noise_variance / settings.personal_deviation**2
        self._own = PersonalStatistics.zero(self.basis, self.encoder.outputs, self.encoder.action_size, ratio)
        self._total: Statistics | None = None
        self._complete = True
        self._transitions = self._absorbed = self._refits = 0
        nothing = Statistics.zero(self.basis, self.encoder.outputs)
        self._rest(nothing, nothing, self._own)

    def _rest(self, mean: Statistics, spread: Statistics, own: PersonalStatistics) -> None:
        """Let predictions rest on these statistics."""
        self._resting = (mean, spread, own)
        posterior = Posterior.of(self.basis, self.parameters, mean)
        if spread is not mean:
            posterior = posterior.with_spread_of(Posterior.of(self.basis, self.parameters, spread))
        if self._plans:
            posterior = posterior.conditioned_on(torch.cat(self._plans))
        self.posterior = posterior
        self._personal = PersonalPosterior.of(posterior, own) if self.settings.personal else None

    # --- sums -------------------------------------------------------------------------------------------------------------------------

    @property
    def basis_id(self) -> str:
        """What must be equal for statistics to be added."""
        return self.basis.basis_id

    @property
    def transitions(self) -> int:
        """Number of own transitions absorbed so far."""
        return self._transitions

    @property
    def due(self) -> bool:
        """Whether `refresh` transitions were absorbed since the last refit."""
        return self._absorbed >= self.settings.refresh

    @property
    def ready(self) -> bool:
        """Whether the model rests on `learning_starts` transitions of any agent."""
        return self._resting[0].count >= self.settings.learning_starts

    def _shared(self) -> Statistics:
        return self._own.shared() if self.settings.personal else self._own.raw

    def absorb(self, data: ModelData) -> None:
        """Take in real transitions, each once. `ValueError` where one is not finite."""
        if not len(data.action):
            return
        own, n = self._own, len(data.action)
        if self.settings.half_life is not None:
            own = own.scaled(0.5 ** (n / self.settings.half_life))
        inputs, targets = self.encoder.inputs(data.observation, data.action), self.encoder.targets(data)
        self._own = own.absorbed(self.basis, inputs, self.encoder.scaled_actions(data.action), targets)
        self._absorbed += n
        self._transitions += n

    def statistics(self) -> NDArray[np.float64]:
        """Sums over the own transitions, `[P]` float64, packed by `Statistics.pack`."""
        return self._shared().pack()

    def _unpack(self, vector: NDArray[np.float64]) -> Statistics:
        return Statistics.unpack(vector, self.basis, self.encoder.outputs)

    def check(self, vector: NDArray[np.float64]) -> None:
        """`ValueError` with the reason why this can't be one agent's sums (`Statistics.validate`)."""
        self._unpack(vector).validate(self.basis)

    def published(self) -> None:
        """Nothing follows: the posterior of all agents that hold one total is the same, so unpublished own data is not used before."""

    def use(self, total: NDArray[np.float64], complete: bool) -> None:
        """Rest on this sum from the next refit on (`Additive.use`)."""
        self._total, self._complete = self._unpack(total), complete

    def refit(self) -> Metrics:
        """The posterior anew; every `optimise_every`-th time, where the total is complete, with kernel parameters learnt from it. That
        search begins at the parameters of the settings: what agents learn from equal sums is equal, whatever they learnt before.

        Metrics: `evidence` in nats per number observed, `transitions`, `noise` and `signal` (standard deviations), `lengthscale` (geometric
        mean). `FactorizationError` where the total is no sum over data.
        """
        self._absorbed = 0
        own = self._shared()
        total = own if self._total is None else self._total
        complete = self._total is None or self._complete
        every = self.settings.optimise_every
        enough = complete and total.count >= self.settings.learning_starts
        if enough and every and self._refits % every == 0:
            self.parameters = maximise(self.basis, total, self._start, self._bounds, self.settings.iterations)
        self._refits += 1
        self._rest(total, total if complete else own, self._own)
        metrics = {
            "transitions": total.count,
            "noise": float(self.parameters.noise_variance.sqrt()),
            "signal": float(self.parameters.signal_variance.sqrt()),
            "lengthscale": float(self.parameters.lengthscales.log().mean().exp()),
        }
        if complete and total.count > 0:
            numbers = total.count * total.outputs
            metrics["evidence"] = log_evidence(self.basis, self.parameters, total) / numbers
        return metrics

    # --- predicting -------------------------------------------------------------------------------------------------------------------

    def _predict(self, observation: Array, action: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        with torch.no_grad():
            inputs = self.encoder.inputs(observation, action)
            if self._personal is not None:
                mean, variance = self._personal.predict(inputs, self.encoder.scaled_actions(action))
            else:
                mean, variance = self.posterior.predict(inputs)
        return mean.cpu().numpy(), variance.sqrt().cpu().numpy()[:, None]

    def draw(self, random: np.random.Generator) -> Predict:
        """A function drawn from the posterior (`Posterior.draw`); the agent's own effects are those that go with it."""
        posterior = self.posterior.draw(random)
        personal = None if self._personal is None else PersonalPosterior.of(posterior, self._resting[2])

        def predict(observation: Array, action: Array) -> Prediction:
            with torch.no_grad():
                inputs = self.encoder.inputs(observation, action)
                if personal is not None:
                    mean = personal.mean(inputs, self.encoder.scaled_actions(action)).cpu().numpy()
                else:
                    mean = posterior.mean(inputs).cpu().numpy()
            return self.encoder.prediction(observation, mean, np.zeros_like(mean), self._noise(mean))

        return predict

    def condition_on_plans(self, plans: Sequence[tuple[Array, Array]]) -> None:
        """Count the steps of these plans as seen, in the variance only (`Posterior.conditioned_on`), from the next refit on."""
        self._plans = [self.encoder.inputs(observation, action) for observation, action in plans if len(action)]

    # --- the rest of the contract -----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Own sums, the newest total, what predictions rest on, kernel parameters and counters."""
        identity = torch.frombuffer(bytearray.fromhex(self.basis_id), dtype=torch.uint8)
        counters = [0, self._transitions, self._absorbed, self._refits, int(self._complete), int(self._total is not None)]
        state = {"basis_id": identity, "counters": torch.tensor(counters), "parameters": self.parameters.logarithms().cpu()}
        mean, spread, resting = self._resting
        for name, own in (("own", self._own), ("resting", resting)):
            state |= {f"{name}/{part}": tensor.cpu().clone() for part, tensor in own.tensors().items()}
            state[f"{name}/raw"] = torch.from_numpy(own.raw.pack())
        for name, sums in (("total", self._total), ("mean", mean), ("spread", spread if spread is not mean else None)):
            if sums is not None:
                state[name] = torch.from_numpy(sums.pack())
        return state

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore; `ValueError` with the name of what does not fit."""
        missing = {"basis_id", "counters", "parameters", "own/raw", "resting/raw", "mean"} - state.keys()
        if missing:
            raise ValueError(f"{', '.join(sorted(missing))} of the world model is missing in the state")
        if bytes(state["basis_id"].tolist()).hex() != self.basis_id:
            raise ValueError("basis_id: the state was made with other settings of the world model")
        self.parameters = KernelParameters.from_logarithms(state["parameters"].to(self.basis.device))

        def sums(name: str) -> Statistics:
            return self._unpack(state[name].numpy())

        def personal(name: str) -> PersonalStatistics:
            parts = {part: state[f"{name}/{part}"].clone().to(self.basis.device) for part in self._own.tensors()}
            return PersonalStatistics(sums(f"{name}/raw"), **parts, ratio=self._own.ratio)

        _, self._transitions, self._absorbed, self._refits, complete, total = state["counters"].tolist()
        self._own = personal("own")
        self._total, self._complete = sums("total") if total else None, bool(complete)
        mean = sums("mean")
        self._rest(mean, sums("spread") if "spread" in state else mean, personal("resting"))
