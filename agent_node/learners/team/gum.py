"""Greedy unmixing, GUM: conservative QMIX (Siu, Traish, Xu, arXiv 2109.09034).

Utilities are values of their agents, learnt from the agents' own rewards, and the mixing network learns the value of the team beside them.
Both are conservative. For the agent i, with r_i its own reward and all else as in `value_mixing`:

    y_i = r_i / c + discount (1 - terminated_i) Q_target,i(o'_i, u'_i)
    c_ind = mean over the batch of ln sum_a exp Q_i(o_i, a) - Q_i(o_i, u_i)
    c_mix = mean over the batch of ln sum_a exp Q_tot(s, (a, u_-i)) - Q_tot(s, u)                       the others' actions as in the data
    loss = mean (Q_tot(s, u) - y)^2 + mean (Q_i(o_i, u_i) - y_i)^2 + w_ind c_ind + w_mix c_mix
    w_ind = (1 / c_ind) / (1 / c_ind + 1 / c_mix),   w_mix = 1 - w_ind,   without gradient

Sums are over the legal actions, and both gaps are positive. The weights are inverse to the gaps, so that neither has most of the gradient.
The published method averages the terms of c_mix over the agents; here each agent's copy of the networks learns from its own term.

Averaged with neighbours, and snapshots: as of `qmix`.
"""

from __future__ import annotations

import torch

from agent_node.contracts import Batch, JointSteps, Metrics
from agent_node.learners.team.settings import GUMSettings
from agent_node.learners.team.team_networks import state
from agent_node.learners.team.value_mixing import QMIX

LEAST_GAP = 1e-6
"""gaps count as no smaller in the weights"""


class GUM(QMIX):
    """Learner `gum`; `rows` copies act at once. Metrics: those of `qmix`, `individual_loss`, `individual_gap`, `mixed_gap` and
    `individual_weight`."""

    settings: GUMSettings

    def _further_loss(
        self, batch: Batch, joint: JointSteps, values: torch.Tensor, value: torch.Tensor, scale: float
    ) -> tuple[torch.Tensor | None, Metrics]:
        own, seen, choices = self.own, joint.observation[self.own], self.choices[self.own].choices
        counts = batch.weight * joint.active[:, own]
        with torch.no_grad():
            following = self.settings.discount * (1 - joint.terminated[:, own]) * self._own_next_value(joint)
            target = batch.reward / scale + following
        individual = (counts * (values[:, own] - target).square()).mean()

        utilities: torch.Tensor = self.utility(seen)
        gap = (counts * (choices.masked(utilities, seen).logsumexp(dim=1) - values[:, own])).mean()
        alternatives = (values * joint.active * self._mixed_members()).unsqueeze(1).repeat(1, utilities.shape[1], 1)
        alternatives[:, :, own] = utilities
        mixed = self.mixed_alternatives(alternatives, state(joint.observation, joint.active), False)
        mixed_gap = (counts * (choices.masked(mixed, seen).logsumexp(dim=1) - value)).mean()

        inverse = [1 / max(one.item(), LEAST_GAP) for one in (gap, mixed_gap)]
        share = inverse[0] / sum(inverse)
        metrics = {"individual_loss": individual.item(), "individual_gap": gap.item(), "mixed_gap": mixed_gap.item()}
        return individual + share * gap + (1 - share) * mixed_gap, metrics | {"individual_weight": share}

    def _own_next_value(self, joint: JointSteps) -> torch.Tensor:
        """Q_target,i(o'_i, u'_i), `[B]`."""
        following = joint.next_observation[self.own]
        best = self.choices[self.own].choices.masked(self.utility(following), following).argmax(dim=1, keepdim=True)
        value: torch.Tensor = self.utility_target(following).gather(1, best).squeeze(1)
        return value
