"""Twin delayed deep deterministic policy gradient, TD3, for continuous actions (Fujimoto et al., arXiv 1802.09477).

    a'(s') = clip(mu_target(s') + clip(eps, -c, c), -1, 1),  eps ~ N(0, target_noise^2), c = target_noise_clip      target smoothing
    y = r + discount (1 - terminated) min_k Q_target,k(s', a'(s'))                                                twin critics
    critics: sum over k of mean weight * (Q_k(s, a) - y)^2
    after every `policy_delay` updates of the critics:
        actor: -mean Q_1(s, mu(s))
        targets <- targets + tau * (networks - targets), of the actor and the critics

with mu(s) = tanh(actor(s)) in [-1, 1]^A. In training actions are clip(mu(s) + N(0, exploration_noise^2), -1, 1).

Averaged with neighbours: `policy` is the actor with its target, `critic` both critics with their targets (as in `double_dqn`). Adam's
moments and the number of updates, which sets the delay, stay the agent's own.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Array, Batch, Learner, Metrics, PolicyOutput, PolicySpec, State
from agent_node.learners.library.action_bounds import ActionBounds
from agent_node.learners.library.devices import device_of
from agent_node.learners.library.flat_networks import StackedMLP, policy_inputs
from agent_node.learners.library.network_architectures import EncodedNetwork, network_of
from agent_node.learners.library.optimisers import Adam, FlatComponent
from agent_node.learners.settings import DeterministicActorCriticSettings


class TD3(FlatComponent, Learner):
    """Learner `td3`. `seed`: exploration and target noise; `initial`: first parameters (default: `seed` too)."""

    counters = ("updates", "acted")

    def __init__(
        self, settings: DeterministicActorCriticSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None
    ) -> None:
        self.settings = settings
        self.device = device_of(settings.device, "agents.learner.device")
        self.bounds = ActionBounds(policy_spec, settings.kind, self.device)
        shape, actions = (settings.network, policy_spec, settings.hidden), self.bounds.size
        generator = torch.Generator().manual_seed(seed if initial is None else initial)
        self.actor, self.actor_target = (network_of(*shape, actions, generator, 0.01, self.device, members=1) for _ in range(2))
        self.critics, self.critic_targets = (
            network_of(*shape, 1, generator, 1.0, self.device, members=2, behind=actions) for _ in range(2)
        )
        self.actor_target.vector.copy_(self.actor.vector)
        self.critic_targets.vector.copy_(self.critics.vector)
        rate, norm = settings.learning_rate, settings.max_grad_norm
        self.actor_adam = Adam(self.actor.vector, self.actor.gradient, rate, norm)
        self.critic_adam = Adam(self.critics.vector, self.critics.gradient, rate, norm)
        self.optimisers = {"actor_adam": self.actor_adam, "critic_adam": self.critic_adam}
        self.updates = 0
        self.acted = 0
        """rows in which it has explored"""
        self._random = np.random.default_rng(seed)
        self._explore = torch.Generator().manual_seed(seed)
        self._smoothing = torch.Generator().manual_seed(seed + 1)

    def act(
        self, observations: Array, goals: Array, rows: NDArray[np.int64] | None, first: NDArray[np.bool_], explore: bool
    ) -> PolicyOutput:
        """Exploring: uniform actions in the first `random_steps` rows, then the policy's with noise. Else the policy's own."""
        if explore and rows is not None:
            self.acted += len(observations)
            if self.acted <= self.settings.random_steps:
                return PolicyOutput(self.bounds.uniform(len(observations), self._random))
        with torch.inference_mode():
            chosen = torch.tanh(self.actor(policy_inputs(observations, goals, self.device)))
            if explore:
                noise = torch.randn(chosen.shape, generator=self._explore).to(self.device)
                chosen = (chosen + self.settings.exploration_noise * noise).clamp(-1, 1)
        return PolicyOutput(self.bounds.outward(chosen))

    def learn(self, batch: Batch) -> Metrics:
        """One gradient update of the critics and, after every `policy_delay` of them, one of the actor and the targets. Metrics: `loss`,
        `value` (mean Q of the actions taken), `target`, and at updates of the actor `policy_loss`."""
        batch = batch.to(self.device)
        state = torch.cat([batch.observation, batch.goal], dim=1)
        value, target = self._value(batch), self._target(batch)
        loss, metrics = self._critic_loss(batch, state, value, target)
        loss.backward()  # type: ignore[no-untyped-call]
        self.critic_adam.step()
        self.updates += 1
        metrics |= {"loss": loss.item(), "value": value.mean().item(), "target": target.mean().item()}
        if self.updates % self.settings.policy_delay == 0:
            metrics["policy_loss"] = self._improve(batch, state)
            for network, following in ((self.actor, self.actor_target), (self.critics, self.critic_targets)):
                following.vector.lerp_(network.vector, self.settings.tau)
        return metrics

    def _critic_loss(self, batch: Batch, state: torch.Tensor, value: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, Metrics]:
        """Loss of Q_k(s, a) `value[2, B]` against y `target[B]`, and metrics of its parts."""
        return (batch.weight * (value - target).square()).mean(dim=1).sum(), {}

    def _actor_loss(self, batch: Batch, state: torch.Tensor, action: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """What the actor minimises, from mu(s) `action[B, A]` and Q_1(s, mu(s)) `value[B]`."""
        return -value.mean()

    def _improve(self, batch: Batch, state: torch.Tensor) -> float:
        """One gradient update of the actor; its loss before."""
        action = torch.tanh(self.actor(state))
        self.critics.requires_grad_(False)  # only the actor follows this loss
        value = self.critics.first(torch.cat([state, action], dim=1)).squeeze(1)
        loss = self._actor_loss(batch, state, action, value)
        loss.backward()  # type: ignore[no-untyped-call]
        self.critics.requires_grad_(True)
        self.actor_adam.step()
        return loss.item()

    @staticmethod
    def _q(network: StackedMLP | EncodedNetwork, state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Q_k(s, a), `[2, B]`."""
        values: torch.Tensor = network(torch.cat([state, action], dim=1).expand(2, -1, -1))
        return values.squeeze(2)

    def _value(self, batch: Batch) -> torch.Tensor:
        return self._q(self.critics, torch.cat([batch.observation, batch.goal], dim=1), self.bounds.inward(batch.action))

    @torch.no_grad()
    def _target(self, batch: Batch, smoothing: bool = True) -> torch.Tensor:
        """y, `[B]`; without `smoothing` at the target policy's own actions."""
        settings, following = self.settings, torch.cat([batch.next_observation, batch.goal], dim=1)
        action = torch.tanh(self.actor_target(following))
        if smoothing:
            noise = settings.target_noise * torch.randn(action.shape, generator=self._smoothing).to(self.device)
            action = (action + noise.clamp(-settings.target_noise_clip, settings.target_noise_clip)).clamp(-1, 1)
        next_value = self._q(self.critic_targets, following, action).amin(dim=0)
        return batch.reward + settings.discount * (1 - batch.terminated) * next_value

    def td_errors(self, batch: Batch) -> NDArray[np.float32]:
        """|Q(s, a) - y| of each transition, `[B]`, the mean over both critics; y without target noise."""
        batch = batch.to(self.device)
        with torch.inference_mode():
            error = (self._value(batch) - self._target(batch, smoothing=False)).abs().mean(dim=0)
        return np.asarray(error.cpu().numpy(), np.float32)

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """`policy`: the actor, then its target; `critic`: both critics, then their targets."""
        return {
            "policy": [self.actor.vector, self.actor_target.vector],
            "critic": [self.critics.vector, self.critic_targets.vector],
        }

    def live(self) -> State:
        """All networks."""
        names = ("actor", "actor_target", "critics", "critic_targets")
        return {name: getattr(self, name).vector for name in names}
