"""Proximal policy optimisation, goal-conditioned, with a policy and a value network of its own (Schulman et al., arXiv 1707.06347).

    delta_t = r_t + discount (1 - terminated_t) V(s_{t+1}) - V(s_t)
    A_t = delta_t + discount * gae_lambda * A_{t+1}, the last term only within one episode and one rollout   (arXiv 1506.02438)
    ratio = pi(a|s, g) / behaviour(a|s, g), A less its mean over the rollout, divided by max(its standard deviation, floor)
    floor = min(0.1, 3 * standard deviation of all rewards so far); while all of them were 0, A = 0
    policy loss = -mean min(ratio A, clamp(ratio, 1 - clip, 1 + clip) A) + beta KL(pi_before || pi) - entropy coefficient * H(pi)
    value loss = mean ((V(s) - (A_t + V_before(s_t))) / sd)^2
    after a rollout: beta * 1.5 where the mean KL is above twice its target, beta / 2 where it is below half of it
    a rollout is left as soon as the KL of a minibatch is above `target_kl`

Continuous actions are normal, with means by the policy network and standard deviations that are parameters of their own, equal in all
states, or outputs of the network (`state_dependent_std`).

Steps of weight 0 are left out (a stand-in acted, or the agent was evaluated); episodes that a limit or the rollout's end cuts off go on
with V of the observation that followed. Values are recomputed when learning starts; only log-probabilities are kept from acting.

With `normalize_values` V(s) = mean + sd * network(s), with the running mean and standard deviation of the targets, weighted by 0.9 of
before for each rollout (the value normalisation of MAPPO, arXiv 2103.01955): step size and gradient norm then suit returns of any size. sd
is at least min(1, largest |reward| / share of rewards that are not 0), and at least 1 before the first of these. Without it mean = 0 and
sd = 1.

Averaged with neighbours: `policy`, the policy network and the log standard deviations, and `critic`, the value network. With
`normalize_values` the first and second moments of the targets are in `critic` too, so that V of an average has the moments that the
averaged networks were trained with: means of moments are the moments of all agents' targets. Adam's moments and beta stay the agent's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Array, Batch, Learner, Metrics, PolicyOutput, PolicySpec, State
from agent_node.learners.library.action_distributions import head_of
from agent_node.learners.library.devices import device_of
from agent_node.learners.library.flat_networks import TanhMLP, policy_inputs
from agent_node.learners.library.network_architectures import EncodedNetwork, network_of
from agent_node.learners.library.optimisers import Adam, FlatComponent, remaining
from agent_node.learners.library.recurrent_networks import RecurrentNetwork
from agent_node.learners.library.target_moments import TargetMoments
from agent_node.learners.settings import PPOSettings

_GREATEST_BETA = 100.0
GREATEST_FLOOR, FLOOR_OF_REWARDS = 0.1, 3.0
"""Smaller advantages are not scaled up: where rewards are rare they are the errors of the value function, and a policy that follows them
stops exploring. The floor follows the rewards where these are small, as those of curiosity are."""
FlatNetwork = TanhMLP | EncodedNetwork | RecurrentNetwork
Forward = Callable[[FlatNetwork, torch.Tensor], torch.Tensor]


def _forward(network: FlatNetwork, inputs: torch.Tensor) -> torch.Tensor:
    outputs: torch.Tensor = network(inputs)
    return outputs


class PPO(FlatComponent, Learner):
    """Learner `ppo`. `seed`: exploration and minibatches; `initial`: first parameters (default: `seed` too)."""

    counters = ("updates", "frames")

    def __init__(self, settings: PPOSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None) -> None:
        self.settings = settings
        self.device = device_of(settings.device, "agents.learner.device")
        free = bool(policy_spec.low) and not settings.state_dependent_std
        self.log_std = torch.zeros(len(policy_spec.low), device=self.device, requires_grad=True) if free else None
        self.head = head_of(policy_spec, self.device, self.log_std)
        generator = torch.Generator().manual_seed(seed if initial is None else initial)
        self.policy, self.value = self._networks(policy_spec, generator)
        self.moments = TargetMoments(self.device) if settings.normalize_values else None
        self.reward_sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        """number, sum and sum of squares of all rewards learnt from"""
        rate, norm = settings.learning_rate, settings.max_grad_norm
        self.optimisers = {
            "policy_adam": Adam(self.policy.vector, self.policy.gradient, rate, norm),
            "value_adam": Adam(self.value.vector, self.value.gradient, rate, norm),
        }
        if self.log_std is not None:
            vector = self.log_std.detach()
            self.log_std.grad = torch.zeros_like(vector)
            self.optimisers["log_std_adam"] = Adam(vector, self.log_std.grad, rate, norm)
        self.entropy_coef = (0.01 if policy_spec.actions else 0.0) if settings.entropy_coef is None else settings.entropy_coef
        self.kl_coef = settings.kl_coef
        self.updates = 0
        self.frames = 0
        """own steps learnt from"""
        self._explore = torch.Generator().manual_seed(seed)
        self._evaluate = torch.Generator().manual_seed(seed + 1)
        self._shuffle = np.random.default_rng(seed)

    def _networks(self, policy_spec: PolicySpec, generator: torch.Generator) -> tuple[FlatNetwork, FlatNetwork]:
        """Policy and value network."""
        network, hidden = self.settings.network, self.settings.hidden
        policy = network_of(network, policy_spec, hidden, self.head.width, generator, gain=0.01, device=self.device)
        return policy, network_of(network, policy_spec, hidden, 1, generator, gain=1.0, device=self.device)

    def act(
        self, observations: Array, goals: Array, rows: NDArray[np.int64] | None, first: NDArray[np.bool_], explore: bool
    ) -> PolicyOutput:
        """Actions drawn from the policy, with their `log_probability[n]`. Evaluated (`explore` false) by `settings.evaluation`: drawn too,
        by a generator of their own, or the likeliest ones."""
        with torch.inference_mode():
            inputs = policy_inputs(observations, goals, self.device)
            outputs, extras = self._acting_outputs(inputs, rows, first, explore)
            distribution = self.head.parameters(outputs, inputs)
            if explore or self.settings.evaluation == "sample":
                actions = self.head.sample(distribution, self._explore if explore else self._evaluate)
            else:
                actions = self.head.mode(distribution)
            if explore:
                extras["log_probability"] = self.head.log_probability(distribution, actions).cpu().numpy()
        discrete = not actions.is_floating_point()
        return PolicyOutput(actions.cpu().numpy().astype(np.int32 if discrete else np.float32), extras)

    def _acting_outputs(
        self, inputs: torch.Tensor, rows: NDArray[np.int64] | None, first: NDArray[np.bool_], explore: bool
    ) -> tuple[torch.Tensor, dict[str, NDArray[np.float32]]]:
        """Outputs of the policy network for the arguments of `act`, and what is stored beside the actions."""
        return self.policy(inputs), {}

    def values(self, observations: Array, goals: Array) -> NDArray[np.float32]:
        """V(s, g), `[n]`, of `observations[n, ...]` and encoded `goals[n, goal]`: estimated discounted return of the policy."""
        with torch.inference_mode():
            values: NDArray[np.float32] = self._values(policy_inputs(observations, goals, self.device)).cpu().numpy()
        return values

    def _values(self, inputs: torch.Tensor) -> torch.Tensor:
        """V `[...]` of inputs `[..., F + goal]`."""
        return self._scaled(self.value(inputs).squeeze(-1))

    def _scaled(self, values: torch.Tensor) -> torch.Tensor:
        """V of outputs of the value network."""
        if self.moments is not None:
            mean, deviation = self.moments.center_and_scale()
            values = mean + deviation * values
        return values

    def imitate(self, observations: Array, goals: Array, actions: Array) -> float:
        """One gradient step of the policy towards the actions, loss -mean ln pi(a | o, g); the loss before."""
        inputs, chosen = policy_inputs(observations, goals, self.device), torch.from_numpy(actions).to(self.device)
        loss: torch.Tensor = -self.head.log_probability(self.head.parameters(self.policy(inputs), inputs), chosen).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimisers["policy_adam"].step(remaining(self.frames, self.settings.decay_steps))
        if self.log_std is not None:
            self.optimisers["log_std_adam"].step(remaining(self.frames, self.settings.decay_steps))
        return loss.item()

    def learn(self, batch: Batch) -> Metrics:
        """All epochs of one rollout `[T, K, ...]`. Metrics: `loss.policy`, `loss.value`, `entropy`, `divergence`, `clipped` (share of
        ratios outside the clip) as means over the last epoch, `value` (mean over the rollout), `explained` (share of the returns'
        variance that V explained before), `epochs` (gone through, the last one perhaps in part), `rate` and `samples`. Nothing is learnt
        from a single step that counts: its advantage has no standard deviation."""
        batch = batch.to(self.device)
        state = torch.cat([batch.observation, batch.goal], dim=-1)
        following = torch.cat([batch.next_observation, batch.goal if batch.next_goal is None else batch.next_goal], dim=-1)
        with torch.no_grad():
            value, next_value = self._rollout_values(batch, state, following)
        advantage = self.advantages(batch, value, next_value)

        counts = batch.weight.reshape(-1) > 0
        if counts.sum() < 2:
            return {}
        inputs, action = state.flatten(0, 1)[counts], batch.action.flatten(0, 1)[counts]
        behaviour = batch.extras["log_probability"].reshape(-1)[counts]
        advantage, value = advantage.reshape(-1)[counts], value.reshape(-1)[counts]
        reward = batch.reward.reshape(-1)[counts]
        self._count_rewards(reward)
        target = advantage + value
        explained = 1 - (target - value).var() / target.var().clamp_min(1e-12)
        if self.moments is not None:
            self.moments.update(target, reward)
            mean, deviation = self.moments.center_and_scale()
            target = (target - mean) / deviation
        advantage = (advantage - advantage.mean()) / advantage.std().clamp_min(self.advantage_floor())
        with torch.no_grad():
            before = self.head.parameters(self._rollout_outputs(batch, state, counts), inputs)

        share = remaining(self.frames, self.settings.decay_steps)
        epochs, seen = self._epochs((inputs, action, behaviour, advantage, target, before), share)
        last = torch.stack(seen).mean(dim=0).tolist()
        self._adapt(last[3])
        self.updates += 1
        self.frames += len(inputs)
        names = ("loss.policy", "loss.value", "entropy", "divergence", "clipped")
        return dict(zip(names, last, strict=True)) | {
            "value": value.mean().item(), "explained": explained.item(), "epochs": float(epochs),
            "rate": share * self.settings.learning_rate, "samples": float(len(inputs)),
        }  # fmt: skip

    def _count_rewards(self, reward: torch.Tensor) -> None:
        reward = reward.double()
        self.reward_sums += torch.stack([torch.ones_like(reward).sum(), reward.sum(), reward.square().sum()])

    def advantage_floor(self) -> float:
        """Least standard deviation by which advantages are divided; infinite where no action has been worth more than another."""
        number, total, square = self.reward_sums.tolist()
        if not square:
            return math.inf
        deviation = math.sqrt(max(square / number - (total / number) ** 2, 0.0))
        return min(GREATEST_FLOOR, max(FLOOR_OF_REWARDS * deviation, 1e-8))

    # What a recurrent policy does otherwise: values and outputs for a whole rollout, `[T, K, ...]`, and minibatches.

    def _rollout_values(self, batch: Batch, state: torch.Tensor, following: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """V(s_t) and V(s_{t+1}), `[T, K]` each, of `state` and `following`, both `[T, K, F + goal]`."""
        return self._values(state), self._values(following)

    def _rollout_outputs(self, batch: Batch, state: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Outputs of the policy network, `[rows, W]`, in those of the T K steps that count, `counts[T K]`."""
        outputs: torch.Tensor = self.policy(state.flatten(0, 1)[counts])
        return outputs

    def _minibatches(self, rows: int) -> Iterator[tuple[torch.Tensor, Forward]]:
        """Minibatches of one epoch: which of the `rows` they have, and what computes the outputs of a network for these."""
        order = torch.from_numpy(self._shuffle.permutation(rows)).to(self.device)
        for part in order.tensor_split(max(1, round(rows / self.settings.minibatch_size))):
            yield part, _forward

    def _epochs(self, arrays: tuple[torch.Tensor, ...], share: float) -> tuple[int, list[torch.Tensor]]:
        """Learn from `arrays`, each `[rows, ...]`, at `share` of the rate: epochs begun, and what the minibatches of the last one gave."""
        rows, limit = len(arrays[0]), self.settings.target_kl
        seen: list[torch.Tensor] = []
        for epoch in range(1, self.settings.epochs + 1):
            seen = []
            for part, forward in self._minibatches(rows):
                seen.append(self._step(share, forward, *(array.index_select(0, part) for array in arrays)))
                if limit is not None and seen[-1][3] > limit:
                    return epoch, seen
        return self.settings.epochs, seen

    def advantages(self, batch: Batch, value: torch.Tensor, next_value: torch.Tensor) -> torch.Tensor:
        """A_t `[T, K]` from V(s_t) and V(s_{t+1}), both `[T, K]`."""
        settings = self.settings
        delta = batch.reward + settings.discount * (1 - batch.terminated) * next_value - value
        goes_on = batch.weight.clone()
        if batch.first is not None:
            goes_on *= 1 - batch.first
        advantage = torch.zeros_like(delta)
        following = torch.zeros_like(delta[0])
        for t in reversed(range(len(delta))):
            following = delta[t] + settings.discount * settings.gae_lambda * following
            advantage[t] = following
            # What the step before may add: nothing where this one begins an episode, or does not count.
            following = following * goes_on[t]
        return advantage

    def _step(
        self,
        share: float,
        forward: Forward,
        inputs: torch.Tensor,
        action: torch.Tensor,
        behaviour: torch.Tensor,
        advantage: torch.Tensor,
        target: torch.Tensor,
        before: torch.Tensor,
    ) -> torch.Tensor:
        settings = self.settings
        distribution = self.head.parameters(forward(self.policy, inputs), inputs)
        ratio = (self.head.log_probability(distribution, action) - behaviour).exp()
        bounded = ratio.clamp(1 - settings.clip, 1 + settings.clip)
        policy_loss = -torch.minimum(ratio * advantage, bounded * advantage).mean()
        entropy = self.head.entropy(distribution).mean()
        divergence = self.head.divergence(before, distribution).mean()
        loss: torch.Tensor = policy_loss + self.kl_coef * divergence - self.entropy_coef * entropy
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimisers["policy_adam"].step(share)
        if self.log_std is not None:
            self.optimisers["log_std_adam"].step(share)

        value_loss: torch.Tensor = (forward(self.value, inputs).squeeze(1) - target).square().mean()
        value_loss.backward()  # type: ignore[no-untyped-call]
        self.optimisers["value_adam"].step(share)
        clipped = (ratio != bounded).float().mean()
        return torch.stack([policy_loss, value_loss, entropy, divergence, clipped]).detach()

    def _adapt(self, divergence: float) -> None:
        if divergence > 2 * self.settings.adaptive_kl_target:
            self.kl_coef = min(1.5 * self.kl_coef, _GREATEST_BETA)
        elif divergence < self.settings.adaptive_kl_target / 2:
            self.kl_coef *= 0.5

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """`policy`: all weights of the policy network, and the log standard deviations; `critic`: those of the value network, and the
        moments of the targets."""
        live = self.live()
        names = {"policy": ("policy", "log_std"), "critic": ("value", "target_moments")}
        return {group: [live[name] for name in members if name in live] for group, members in names.items()}

    def live(self) -> State:
        """Both networks, the log standard deviations, the moments of the targets, and the sums of the rewards."""
        live = {"policy": self.policy.vector, "value": self.value.vector, "reward_sums": self.reward_sums}
        if self.log_std is not None:
            live["log_std"] = self.log_std.detach()
        if self.moments is not None:
            live |= {"target_moments": self.moments.sums, "rewards": self.moments.rewards}
        return live

    def state_dict(self) -> State:
        """Networks, Adam's moments, the numbers of updates and of steps learnt from, beta."""
        return super().state_dict() | {"kl_coef": torch.tensor([self.kl_coef], dtype=torch.float64)}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state_dict` returned, in place. `ValueError` names what is missing or has another shape."""
        super().load_state_dict(state)
        if "kl_coef" not in state:
            raise ValueError("kl_coef is missing in the state")
        self.kl_coef = float(state["kl_coef"][0])
