"""Ensemble of probabilistic networks that predict the next observation from the own action (after Chua et al., arXiv 1805.12114).

Input: the features (`agent_node.session.observation_features`), normalised, and the action, each discrete factor one-hot. Output of each
of M members, for the
D components of the observation: mean m and variance v of the normalised change d (circular components wrapped). Besides, in environments
with goals, the probability that each feature is achieved by any body; in others reward r and the probability of the end.

    loss = mean (d - m)^2 + mean 1/2 (ln v + (d - m)^2 / v)   [gradient of the second part only to v]
         + 5 cross-entropy of touches,   or   cross-entropy of the end + (r - r')^2

Least squares for the mean instead of the joint likelihood: the latter's division by v starves exactly the components that are hard
(Seitzer et al., arXiv 2203.09168). The members start differently and learn from different batches; where they disagree, data are few.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch.nn import functional

from agent_node.contracts import Array, Metrics, ModelData, Predict, Prediction, State, WorldModel
from agent_node.learners.library.devices import CPU, device_of
from agent_node.learners.library.flat_networks import StackedMLP
from agent_node.learners.library.optimisers import Adam, FlatComponent, restore
from agent_node.session.observation_features import Features
from agent_node.world_models.settings import EnsembleSettings

LOG_VARIANCE = (-9.0, 1.0)
"""Bounds of ln v, in units of the normalised change."""
GRADIENT_NORM = 100.0
TOUCH_WEIGHT = 5.0
"""Weight of the cross-entropy of touches: they are rare, and imagined rewards stand on them."""
RATE = 1e-3
"""r of a `Normalizer`"""
SMALLEST_DEVIATION = 1e-4


class Normalizer:
    """First two moments of each component, as running sums in one vector `[1 + 2 * size]`: a weight a, then sums s and q.

    Each batch adds r (1, its mean, its mean square), r = 0.001, and from a = 1 on the older ones fade by 1 - r at the same time:

        mean = s / a,   deviation = sqrt(q / a - (s / a)^2),

    the plain moments of the first thousand batches, and running ones later.

    Sums are what neighbours may average: any sum of theirs with weights that are not negative has the moments of the data so weighted,
    whenever each agent began to learn, and also where rows were added while a round was open, whose change is added to the newest sums.
    Moments themselves must not be averaged: two changes that each reach the moments of the data overshoot them when they are added, and a
    mean square below the square of the mean belongs to no data.
    """

    def __init__(self, size: int, device: torch.device = CPU) -> None:
        self.vector = torch.zeros(1 + 2 * size, device=device)
        self._weight, self._sum, self._squares = self.vector[:1], self.vector[1 : 1 + size], self.vector[1 + size :]

    def update(self, rows: torch.Tensor) -> None:
        """Update the running mean and variance by the rows of a batch `[n, size]`."""
        batch = torch.cat([torch.ones_like(self._weight), rows.mean(dim=0), rows.square().mean(dim=0)])
        self.vector.mul_(torch.where(self._weight < 1, 1.0, 1.0 - RATE)).add_(batch, alpha=RATE)

    @property
    def mean(self) -> torch.Tensor:
        """`[size]`; zero before the first batch."""
        return torch.where(self._weight > 0, self._sum / self._weight, 0.0)

    @property
    def deviation(self) -> torch.Tensor:
        """`[size]` standard deviation, at least 0.0001; one before the first batch."""
        variance = torch.where(self._weight > 0, self._squares / self._weight - self.mean.square(), 1.0)
        return variance.clamp_(min=SMALLEST_DEVIATION**2).sqrt_()

    def apply(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows in units of the deviation, around the mean; outliers are cut at 8."""
        return ((rows - self.mean) / self.deviation).clamp_(-8, 8)


