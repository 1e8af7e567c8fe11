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

from agent_node.contracts import Array, Metrics, ModelData, Predict, Prediction, WorldModel
from agent_node.learners.library.devices import device_of
from agent_node.learners.library.flat_networks import Adam, StackedMLP, restore
from agent_node.session.observation_features import Features
from agent_node.world_models.ensemble.normalizer import Normalizer
from agent_node.world_models.ensemble.settings import EnsembleSettings

LOG_VARIANCE = (-9.0, 1.0)
"""Bounds of ln v, in units of the normalised change."""
GRADIENT_NORM = 100.0
TOUCH_WEIGHT = 5.0
"""Weight of the cross-entropy of touches: they are rare, and imagined rewards stand on them."""


class Ensemble(WorldModel):
    """World model `ensemble`. `achieved_size` is L in environments with goals and 0 elsewhere."""

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

    def _encode(self, observation: Array) -> torch.Tensor:
        """`[n, H, D]` to what the input normaliser takes."""
        return self._moved(self.features.encode(observation))

    def _act(self, action: Array) -> torch.Tensor:
        """One-hot factors, or continuous actions scaled to [-1, 1]."""
        if self._eyes:
            chosen = np.concatenate([eye[action[:, factor]] for factor, eye in enumerate(self._eyes)], axis=1)
        else:
            chosen = ((action - self._middle) / self._half).astype(np.float32)
        return self._moved(chosen)

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
        encoded = self._encode(observation)
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
            inputs = torch.cat([self.inputs.apply(self._encode(observation)), self._act(action)], dim=1)
            mean, log_variance, rest = self._split(self.network(inputs.expand(self.settings.members, -1, -1)))
            deviation = self.changes.deviation
            change = mean.mean(dim=0) * deviation + self.changes.mean
            epistemic = mean.std(dim=0, correction=0) * deviation
            aleatoric = log_variance.exp().mean(dim=0).sqrt() * deviation
            if not self.achieved_size:
                rest = torch.stack([rest[..., 0], torch.sigmoid(rest[..., 1])], dim=-1).mean(dim=0)
            else:
                rest = torch.sigmoid(rest).mean(dim=0)
        return self._prediction(observation, change, epistemic, aleatoric, rest)

    def sample(self, observation: Array, action: Array, random: np.random.Generator) -> Prediction:
        """A possible next step: each row from one member, with noise of its deviation. The rows are dealt to the members at random, in
        equal parts, so that each row is computed once."""
        members, n = self.settings.members, len(observation)
        share = -(-n // members)
        order = random.permutation(members * share)
        rows = order % n
        with torch.inference_mode():
            inputs = torch.cat([self.inputs.apply(self._encode(observation[rows])), self._act(action[rows])], dim=1)
            outputs = self.network(inputs.view(members, share, -1)).reshape(members * share, -1)
            back = self._moved(np.argsort(order)[:n])
            mean, log_variance, rest = self._split(outputs[back])
            deviation = self.changes.deviation
            noise = self._moved(random.standard_normal(mean.shape, np.float32))
            spread = (0.5 * log_variance).exp()
            change = (mean + spread * noise) * deviation + self.changes.mean
            if not self.achieved_size:
                rest = torch.stack([rest[..., 0], torch.sigmoid(rest[..., 1])], dim=-1)
            else:
                rest = torch.sigmoid(rest)
        return self._prediction(observation, change, torch.zeros_like(mean), spread * deviation, rest)

    def draw(self, random: np.random.Generator) -> Predict:
        """The mean of one member, drawn at random."""
        member = int(random.integers(self.settings.members))

        def predict(observation: Array, action: Array) -> Prediction:
            with torch.inference_mode():
                inputs = torch.cat([self.inputs.apply(self._encode(observation)), self._act(action)], dim=1)
                outputs = self.network(inputs.expand(self.settings.members, -1, -1))[member]
                mean, log_variance, rest = self._split(outputs)
                deviation = self.changes.deviation
                if not self.achieved_size:
                    rest = torch.stack([rest[..., 0], torch.sigmoid(rest[..., 1])], dim=-1)
                else:
                    rest = torch.sigmoid(rest)
                change = mean * deviation + self.changes.mean
            return self._prediction(observation, change, torch.zeros_like(mean), (0.5 * log_variance).exp() * deviation, rest)

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
        """Mean over the components of E[(predicted change - change)^2] / Var[change], over `data`; components that never change there are
        left out. 1: no better than always predicting the mean change."""
        last = data.observation[:, -1]
        predicted = self.predict(data.observation, data.action).observation
        missed = self.features.difference(data.next_observation.astype(np.float32), predicted)
        variance = self.features.difference(last, data.next_observation).var(axis=0)
        moving = variance > 1e-12
        if not moving.any():
            return 0.0
        return float((np.square(missed[:, moving]).mean(axis=0) / variance[moving]).mean())

    # --- averaging and checkpoints --------------------------------------------------------------------------------------------------

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """`world_model`: all members' weights, then the sums of inputs and changes, without which the weights mean nothing."""
        return {"world_model": [self.network.vector, self.inputs.vector, self.changes.vector]}

    def _live(self) -> dict[str, torch.Tensor]:
        return {"network": self.network.vector, "inputs": self.inputs.vector, "changes": self.changes.vector}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Networks, moments, Adam's moments and counters."""
        counters = torch.tensor([self.fits, self.touch_fits])
        return self._live() | {"counters": counters} | self.adam.state("adam")

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state_dict` returned, in place. `ValueError` names what is missing or has another shape."""
        restore(self._live(), state)
        self.adam.load("adam", state)
        self.fits, self.touch_fits = state["counters"].tolist()
