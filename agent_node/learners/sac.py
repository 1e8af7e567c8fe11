"""Soft actor-critic for continuous actions (Haarnoja et al., arXiv 1812.05905), with one policy to explore and, where wanted, another to
exploit. Each has a squashed Gaussian actor and two critics:

    u ~ N(mean(s), sd(s)^2),  a = tanh(u) in [-1, 1]^A
    ln pi(a|s) = ln N(u) - sum over components of 2 (ln 2 - u - softplus(-2u))       (the last term is ln(1 - tanh^2 u), without overflow)
    y = r + discount (1 - terminated) (min_k Q_target,k(s', a') - alpha ln pi(a'|s'))
    critics: sum over k of mean weight * (Q_k(s, a) - y)^2
    actor: mean over s of alpha ln pi(a|s) - min_k Q_k(s, a)
    temperature: d ln(alpha) proportional to (target entropy - entropy of pi), target entropy = -A

Actions may have `hallucinated` further components (H-UCRL, arXiv 2006.08684): the actor chooses them and the critics value them, but
they are not executed, and have no part in ln pi: an entropy of their own would make the policy choose random optimism.

Gradients are written out, since the networks are small and autograd would cost more than they do. With the noise eps fixed and u = mean +
sd eps: d ln pi / du = 2 tanh u, d ln pi / d ln sd = 2 tanh(u) sd eps - 1, and d min Q / du = (dQ/da) (1 - tanh^2 u).

The policy that explores maximises r + bonus, the one that is evaluated r alone: a policy that is rewarded for unvisited states visits
them in evaluations too. Both learn from the same transitions. Without `exploit` one policy does both.

A batch may bring in `extras`: `bonus[B]`, what optimism adds to the reward; `hallucination[B, H]`, the components of actions that only the
world model uses (`PolicySpec.hallucinated`); `trusted[B]`, 0 for steps from which the policy that exploits must not learn;
`mean_next_observation[B, F]` and `mean_reward[B]`, from which it learns in place of an optimistic next observation and its reward.

Averaged with neighbours: `policy` and `critic` of all pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log, pi

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from agent_node.contracts import Array, Batch, Learner, Metrics, PolicyOutput, PolicySpec, State
from agent_node.learners.library.action_bounds import ActionBounds
from agent_node.learners.library.devices import CPU, device_of
from agent_node.learners.library.flat_networks import StackedMLP, policy_inputs
from agent_node.learners.library.network_architectures import EncodedNetwork, network_of
from agent_node.learners.library.optimisers import Adam, FlatComponent, restore
from agent_node.learners.settings import SACSettings

LEAST, MOST = -20.0, 2.0
"""bounds of the log standard deviation"""


class SoftActorCritic(FlatComponent):
    """Networks, targets, temperature and optimisers, on `device`; actions are in [-1, 1]."""

    counters = ()

    def __init__(
        self,
        settings: SACSettings,
        policy_spec: PolicySpec,
        hallucinated: int,
        initial: torch.Generator,
        seed: int,
        device: torch.device = CPU,
        prefix: str = "",
    ) -> None:
        """`prefix`: of the names of its tensors in a checkpoint."""
        self.settings = settings
        self.actions = len(policy_spec.low)
        self.chosen = self.actions + hallucinated
        shape = settings.network, policy_spec, settings.hidden
        self.actor = network_of(*shape, 2 * self.chosen, initial, 0.01, device, members=1)
        self.critics, self.targets = (network_of(*shape, 1, initial, 1.0, device, members=2, behind=self.chosen) for _ in range(2))
        self.targets.vector.copy_(self.critics.vector)
        self.log_temperature = torch.tensor([log(settings.temperature)], device=device)
        self.temperature_gradient = torch.zeros(1, device=device)
        rate, norm = settings.learning_rate, settings.max_grad_norm
        self.actor_adam = Adam(self.actor.vector, self.actor.gradient, rate, norm)
        self.critic_adam = Adam(self.critics.vector, self.critics.gradient, rate, norm)
        self.temperature_adam = Adam(self.log_temperature, self.temperature_gradient, rate, norm)
        self.prefix = prefix
        self.optimisers = {f"{prefix}{name}": getattr(self, name) for name in ("actor_adam", "critic_adam", "temperature_adam")}
        self._random = torch.Generator().manual_seed(seed)

    def _moments(self, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, logarithm = self.actor(state).split(self.chosen, dim=1)
        return mean, logarithm.clamp(LEAST, MOST)

    def best(self, state: torch.Tensor) -> torch.Tensor:
        """tanh(mean), `[n, A + hallucinated]`."""
        return torch.tanh(self._moments(state)[0])

    def draw(self, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Actions `[n, A + hallucinated]` drawn from the policy, and ln pi(a|s) `[n]` of their first A components."""
        mean, logarithm = self._moments(state)
        return self._squash(mean, logarithm, self._noise(mean) * logarithm.exp())

    def _noise(self, mean: torch.Tensor) -> torch.Tensor:
        return torch.randn(mean.shape, generator=self._random).to(mean.device)

    def _squash(self, mean: torch.Tensor, logarithm: torch.Tensor, spread: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """tanh u and ln pi for u = mean + `spread`, of which `logarithm` is ln sd."""
        raw, ends = mean + spread, self.actions
        executed, width = raw[:, :ends], logarithm[:, :ends]
        normal = -0.5 * (spread[:, :ends] / width.exp()).square() - width
        density = normal + 2 * (executed + functional.softplus(-2 * executed))
        return torch.tanh(raw), density.sum(dim=1) - ends * (log(2 * pi) / 2 + 2 * log(2))

    def values(self, network: StackedMLP | EncodedNetwork, state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Q_k(s, a) of both critics of `network`, `[2, n]`, for `state[n, ...]` and `action[n, A]`."""
        values: torch.Tensor = network(torch.cat([state, action], dim=1).expand(2, -1, -1))
        return values.squeeze(2)

    @torch.no_grad()
    def update(
        self,
        state: torch.Tensor,
        action: torch.Tensor,
        reward: torch.Tensor,
        following: torch.Tensor,
        terminated: torch.Tensor,
        weight: torch.Tensor,
    ) -> dict[str, float]:
        """One gradient step of critics, actor and temperature, and one of the targets. Metrics: `loss`, `policy_loss`, `value`, `entropy`
        (nats, of the executed components), `temperature`."""
        alpha, n = self.log_temperature.exp(), len(state)
        next_action, next_density = self.draw(following)
        next_value = self.values(self.targets, following, next_action).min(dim=0).values - alpha * next_density
        target = reward + self.settings.discount * (1 - terminated) * next_value

        value, trace = self.critics.run(torch.cat([state, action], dim=1))
        error = value.squeeze(2) - target
        self.critics.back(trace, (2 / n * weight * error).unsqueeze(2), "parameters")
        self.critic_adam.step()

        policy_loss, density = self._improve(state, alpha)
        self.actor_adam.step()

        entropy = -density.mean()
        loss = (weight * error.square()).mean(dim=1).sum()
        if self.settings.learn_temperature:
            self.temperature_gradient.copy_(entropy + self.actions)
            self.temperature_adam.step()
        self.targets.vector.lerp_(self.critics.vector, self.settings.tau)
        return {
            "loss": loss.item(), "policy_loss": policy_loss.item(), "value": value.mean().item(), "entropy": entropy.item(),
            "temperature": alpha.item(),
        }  # fmt: skip

    def _improve(self, state: torch.Tensor, alpha: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The actor's gradient; its loss, and ln pi `[n]` of the actions that it was taken at."""
        outputs, trace = self.actor.run(state)
        mean, unbounded = torch.split(outputs[0], self.chosen, dim=1)
        logarithm, n, ends = unbounded.clamp(LEAST, MOST), len(state), self.actions
        spread = self._noise(mean) * logarithm.exp()
        drawn, density = self._squash(mean, logarithm, spread)

        values, critics = self.critics.run(torch.cat([state, drawn], dim=1))
        least = values.min(dim=0)
        chosen = torch.zeros_like(values).scatter_(0, least.indices.unsqueeze(0), -1 / n)
        slope = self.critics.back(critics, chosen, "inputs").sum(dim=0)[:, -self.chosen :]

        by_raw = slope * (1 - drawn.square())
        by_raw[:, :ends] += 2 / n * alpha * drawn[:, :ends]
        by_logarithm = by_raw * spread
        by_logarithm[:, :ends] -= alpha / n
        by_logarithm *= logarithm == unbounded
        self.actor.back(trace, torch.cat([by_raw, by_logarithm], dim=1).unsqueeze(0), "parameters")
        return (alpha * density).mean() - least.values.mean(), density

    def parameter_groups(self) -> dict[str, list[torch.Tensor]]:
        """`policy`: the actor with ln(alpha); `critic`: critics and targets."""
        return {"policy": [self.actor.vector, self.log_temperature], "critic": [self.critics.vector, self.targets.vector]}

    def live(self) -> State:
        """Networks and ln(alpha)."""
        names = ("actor", "critics", "targets")
        live = {f"{self.prefix}{name}": getattr(self, name).vector for name in names}
        return live | {f"{self.prefix}log_temperature": self.log_temperature}


class SAC(Learner):
    """Learner `sac`. `seed`: exploration; `initial`: first parameters (default: `seed` too)."""

    def __init__(self, settings: SACSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None) -> None:
        self.settings = settings
        self.device = device_of(settings.device, "agents.learner.device")
        self.bounds = ActionBounds(policy_spec, settings.kind, self.device)
        self.hallucinated = policy_spec.hallucinated
        generator = torch.Generator().manual_seed(seed if initial is None else initial)
        self.explorer = SoftActorCritic(settings, policy_spec, policy_spec.hallucinated, generator, seed, self.device)
        self.exploiter: SoftActorCritic | None = None
        if settings.exploit:
            self.exploiter = SoftActorCritic(settings, policy_spec, 0, generator, seed + 1, self.device, "exploit.")
        self._random = np.random.default_rng(seed)
        self.acted = 0
        """rows in which it has explored"""
        self.updates = 0

    def act(
        self, observations: Array, goals: Array, rows: NDArray[np.int64] | None, first: NDArray[np.bool_], explore: bool
    ) -> PolicyOutput:
        """Exploring: uniform actions in the first `random_steps` rows, then actions drawn from the policy that explores. Else the best
        action of the policy that exploits. Imagined rows (`rows` None): drawn from the policy that explores, with their `hallucination`."""
        imagined = rows is None
        if explore and not imagined:
            self.acted += len(observations)
            if self.acted <= self.settings.random_steps:
                return PolicyOutput(self.bounds.uniform(len(observations), self._random))
        state = policy_inputs(observations, goals, self.device)
        with torch.no_grad():
            if explore or imagined:
                chosen = self.explorer.draw(state)[0]
            else:
                chosen = (self.exploiter or self.explorer).best(state)
        executed, eta = chosen[:, : self.bounds.size], chosen[:, self.bounds.size :]
        return PolicyOutput(self.bounds.outward(executed), {"hallucination": eta.cpu().numpy()} if imagined and self.hallucinated else {})

    def learn(self, batch: Batch) -> Metrics:
        """One update of every pair; metrics as in `SoftActorCritic.update`, of the policy that exploits with the prefix `exploit.`."""
        batch = batch.to(self.device)
        state = torch.cat([batch.observation, batch.goal], dim=1)
        following = torch.cat([batch.next_observation, batch.goal], dim=1)
        action = self.bounds.inward(batch.action)
        bonus = batch.extras.get("bonus")
        extended_action = action
        if self.hallucinated:
            extended_action = torch.cat([action, batch.extras["hallucination"]], dim=1)
        reward = batch.reward if bonus is None else batch.reward + bonus
        metrics = self.explorer.update(state, extended_action, reward, following, batch.terminated, batch.weight)
        if self.exploiter is not None:
            weight = batch.weight * batch.extras["trusted"] if "trusted" in batch.extras else batch.weight
            reward = batch.extras.get("mean_reward", batch.reward)
            if "mean_next_observation" in batch.extras:
                following = torch.cat([batch.extras["mean_next_observation"], batch.goal], dim=1)
            plain = self.exploiter.update(state, action, reward, following, batch.terminated, weight)
            metrics |= {f"exploit.{name}": value for name, value in plain.items()}
        self.updates += 1
        return metrics

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """`policy`: the actor with ln(alpha), `critic`: both critics with their targets; those of the explorer, then those of the
        exploiter, where there is one."""
        groups = self.explorer.parameter_groups()
        if self.exploiter is not None:
            groups = {name: [*tensors, *self.exploiter.parameter_groups()[name]] for name, tensors in groups.items()}
        return groups

    def state_dict(self) -> State:
        """Networks, temperatures, Adam's moments, counters."""
        state = self.explorer.state_dict() | {"counts": torch.tensor([self.acted, self.updates])}
        return state if self.exploiter is None else state | self.exploiter.state_dict()

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state_dict` returned, in place. `ValueError` names what is missing or has another shape."""
        self.explorer.load_state_dict(state)
        if self.exploiter is not None:
            self.exploiter.load_state_dict(state)
        counts = torch.zeros(2, dtype=torch.int64)
        restore({"counts": counts}, state)
        self.acted, self.updates = counts.tolist()