class Ensemble(FlatComponent, WorldModel):
    """World model `ensemble`. `achieved_size` is L in environments with goals and 0 elsewhere."""

    counters = ()

    def __init__(self, settings: EnsembleSettings, features: Features, achieved_size: int, seed: int) -> None:
        self.settings = settings
        self.device = device_of(settings.device, "agents.world_model.device")
        self.features = features
        self.achieved_size = achieved_size
        self.size = features.size
        actions = features.layout.actions
        self._eyes = [np.eye(choices, dtype=np.float32) for choices in actions]
        low, high = np.array(features.layout.low, np.float32), np.array(features.layout.high, np.float32)
        self._middle, self._half = (low + high) / 2, np.maximum((high - low) / 2, 1e-6)
        inputs = features.width
        extra = achieved_size or 2
        widths = [inputs + (sum(actions) or features.action_size), *settings.hidden, 2 * self.size + extra]
        self.network = StackedMLP(settings.members, widths, torch.Generator().manual_seed(seed), self.device)
        self.inputs = Normalizer(inputs, self.device)
        self.changes = Normalizer(self.size, self.device)
        self.adam = Adam(self.network.vector, self.network.gradient, settings.learning_rate, GRADIENT_NORM)
        self.optimisers = {"adam": self.adam}
        self.fits = 0
        self.touch_fits = 0

    @property
    def ready(self) -> bool:
        """Whether it has learnt long enough to imagine with (in environments with goals: touches too)."""
        return (self.touch_fits if self.achieved_size else self.fits) >= self.settings.learning_starts

    # --- inputs and outputs ---------------------------------------------------------------------------------------------------------

    def _moved(self, array: Array) -> torch.Tensor:
        """To the device."""
        return torch.from_numpy(array).to(self.device)

    def _act(self, action: Array) -> torch.Tensor:
        """One-hot factors, or continuous actions scaled to [-1, 1]."""
        if self._eyes:
            chosen = np.concatenate([eye[action[:, factor]] for factor, eye in enumerate(self._eyes)], axis=1)
        else:
            chosen = ((action - self._middle) / self._half).astype(np.float32)
        return self._moved(chosen)

    def _inputs(self, observation: Array, action: Array) -> torch.Tensor:
        """`[n, H, D]` and `[n, A]` to what the networks take."""
        return torch.cat([self.inputs.apply(self._moved(self.features.encode(observation))), self._act(action)], dim=1)

    def _activated(self, rest: torch.Tensor) -> torch.Tensor:
        """Probabilities of touches; or the reward and the probability of the end."""
        if self.achieved_size:
            return torch.sigmoid(rest)
        return torch.stack([rest[..., 0], torch.sigmoid(rest[..., 1])], dim=-1)

    def _split(self, outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Mean, log-variance and the rest."""
        low, high = LOG_VARIANCE
        log_variance = low + (high - low) * torch.sigmoid(outputs[..., self.size : 2 * self.size])
        return outputs[..., : self.size], log_variance, outputs[..., 2 * self.size :]

    # --- learning -------------------------------------------------------------------------------------------------------------------

    def fit(self, data: list[ModelData]) -> Metrics:
        """One update of all members; metric `model_loss` is the squared error of the means in units of each change's variance."""
        members = self.settings.members
        observation = np.concatenate([part.observation for part in data])
        following = np.concatenate([part.next_observation for part in data])
        encoded = self._moved(self.features.encode(observation))
        change = self._moved(self.features.difference(observation[:, -1], following))
        self.inputs.update(encoded)
        self.changes.update(change)
        action = self._act(np.concatenate([part.action for part in data]))
        inputs = torch.cat([self.inputs.apply(encoded), action], dim=1).view(members, -1, encoded.shape[1] + action.shape[1])
        wanted = self.changes.apply(change).view(members, -1, self.size)

        mean, log_variance, rest = self._split(self.network(inputs))
        squared = (wanted - mean).square()
        spread = 0.5 * (log_variance + squared.detach() * torch.exp(-log_variance)).mean()
        loss = squared.mean() + spread
        if not self.achieved_size:
            reward = self._moved(np.concatenate([part.reward for part in data])).view(members, -1)
            terminated = self._moved(np.concatenate([part.terminated for part in data])).view(members, -1)
            ending = functional.binary_cross_entropy_with_logits(rest[..., 1], terminated)
            loss = loss + (rest[..., 0] - reward).square().mean() + ending
        elif all(part.achieved is not None for part in data):
            achieved = np.concatenate([part.achieved for part in data if part.achieved is not None])
            touched = self._moved(achieved.astype(np.float32)).view(members, -1, self.achieved_size)
            loss = loss + TOUCH_WEIGHT * functional.binary_cross_entropy_with_logits(rest, touched)
            self.touch_fits += 1
        torch.autograd.backward(loss * members)
        self.adam.step()
        self.fits += 1
        return {"model_loss": squared.mean().item()}

    # --- predicting -----------------------------------------------------------------------------------------------------------------

    def predict(self, observation: Array, action: Array) -> Prediction:
        """Mean over the members, their disagreement (epistemic) and the deviation that they expect (aleatoric)."""
        with torch.inference_mode():
            inputs = self._inputs(observation, action)
            mean, log_variance, rest = self._split(self.network(inputs.expand(self.settings.members, -1, -1)))
            deviation = self.changes.deviation
            change = mean.mean(dim=0) * deviation + self.changes.mean
            epistemic = mean.std(dim=0, correction=0) * deviation
            aleatoric = log_variance.exp().mean(dim=0).sqrt() * deviation
            rest = self._activated(rest).mean(dim=0)
        return self._prediction(observation, change, epistemic, aleatoric, rest)

    def sample(self, observation: Array, action: Array, random: np.random.Generator) -> Prediction:
        """A possible next step: each row from one member, with noise of its deviation. The rows are dealt to the members at random, in
        equal parts, so that each row is computed once."""
        members, n = self.settings.members, len(observation)
        share = -(-n // members)
        order = random.permutation(members * share)
        rows = order % n
        with torch.inference_mode():
            inputs = self._inputs(observation[rows], action[rows])
            outputs = self.network(inputs.view(members, share, -1)).reshape(members * share, -1)
            back = self._moved(np.argsort(order)[:n])
            mean, log_variance, rest = self._split(outputs[back])
            deviation = self.changes.deviation
            noise = self._moved(random.standard_normal(mean.shape, np.float32))
            spread = (0.5 * log_variance).exp()
            change = (mean + spread * noise) * deviation + self.changes.mean
            return self._prediction(observation, change, torch.zeros_like(mean), spread * deviation, self._activated(rest))

    def draw(self, random: np.random.Generator) -> Predict:
        """The mean of one member, drawn at random."""
        member = int(random.integers(self.settings.members))

        def predict(observation: Array, action: Array) -> Prediction:
            with torch.inference_mode():
                inputs = self._inputs(observation, action)
                outputs = self.network(inputs.expand(self.settings.members, -1, -1))[member]
                mean, log_variance, rest = self._split(outputs)
                deviation = self.changes.deviation
                change, spread = mean * deviation + self.changes.mean, (0.5 * log_variance).exp() * deviation
                return self._prediction(observation, change, torch.zeros_like(mean), spread, self._activated(rest))

        return predict

    def _prediction(
        self, observation: Array, change: torch.Tensor, epistemic: torch.Tensor, aleatoric: torch.Tensor, rest: torch.Tensor
    ) -> Prediction:
        nothing = np.zeros(len(observation), np.float32)
        return Prediction(
            observation=self.features.follow(observation[:, -1], change.cpu().numpy()),
            reward=nothing if self.achieved_size else rest[:, 0].cpu().numpy(),
            terminated=nothing if self.achieved_size else rest[:, 1].cpu().numpy(),
            achieved=rest.cpu().numpy() if self.achieved_size else None,
            epistemic=epistemic.cpu().numpy(),
            aleatoric=aleatoric.cpu().numpy(),
        )

    def error(self, data: ModelData) -> float:
        """`Features.relative_error` of `predict`, over `data`."""
        predicted = self.predict(data.observation, data.action).observation
        return self.features.relative_error(data.observation[:, -1], data.next_observation, predicted)

    # --- averaging and checkpoints --------------------------------------------------------------------------------------------------

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """`world_model`: all members' weights, then the sums of inputs and changes, without which the weights mean nothing."""
        return {"world_model": [self.network.vector, self.inputs.vector, self.changes.vector]}

    def live(self) -> State:
        """All members' weights, and the sums of inputs and changes."""
        return {"network": self.network.vector, "inputs": self.inputs.vector, "changes": self.changes.vector}

    def state_dict(self) -> State:
        """Networks, sums, Adam's moments and counters."""
        return super().state_dict() | {"counters": torch.tensor([self.fits, self.touch_fits])}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state_dict` returned, in place. `ValueError` names what is missing or has another shape."""
        super().load_state_dict(state)
        counters = torch.zeros(2, dtype=torch.int64)
        restore({"counters": counters}, state)
        self.fits, self.touch_fits = counters.tolist()
