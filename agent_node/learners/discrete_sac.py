"""Soft actor-critic over the joint discrete action (Haarnoja et al., arXiv 1812.05905; discrete form: Christodoulou, arXiv 1910.07207).

    V(s') = sum_a pi(a|s') (min_k Q_target,k(s', a) - alpha ln pi(a|s'))
    y = r + discount * (1 - terminated) * V(s')
    critics: sum over k of mean weight * (Q_k(s, a) - y)^2
    policy: mean over s of sum_a pi(a|s) (alpha ln pi(a|s) - min_k Q_k(s, a))
    temperature: d ln(alpha) proportional to (target entropy - entropy of pi); constant without `learn_temperature`
    target entropy = share * ln(number of actions), with action masks the mean over s of share * ln(number of legal ones)

All sums are over the legal actions.

Averaged with neighbours: `policy` is the actor with ln(alpha); `critic` both critics and their targets (as in `double_dqn`).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log

import torch

from agent_node.contracts import Batch, Metrics, PolicySpec, State
from agent_node.learners.library.discrete_actor_critic import DiscreteActorCritic
from agent_node.learners.library.optimisers import Adam
from agent_node.learners.settings import DiscreteSoftActorCriticSettings


class DiscreteSAC(DiscreteActorCritic):
    """Learner `discrete_sac`; `rows` copies act at once. `seed`: exploration; `initial`: first parameters (default: `seed` too)."""

    settings: DiscreteSoftActorCriticSettings

    def __init__(
        self, settings: DiscreteSoftActorCriticSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None
    ) -> None:
        super().__init__(settings, policy_spec, rows, seed, initial)
        self.log_temperature = torch.tensor([log(settings.temperature)], device=self.device)
        self.temperature_gradient = torch.zeros(1, device=self.device)
        rate, norm = settings.learning_rate, settings.max_grad_norm
        self.optimisers["temperature_adam"] = Adam(self.log_temperature, self.temperature_gradient, rate, norm)

    def learn(self, batch: Batch) -> Metrics:
        """One gradient update of each part; metrics `loss`, `policy_loss`, `value`, `entropy` (nats), `temperature`."""
        batch = batch.to(self.device)
        state = torch.cat([batch.observation, batch.goal], dim=1)
        temperature = self.log_temperature.exp()
        target = self._target(batch)

        q = self.critics(state.expand(2, -1, -1))
        value = self._taken(q, batch.action)
        critic_loss = (batch.weight * (value - target).square()).mean(dim=1).sum()
        critic_loss.backward()  # type: ignore[no-untyped-call]
        self.optimisers["critic_adam"].step()

        log_pi = self._log_pi(state)
        losses, metrics = self._policy_losses(state, log_pi, q.detach().amin(dim=0))
        policy_loss = (batch.weight * losses).mean()
        policy_loss.backward()  # type: ignore[no-untyped-call]
        self.optimisers["policy_adam"].step()

        entropy = -(log_pi.detach().exp() * log_pi.detach()).sum(dim=1).mean()
        if self.settings.learn_temperature:
            legal = self.actions.legal(state)
            most = log(self.actions.count) if legal is None else legal.sum(dim=1).log().mean()
            self.temperature_gradient[0] = entropy - self.settings.target_entropy * most
            self.optimisers["temperature_adam"].step()

        self.targets.vector.lerp_(self.critics.vector, self.settings.tau)
        self.updates += 1
        return metrics | {
            "loss": critic_loss.item(),
            "policy_loss": policy_loss.item(),
            "value": value.mean().item(),
            "entropy": entropy.item(),
            "temperature": temperature.item(),
        }

    def _policy_losses(self, state: torch.Tensor, log_pi: torch.Tensor, q: torch.Tensor) -> tuple[torch.Tensor, Metrics]:
        """What the policy minimises in each state, `[B]`, and metrics of its parts, from ln pi(.|s) and min_k Q_k(s, .), `[B, choices]`."""
        return (log_pi.exp() * (self.log_temperature.exp() * log_pi - q)).sum(dim=1), {}

    def _next_value(self, state: torch.Tensor, log_pi: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """V(s) `[B]` in targets, from ln pi(.|s) and min_k Q_target,k(s, .), `[B, choices]`."""
        return (log_pi.exp() * (q - self.log_temperature.exp() * log_pi)).sum(dim=1)

    def _target(self, batch: Batch) -> torch.Tensor:
        next_state = torch.cat([batch.next_observation, batch.goal], dim=1)
        with torch.no_grad():
            next_q = self.targets(next_state.expand(2, -1, -1)).amin(dim=0)
            next_value = self._next_value(next_state, self._log_pi(next_state), next_q)
            target: torch.Tensor = batch.reward + self.settings.discount * (1 - batch.terminated) * next_value
        return target

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """`policy`: actor and ln(alpha); `critic`: critics, then their targets."""
        groups = super().parameter_groups()
        return {**groups, "policy": [*groups["policy"], self.log_temperature]}

    def live(self) -> State:
        """Networks and ln(alpha)."""
        return super().live() | {"log_temperature": self.log_temperature}
