"""The behaviour in the data as a categorical model, how far policies are from it, and the actor-critic that learns beside it.

    b(a|o) = softmax of a network, minimises mean weight * (-ln b(a|o)) over the actions of each batch
    KL(pi || b) = sum_a pi(a|o) (ln pi(a|o) - ln b(a|o))
    MMD^2(pi, b) = (1 - k) |pi(.|o) - b(.|o)|^2

The latter is the squared maximum mean discrepancy E k(x, x') - 2 E k(x, y) + E k(y, y') of actions x, x' ~ pi and y, y' ~ b under a kernel
that is 1 for equal and k = exp(-1 / sigma) for different actions, as Laplacian and Gaussian kernels of one-hot actions are.

All sums are over the legal actions. The model is part of the group `behaviour`: averaged over edges, it comes near to the behaviour in the
data of all agents.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp
from typing import ClassVar

import torch

from agent_node.contracts import Batch, Metrics, PolicySpec, State
from agent_node.learners.discrete_sac import DiscreteSAC
from agent_node.learners.library.joint_actions import JointAction
from agent_node.learners.library.network_architectures import network_of
from agent_node.learners.library.optimisers import Adam
from agent_node.learners.offline.settings import BehaviourSACSettings
from agent_node.learners.settings import NetworkSettings


class BehaviourModel:
    """b(a|o) over joint actions, with its optimiser. `generator`: first parameters."""

    def __init__(self, settings: NetworkSettings, policy_spec: PolicySpec, actions: JointAction, generator: torch.Generator) -> None:
        shape = settings.network, policy_spec, settings.hidden, actions.count
        self.network = network_of(*shape, generator, 0.01, actions.strides.device, members=1)
        self.adam = Adam(self.network.vector, self.network.gradient, settings.learning_rate, settings.max_grad_norm)
        self._actions = actions

    def logarithm(self, state: torch.Tensor) -> torch.Tensor:
        """ln b(.|o), `[n, choices]`, about -1e9 for illegal actions, of `state[n, F + goal]`."""
        return self._actions.masked(self.network(state), state).log_softmax(dim=1)

    def fit(self, state: torch.Tensor, action: torch.Tensor, weight: torch.Tensor) -> float:
        """One gradient update from the actions `[B, A]` with their weights `[B]`; the loss before."""
        logarithm = self.logarithm(state).gather(1, self._actions.index(action).unsqueeze(1)).squeeze(1)
        loss = -(weight * logarithm).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        self.adam.step()
        return loss.item()


def kl_divergence(log_pi: torch.Tensor, log_b: torch.Tensor) -> torch.Tensor:
    """KL(pi || b), `[n]`, from logarithms of probabilities `[n, choices]`."""
    return (log_pi.exp() * (log_pi - log_b)).sum(dim=1)


def squared_mmd(log_pi: torch.Tensor, log_b: torch.Tensor, kernel_width: float) -> torch.Tensor:
    """MMD^2(pi, b), `[n]`, from logarithms of probabilities `[n, choices]`; `kernel_width`: sigma."""
    return (1 - exp(-1 / kernel_width)) * (log_pi.exp() - log_b.exp()).square().sum(dim=1)


class BehaviourSAC(DiscreteSAC):
    """Discrete SAC which fits models of the behaviour to each batch before it learns from it. `seed`: exploration; `initial`: first
    parameters (default: `seed` too)."""

    models: ClassVar[tuple[str, ...]] = ("behaviour",)
    """names of the models in metrics and checkpoints"""

    def __init__(self, settings: BehaviourSACSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None) -> None:
        super().__init__(settings, policy_spec, rows, seed, initial)
        generator = torch.Generator().manual_seed((seed if initial is None else initial) + 1)
        self.behaviours = {name: BehaviourModel(settings, policy_spec, self.actions, generator) for name in self.models}
        self.optimisers |= {f"{name}_adam": model.adam for name, model in self.behaviours.items()}

    def learn(self, batch: Batch) -> Metrics:
        """One gradient update of each model of the behaviour, then of each part of SAC. Metrics: those of `discrete_sac`, and
        `NAME_loss`: the mean of -ln b(a|o) of each model."""
        batch = batch.to(self.device)
        state = torch.cat([batch.observation, batch.goal], dim=1)
        weights = self._model_weights(batch)
        losses = {f"{name}_loss": model.fit(state, batch.action, weights[name]) for name, model in self.behaviours.items()}
        return losses | super().learn(batch)

    def _model_weights(self, batch: Batch) -> dict[str, torch.Tensor]:
        """By model the weights `[B]` of the batch's actions."""
        return dict.fromkeys(self.models, batch.weight)

    @torch.no_grad()
    def _log_b(self, state: torch.Tensor, name: str = "behaviour") -> torch.Tensor:
        """ln b(.|o) of a model, `[n, choices]`, without gradient."""
        return self.behaviours[name].logarithm(state)

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """Those of `discrete_sac`, and `behaviour`: all models of the behaviour."""
        return {**super().parameter_groups(), "behaviour": [model.network.vector for model in self.behaviours.values()]}

    def live(self) -> State:
        """Networks, models and ln(alpha)."""
        return super().live() | {name: model.network.vector for name, model in self.behaviours.items()}
