"""Soft actor-critic with centralised twin critics, MASAC (Haarnoja et al., arXiv 1812.05905, with the critics of Lowe et al., arXiv
1706.02275); every agent has its own critics of the team, and its own temperature.

    y = r + discount * (1 - ended) * (min_k Q_target,k(s', u') - alpha ln pi_i(u'_i|o'_i))
        u'_j ~ pi_j(.|o'_j), of peers by their snapshots
    critics: sum over k of mean weight * (Q_k(s, u) - y)^2
    actor, continuous: mean of alpha ln pi_i(u_i|o_i) - min_k Q_k(s, u),  u_i = tanh(mean + sd * eps)
    actor, discrete: mean of sum over u_i of pi_i(u_i|o_i) (alpha ln pi_i(u_i|o_i) - min_k Q_k(s, u))
    temperature: d ln(alpha) proportional to (target entropy - entropy of pi_i)

Target entropy: minus the number of components (continuous), or `target_entropy` * ln(number of legal choices), its mean over the batch.

Averaged with neighbours: `policy` the actor with ln(alpha), `critic` the critics with their targets. A snapshot is the actor.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log, pi

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from agent_node.contracts import Array, Batch, Metrics, PolicyOutput, PolicySpec, State
from agent_node.learners.library.flat_networks import StackedMLP, policy_inputs
from agent_node.learners.library.optimisers import Adam
from agent_node.learners.team.centralised_critic import CentralisedCriticLearner, CriticStep
from agent_node.learners.team.settings import MASACSettings
from agent_node.learners.team.team_networks import DiscreteActions

LEAST, MOST = -5.0, 2.0
"""bounds of the log standard deviation"""


def squashed(outputs: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """From `outputs[B, 2 A]`, means and log standard deviations: actions tanh(x) in [-1, 1], `[B, A]`, with x normal, and their log
    density `[B]`: ln N(x) - sum of 2 (ln 2 - x - softplus(-2 x))."""
    mean, logarithm = outputs.chunk(2, dim=1)
    logarithm = logarithm.clamp(LEAST, MOST)
    noise = torch.randn(mean.shape, generator=generator).to(mean.device)
    raw = mean + logarithm.exp() * noise
    density = -0.5 * noise.square() - logarithm - 0.5 * log(2 * pi) - 2 * (log(2) - raw - functional.softplus(-2 * raw))
    return torch.tanh(raw), density.sum(dim=1)


class MASAC(CentralisedCriticLearner):
    """Learner `masac`; `rows` copies act at once."""

    settings: MASACSettings

    def __init__(self, settings: MASACSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None) -> None:
        super().__init__(settings, policy_spec, seed, initial, critics=2, outputs_per_action=2)
        self.log_temperature = torch.tensor([log(settings.temperature)], device=self.device)
        self.temperature_gradient = torch.zeros(1, device=self.device)
        temperature_adam = Adam(self.log_temperature, self.temperature_gradient, settings.actor_learning_rate, settings.max_grad_norm)
        self.optimisers = {"actor_adam": self.actor_adam, "critic_adam": self.critic_adam, "temperature_adam": temperature_adam}

    def act(
        self, observations: Array, goals: Array, rows: NDArray[np.int64] | None, first: NDArray[np.bool_], explore: bool
    ) -> PolicyOutput:
        """Exploring: drawn from the policy; else its mean (continuous), or its most probable choice (discrete)."""
        own = self.actions[self.own]
        with torch.inference_mode():
            inputs = policy_inputs(observations, goals, self.device)
            outputs = self.actor(inputs)
            if explore:
                chosen = self._draw(self.own, outputs, inputs, self.noise)[0]
            else:
                chosen = own.best(outputs if isinstance(own, DiscreteActions) else outputs.chunk(2, dim=1)[0], inputs)
        return PolicyOutput(own.outward(chosen))

    def _draw(
        self, member: int, outputs: torch.Tensor, observation: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Actions `[B, width]` of a member's policy, and their log-probability (discrete) or log density `[B]`."""
        actions = self.actions[member]
        if not isinstance(actions, DiscreteActions):
            return squashed(outputs, generator)
        chosen = actions.sample(outputs, observation, generator)
        return chosen, (chosen * actions.logits(outputs, observation)).sum(dim=1)

    def peer_action(self, member: int, observation: torch.Tensor) -> torch.Tensor:
        """Drawn from the policy of the peer's snapshot."""
        return self._draw(member, self.peers[member][0](observation), observation, self.update_noise)[0]

    def learn(self, batch: Batch) -> Metrics:
        """One gradient update of critics, actor and temperature, and one of the targets. Metrics: `loss`, `policy_loss`, `value`, `entropy`
        (nats), `temperature`."""
        step = self.critic_step(batch := batch.to(self.device))
        following = step.joint.next_observation[self.own]
        with torch.no_grad():
            alpha = self.log_temperature.exp()
            own_action, density = self._draw(self.own, self.actor(following), following, self.update_noise)
            acts = step.joint.active[:, self.own] * (1 - step.joint.terminated[:, self.own])
            target = self.target(step, own_action, -alpha * acts * density)
        loss, value = self.fit_critics(step, target)
        policy_loss, surplus, entropy = self._improve(step, alpha)
        self.temperature_gradient[0] = surplus
        self.optimisers["temperature_adam"].step()
        self.critic_targets.vector.lerp_(self.critics.vector, self.settings.tau)
        self.updates += 1
        return {
            "loss": loss.item(), "policy_loss": policy_loss, "value": value.mean().item(), "entropy": entropy, "temperature": alpha.item(),
        }  # fmt: skip

    def _improve(self, step: CriticStep, alpha: torch.Tensor) -> tuple[float, float, float]:
        """The actor's loss, its entropy beyond the target entropy, and its entropy: means over the steps in which the agent was active."""
        own, observation, active = self.actions[self.own], step.joint.observation[self.own], step.joint.active[:, self.own]
        outputs, actions, count = self.actor(observation), self.current_actions(step), active.sum().clamp(min=1)
        if isinstance(own, DiscreteActions):
            log_pi = own.logits(outputs, observation)
            probability = log_pi.exp()
            loss = (probability * (alpha * log_pi - self._choice_values(step, actions))).sum(dim=1)
            entropy = -(probability * log_pi).sum(dim=1).detach()
            legal = own.choices.legal(observation)
            most = log(own.width) if legal is None else legal.sum(dim=1).log()
            wanted: torch.Tensor | float = self.settings.target_entropy * most
        else:
            actions[self.own], density = squashed(outputs, self.update_noise)
            loss = alpha * density - self.joint_values(self.critics, step.state, actions, step.joint.active).amin(dim=0)
            entropy, wanted = -density.detach(), -float(own.width)
        policy_loss = self.improve_actor((active * loss).sum() / count)
        surplus = (active * (entropy - wanted)).sum() / count
        return policy_loss, surplus.item(), ((active * entropy).sum() / count).item()

    @torch.no_grad()
    def _choice_values(self, step: CriticStep, actions: list[torch.Tensor]) -> torch.Tensor:
        """min_k Q_k(s, u), `[B, choices]`, for each choice of the agent's own beside the same actions of the others."""
        own, rows, values = self.own, len(step.state), []
        for choice in torch.eye(self.actions[own].width, device=self.device):
            joint = [choice.expand(rows, -1) if member == own else action for member, action in enumerate(actions)]
            values.append(self.joint_values(self.critics, step.state, joint, step.joint.active).amin(dim=0))
        return torch.stack(values, dim=1)

    def shared_networks(self) -> list[StackedMLP]:
        """The actor."""
        return [self.actor]

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """`policy`: the actor, then ln(alpha); `critic`: the critics, then their targets."""
        return {"policy": [self.actor.vector, self.log_temperature], "critic": [self.critics.vector, self.critic_targets.vector]}

    def live(self) -> State:
        """All networks, those of the peers included, and ln(alpha)."""
        networks = {name: getattr(self, name).vector for name in ("actor", "critics", "critic_targets")}
        return networks | {"log_temperature": self.log_temperature} | self.peer_state()
