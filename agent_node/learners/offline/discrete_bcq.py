"""Batch-constrained Q-learning for discrete actions, BCQ (Fujimoto et al., arXiv 1910.01708; rows "IQL+BCQ").

    allowed(s) = {a: b(a|s) >= threshold * max_a' b(a'|s)},    b: a model of the behaviour in the data (`behaviour_model`)
    y = r + discount^m * (1 - terminated) * Q_target(s', argmax over allowed(s') of Q(s', a))

Policy: argmax over allowed(s) of Q. All else as in `double_dqn`.

Averaged with neighbours: `critic` as in `double_dqn`, `behaviour`: the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log

import torch

from agent_node.contracts import Batch, Metrics, PolicySpec, State
from agent_node.learners.double_dqn import DoubleDQN
from agent_node.learners.library.action_distributions import ILLEGAL
from agent_node.learners.offline.behaviour_model import BehaviourModel
from agent_node.learners.offline.settings import DiscreteBCQSettings


class DiscreteBCQ(DoubleDQN):
    """Learner `discrete_bcq`; parameters as of `double_dqn`."""

    def __init__(self, settings: DiscreteBCQSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None) -> None:
        super().__init__(settings, policy_spec, rows, seed, initial)
        generator = torch.Generator().manual_seed((seed if initial is None else initial) + 1)
        self.behaviour = BehaviourModel(settings, policy_spec, self.actions, generator)
        self.optimisers |= {"behaviour_adam": self.behaviour.adam}
        self.least = log(settings.threshold) if settings.threshold else float("-inf")
        """of ln b(a|s) - max ln b(a'|s)"""

    def learn(self, batch: Batch) -> Metrics:
        """One gradient update of the model, then of Q. Metrics: those of `double_dqn`, and `behaviour_loss`: the mean of -ln b(a|s)."""
        batch = batch.to(self.device)
        state = torch.cat([batch.observation, batch.goal], dim=1)
        return {"behaviour_loss": self.behaviour.fit(state, batch.action, batch.weight)} | super().learn(batch)

    def _allowed(self, q: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            logarithm = self.behaviour.logarithm(state)
        unlikely = logarithm - logarithm.amax(dim=1, keepdim=True) < self.least
        return super()._allowed(q, state).masked_fill(unlikely, ILLEGAL)

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """`critic` of `double_dqn`, and `behaviour`: the model's network."""
        return {**super().parameter_groups(), "behaviour": [self.behaviour.network.vector]}

    def live(self) -> State:
        """All networks."""
        return super().live() | {"behaviour": self.behaviour.network.vector}
