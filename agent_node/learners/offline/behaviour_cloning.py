"""Behaviour cloning: the policy repeats the actions in the data (Pomerleau, Neural Computation 3(1), 1991).

    discrete actions:    minimise mean weight * (-ln pi(a|o)),             pi = softmax of a network
    continuous actions:  minimise mean weight * |tanh(actor(o)) - a|^2,    a in [-1, 1]^A

Evaluations take the likeliest action. Exploring, discrete actions are drawn from pi; continuous ones are the policy's own.

Averaged with neighbours: `policy`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Array, Batch, Learner, Metrics, PolicyOutput, PolicySpec, State
from agent_node.learners.library.action_bounds import ActionBounds
from agent_node.learners.library.devices import device_of
from agent_node.learners.library.flat_networks import policy_inputs
from agent_node.learners.library.joint_actions import JointAction
from agent_node.learners.library.network_architectures import network_of
from agent_node.learners.library.optimisers import Adam, FlatComponent
from agent_node.learners.offline.settings import BehaviourCloningSettings


class BehaviourCloning(FlatComponent, Learner):
    """Learner `bc`. `seed`: exploration; `initial`: first parameters (default: `seed` too)."""

    def __init__(
        self, settings: BehaviourCloningSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None
    ) -> None:
        self.settings = settings
        self.device = device_of(settings.device, "agents.learner.device")
        actions = JointAction if policy_spec.actions else ActionBounds
        self.actions: JointAction | ActionBounds = actions(policy_spec, settings.kind, self.device)
        outputs = self.actions.size if isinstance(self.actions, ActionBounds) else self.actions.count
        generator = torch.Generator().manual_seed(seed if initial is None else initial)
        self.policy = network_of(settings.network, policy_spec, settings.hidden, outputs, generator, 0.01, self.device, members=1)
        self.adam = Adam(self.policy.vector, self.policy.gradient, settings.learning_rate, settings.max_grad_norm)
        self.optimisers = {"adam": self.adam}
        self.updates = 0
        self._random = np.random.default_rng(seed)

    def act(
        self, observations: Array, goals: Array, rows: NDArray[np.int64] | None, first: NDArray[np.bool_], explore: bool
    ) -> PolicyOutput:
        """The likeliest joint actions, or exploring drawn ones; continuous ones are tanh(actor) in both cases."""
        with torch.inference_mode():
            inputs = policy_inputs(observations, goals, self.device)
            outputs = self.policy(inputs)
            if isinstance(self.actions, ActionBounds):
                return PolicyOutput(self.actions.outward(torch.tanh(outputs)))
            logits: NDArray[np.float32] = self.actions.masked(outputs, inputs).cpu().numpy()
        noise = self._random.gumbel(size=logits.shape) if explore else 0.0
        return PolicyOutput(self.actions.table[(logits + noise).argmax(axis=1)])

    def learn(self, batch: Batch) -> Metrics:
        """One gradient update; metric `loss`."""
        batch = batch.to(self.device)
        state = torch.cat([batch.observation, batch.goal], dim=1)
        outputs = self.policy(state)
        if isinstance(self.actions, ActionBounds):
            losses = (torch.tanh(outputs) - self.actions.inward(batch.action)).square().sum(dim=1)
        else:
            index = self.actions.index(batch.action).unsqueeze(1)
            losses = -self.actions.masked(outputs, state).log_softmax(dim=1).gather(1, index).squeeze(1)
        loss = (batch.weight * losses).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        self.adam.step()
        self.updates += 1
        return {"loss": loss.item()}

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """`policy`: its network."""
        return {"policy": [self.policy.vector]}

    def live(self) -> State:
        """The network."""
        return {"policy": self.policy.vector}
