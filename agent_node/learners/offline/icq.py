"""Implicit constraint Q-learning, ICQ (Yang et al., arXiv 2106.03400), with critics of the agent's own.

    u(x) = B softmax(x)                                                      over the B transitions of the batch; mean 1
    y = r + discount (1 - terminated) u(Q_target(s', a') / alpha) Q_target(s', a')           a': the data's action at s'
    critics: sum over k of mean weight * (Q_k(s, a) - y)^2
    policy, discrete:    mean weight * u(A / beta) (-ln pi(a|s)),            A = Q(s, a) - sum_a' pi(a'|s) Q(s, a')
    policy, continuous:  mean weight * u(A / beta) |mu(s) - a|^2 / size,     A = Q(s, a) - Q(s, mu(s))

where Q is the minimum over k, and gradients pass through neither weights nor advantages. No value of an action that the data has not enters
a target. The squared distance is -ln pi of a normal distribution around mu(s) with a constant deviation. The last step of an episode
that was cut off has no a', and no part in the critics' loss. The publication mixes the critics of all agents (as QMIX) where they are
trained together; here the critics are independent, so that an agent needs its own data only.

Averaged with neighbours: `policy` and `critic`, of continuous actions as in `td3`.
"""

from __future__ import annotations

import torch

from agent_node.contracts import Batch, Metrics, PolicySpec
from agent_node.learners.library.discrete_actor_critic import DiscreteActorCritic
from agent_node.learners.offline.settings import DiscreteICQSettings, ICQSettings
from agent_node.learners.td3 import TD3


def batch_weights(scores: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """`[B]`: n softmax(`scores[B]`) over the n rows where `counts[B]` is positive; 0 in the others."""
    weights: torch.Tensor = scores.masked_fill(counts <= 0, -torch.inf).softmax(dim=0) * (counts > 0).sum()
    return weights.nan_to_num(0.0)


def implicit_target(batch: Batch, next_value: torch.Tensor, discount: float, temperature: float) -> torch.Tensor:
    """y `[B]`, from the values Q_target(s', a') `next_value[B]`; `temperature`: alpha."""
    followed = batch.extras["followed"] * (1 - batch.terminated)
    return batch.reward + discount * followed * batch_weights(next_value / temperature, followed) * next_value


def known(batch: Batch) -> torch.Tensor:
    """`[B]`: the weight of each transition in the critics' loss, 0 where its target is not known."""
    return batch.weight * torch.maximum(batch.extras["followed"], batch.terminated)


class DiscreteICQ(DiscreteActorCritic):
    """Learner `discrete_icq`; `rows` copies act at once. Batches have the extras `next_action[B, A]` and `followed[B]`."""

    def __init__(self, settings: DiscreteICQSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None) -> None:
        super().__init__(settings, policy_spec, rows, seed, initial)
        self.icq = settings

    def learn(self, batch: Batch) -> Metrics:
        """One gradient update of critics and policy, and one of the targets. Metrics: `loss`, `policy_loss`, `value` (mean Q of the
        actions taken) and `largest_weight`, the largest weight of a transition in the policy's loss."""
        batch = batch.to(self.device)
        state = torch.cat([batch.observation, batch.goal], dim=1)
        target = self._target(batch)
        q = self.critics(state.expand(2, -1, -1))
        value = self._taken(q, batch.action)
        critic_loss = (known(batch) * (value - target).square()).mean(dim=1).sum()
        critic_loss.backward()  # type: ignore[no-untyped-call]
        self.optimisers["critic_adam"].step()

        log_pi = self._log_pi(state)
        taken = log_pi.gather(1, self.actions.index(batch.action).unsqueeze(1)).squeeze(1)
        with torch.no_grad():
            least = q.amin(dim=0)
            advantage = value.amin(dim=0) - (log_pi.exp() * least).sum(dim=1)
            share = batch_weights(advantage / self.icq.advantage_temperature, batch.weight)
        policy_loss = -(batch.weight * share * taken).mean()
        policy_loss.backward()  # type: ignore[no-untyped-call]
        self.optimisers["policy_adam"].step()

        self.targets.vector.lerp_(self.critics.vector, self.settings.tau)
        self.updates += 1
        losses = {"loss": critic_loss.item(), "policy_loss": policy_loss.item()}
        return losses | {"value": value.mean().item(), "largest_weight": share.max().item()}

    @torch.no_grad()
    def _target(self, batch: Batch) -> torch.Tensor:
        following = torch.cat([batch.next_observation, batch.goal], dim=1)
        next_value = self._taken(self.targets(following.expand(2, -1, -1)), batch.extras["next_action"]).amin(dim=0)
        return implicit_target(batch, next_value, self.settings.discount, self.icq.value_temperature)


class ICQ(TD3):
    """Learner `icq`; parameters as of `td3`. Batches have the extras `next_action[B, A]` and `followed[B]`. Metrics: those of `td3`."""

    def __init__(self, settings: ICQSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None) -> None:
        super().__init__(settings, policy_spec, rows, seed, initial)
        self.icq = settings

    @torch.no_grad()
    def _target(self, batch: Batch, smoothing: bool = True) -> torch.Tensor:
        following = torch.cat([batch.next_observation, batch.goal], dim=1)
        next_value = self._q(self.critic_targets, following, self.bounds.inward(batch.extras["next_action"])).amin(dim=0)
        return implicit_target(batch, next_value, self.settings.discount, self.icq.value_temperature)

    def _critic_loss(self, batch: Batch, state: torch.Tensor, value: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, Metrics]:
        return (known(batch) * (value - target).square()).mean(dim=1).sum(), {}

    def _actor_loss(self, batch: Batch, state: torch.Tensor, action: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            advantage = self._value(batch).amin(dim=0) - self._q(self.critics, state, action).amin(dim=0)
            share = batch_weights(advantage / self.icq.advantage_temperature, batch.weight)
        return (batch.weight * share * (action - self.bounds.inward(batch.action)).square().mean(dim=1)).mean()
