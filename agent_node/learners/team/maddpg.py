"""Multi-agent deep deterministic policy gradient, MADDPG (Lowe et al., arXiv 1706.02275); every agent has its own critic of the team.

    y = r + discount * (1 - ended) * Q_target(s', u'),     u'_i = mu_target,i(o'_i) of the agent, of peers by their snapshots
    critic: mean of weight * (Q(s, u) - y)^2
    actor: -mean Q(s, u with u_i = mu_i(o_i)) + output_penalty * mean of outputs^2
    targets <- targets + tau * (networks - targets)

Continuous actions: mu(o) = tanh(outputs). In training Ornstein-Uhlenbeck noise x is added and the sum clipped to [-1, 1]:
x <- x - theta x + sigma N(0, 1), 0 at the start of an episode, times noise_scale * max(0, 1 - own training episodes / noise_episodes).
Each agent and each copy has a process of its own.

Discrete actions: mu(o) is the one-hot of the largest output; the actor's own action in its loss is a straight-through Gumbel-softmax
sample, and in training actions are drawn from softmax(outputs).

Averaged with neighbours: `policy` the actor with its target, `critic` the critic with its target. A snapshot is the target actor.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Array, Batch, Metrics, PolicyOutput, PolicySpec, State
from agent_node.learners.library.flat_networks import StackedMLP, policy_inputs
from agent_node.learners.library.optimisers import remaining
from agent_node.learners.team.centralised_critic import CentralisedCriticLearner, CriticStep
from agent_node.learners.team.settings import MADDPGSettings
from agent_node.learners.team.team_networks import DiscreteActions


class MADDPG(CentralisedCriticLearner):
    """Learner `maddpg`; `rows` copies act at once."""

    settings: MADDPGSettings
    counters = ("updates", "episodes")

    def __init__(self, settings: MADDPGSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None) -> None:
        super().__init__(settings, policy_spec, seed, initial, critics=1, outputs_per_action=1)
        self.actor_target = self.policy_network(self.own, settings.hidden, self.actor.biases[-1].shape[-1], self.initial)
        self.actor_target.vector.copy_(self.actor.vector)
        self.optimisers = {"actor_adam": self.actor_adam, "critic_adam": self.critic_adam}
        self.disturbance = torch.zeros(rows, self.actions[self.own].width)
        """x of each copy"""
        self.episodes = 0
        """training episodes that it began"""

    def act(
        self, observations: Array, goals: Array, rows: NDArray[np.int64] | None, first: NDArray[np.bool_], explore: bool
    ) -> PolicyOutput:
        """Exploring: with noise (continuous), or drawn from the policy (discrete); else the policy's own."""
        own = self.actions[self.own]
        with torch.inference_mode():
            inputs = policy_inputs(observations, goals, self.device)
            outputs = self.actor(inputs)
            if explore and isinstance(own, DiscreteActions):
                chosen = own.sample(outputs, inputs, self.noise)
            else:
                chosen = own.best(outputs, inputs)
                if explore and rows is not None:
                    chosen = (chosen + self._disturbed(rows, first).to(self.device)).clamp(-1, 1)
        return PolicyOutput(own.outward(chosen))

    def _disturbed(self, rows: NDArray[np.int64], first: NDArray[np.bool_]) -> torch.Tensor:
        """Noise of the next step of the copies `rows`."""
        settings = self.settings
        self.episodes += int(first.sum())
        noise = self.disturbance[rows]
        noise[first] = 0
        noise = (1 - settings.noise_theta) * noise + settings.noise_sigma * torch.randn(noise.shape, generator=self.noise)
        self.disturbance[rows] = noise
        return settings.noise_scale * remaining(min(self.episodes, settings.noise_episodes), settings.noise_episodes) * noise

    def peer_action(self, member: int, observation: torch.Tensor) -> torch.Tensor:
        """mu of the peer's snapshot."""
        return self._best(member, self.peers[member][0], observation)

    def _best(self, member: int, actor: StackedMLP, observation: torch.Tensor) -> torch.Tensor:
        return self.actions[member].best(actor(observation), observation)

    def learn(self, batch: Batch) -> Metrics:
        """One gradient update of critic and actor, and one of the targets. Metrics: `loss`, `policy_loss`, `value` (mean Q of the actions
        taken), `target`."""
        step = self.critic_step(batch := batch.to(self.device))
        with torch.no_grad():
            target = self.target(step, self._best(self.own, self.actor_target, step.joint.next_observation[self.own]))
        loss, value = self.fit_critics(step, target)
        policy_loss = self._improve(step)
        for network, following in ((self.actor, self.actor_target), (self.critics, self.critic_targets)):
            following.vector.lerp_(network.vector, self.settings.tau)
        self.updates += 1
        return {"loss": loss.item(), "policy_loss": policy_loss, "value": value.mean().item(), "target": target.mean().item()}

    @torch.no_grad()
    def _improve(self, step: CriticStep) -> float:
        """One gradient update of the actor, by hand; its loss before."""
        own, observation, active = self.own, step.joint.observation[self.own], step.joint.active[:, self.own]
        (outputs,), trace = self.actor.run(observation)
        actions = self.current_actions(step)
        actions[own], pullback = self.actions[own].relaxed(outputs, observation, self.update_noise)
        values, critic_trace = self.critics.run(self.critic_inputs(step.state, actions, step.joint.active))
        share = (active / len(active)).unsqueeze(1)
        by_inputs = self.critics.back(critic_trace, -share.unsqueeze(0), "inputs")[0]
        start = self.state_width + sum(one.width for one in self.actions[:own])
        penalty = self.settings.output_penalty
        slope = pullback(by_inputs[:, start : start + self.actions[own].width]) + share * outputs * (2 * penalty / outputs.shape[1])
        self.actor.back(trace, slope.unsqueeze(0), "parameters")
        self.actor_adam.step()
        return float((share * (penalty * outputs.square().mean(dim=1, keepdim=True) - values[0])).sum())

    def shared_networks(self) -> list[StackedMLP]:
        """The target actor."""
        return [self.actor_target]

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """`policy`: the actor, then its target; `critic`: the critic, then its target."""
        return {
            "policy": [self.actor.vector, self.actor_target.vector],
            "critic": [self.critics.vector, self.critic_targets.vector],
        }

    def live(self) -> State:
        """All networks, those of the peers included, and the noise."""
        names = ("actor", "actor_target", "critics", "critic_targets")
        return {name: getattr(self, name).vector for name in names} | {"disturbance": self.disturbance} | self.peer_state()
