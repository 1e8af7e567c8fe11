"""What replay learners of a policy over the joint discrete action with twin critics have in common: networks, acting, values.

pi(a|s) = softmax over the legal actions of a network;  Q_k(s, .), k = 1, 2, each with a target network
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Array, Batch, PolicyOutput, PolicySpec, State
from agent_node.learners.library.flat_networks import policy_inputs
from agent_node.learners.library.joint_actions import JointActionLearner
from agent_node.learners.library.network_architectures import network_of
from agent_node.learners.library.optimisers import Adam, RMSProp
from agent_node.learners.settings import DiscreteActorCriticSettings


class DiscreteActorCritic(JointActionLearner):
    """`rows` copies act at once. `seed`: exploration; `initial`: first parameters (default: `seed` too)."""

    def __init__(
        self, settings: DiscreteActorCriticSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None
    ) -> None:
        super().__init__(settings, policy_spec, rows, seed)
        self.settings = settings
        generator = torch.Generator().manual_seed(seed if initial is None else initial)
        shape = settings.network, policy_spec, settings.hidden, self.actions.count
        self.policy = network_of(*shape, generator, 0.01, self.device, members=1)
        self.critics, self.targets = (network_of(*shape, generator, 1.0, self.device, members=2) for _ in range(2))
        self.targets.vector.copy_(self.critics.vector)
        rate, norm = settings.learning_rate, settings.max_grad_norm
        self.optimisers: dict[str, Adam | RMSProp] = {
            "policy_adam": Adam(self.policy.vector, self.policy.gradient, rate, norm),
            "critic_adam": Adam(self.critics.vector, self.critics.gradient, rate, norm),
        }

    def act(
        self, observations: Array, goals: Array, rows: NDArray[np.int64] | None, first: NDArray[np.bool_], explore: bool
    ) -> PolicyOutput:
        """Exploring: joint actions drawn from the policy (and held random ones, where configured); else its most probable ones."""
        with torch.inference_mode():
            inputs = policy_inputs(observations, goals, self.device)
            if not explore:
                return PolicyOutput(self.actions.table[self._best(inputs).cpu().numpy()])
            logits: NDArray[np.float32] = self.actions.masked(self.policy(inputs), inputs).cpu().numpy()
        chosen = (logits + self.random.gumbel(size=logits.shape)).argmax(axis=1)
        if rows is not None:
            chosen = self.exploration.apply(chosen, rows, first, self.legal(inputs))
        return PolicyOutput(self.actions.table[chosen])

    def _best(self, state: torch.Tensor) -> torch.Tensor:
        """The actions of evaluations `[n]`: the most probable ones."""
        return self.actions.masked(self.policy(state), state).argmax(dim=1)

    def _log_pi(self, state: torch.Tensor) -> torch.Tensor:
        """ln pi(a|s) `[B, choices]`, about -1e9 for illegal actions."""
        return self.actions.masked(self.policy(state), state).log_softmax(dim=1)

    def _taken(self, q: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Q_k(s, a) `[2, B]` of `action[B, A]`, from `q[2, B, choices]`."""
        return q.gather(2, self.actions.index(action).expand(2, -1).unsqueeze(2)).squeeze(2)

    def _value(self, batch: Batch) -> torch.Tensor:
        state = torch.cat([batch.observation, batch.goal], dim=1)
        return self._taken(self.critics(state.expand(2, -1, -1)), batch.action)

    def _probability(self, state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """pi(a|s)."""
        probability: torch.Tensor = self.actions.masked(self.policy(state), state).softmax(dim=1).gather(1, action.unsqueeze(1)).squeeze(1)
        return probability

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """`policy`: the actor; `critic`: critics, then their targets."""
        return {"policy": [self.policy.vector], "critic": [self.critics.vector, self.targets.vector]}

    def live(self) -> State:
        """All networks."""
        return {"policy": self.policy.vector, "critics": self.critics.vector, "targets": self.targets.vector}
