"""Actor-critic with V-trace, goal-conditioned: the learner of IMPALA (Espeholt et al., arXiv 1802.01561).

    loss = sum over t of mean over B copies of
           [- ln pi(a_t) advantage_t / sd + baseline / 2 ((v_t - V_t) / sd)^2 - entropy coefficient H(pi_t)]

with targets v_t and advantages by `vtrace`, and without their gradient:

    rho_t = min(clip, pi(a_t|s_t) / mu(a_t|s_t))
    delta_t = rho_t (r_t + gamma_t V(s_{t+1}) - V(s_t))
    A_t = delta_t + gamma_t rho_t A_{t+1}
    targets v_t = V(s_t) + A_t,   advantages = rho_t (r_t + gamma_t v_{t+1} - V(s_t))

with rho also in the place of the traces' weights c (both are clipped at the same value). A_{t+1} is passed on to t only where step t + 1
follows step t in one episode and counts; elsewhere v_{t+1} is V(s_{t+1}) alone, as it is after the last step. Where pi = mu, v_t are the
discounted sums of the rewards to the end of the rollout, and V of what followed it.

With `normalize_values` V(s) = mean + sd * network(s), with the running mean and standard deviation of the targets, weighted by 0.9 of
before for each gradient step (PopArt-IMPALA, Hessel et al., arXiv 1809.04474, without its rescaling of the last layer); sd is at
least min(1, largest |reward| / share of rewards that are not 0), and at least 1 before the first of these.
Both heads share their layers, and the squared errors of large returns would drown the policy's gradient there. Without it mean = 0 and
sd = 1, as published by Espeholt et al.

One network has both heads. The rollout of K copies is cut into K / B parts, each of which makes one gradient step of RMSProp; the later
ones are then older than the policy, which V-trace corrects, as it corrects an average with neighbours in between. Steps of weight 0 are
left out; episodes that a limit or the rollout's end cuts off go on with V of what followed, asked with the goal that was in force there.

Recurrent states are kept by row, and beside every action, so that a rollout is unrolled from the state with which it began.

Averaged with neighbours: `policy`, the network with both heads and the moments of the targets. RMSProp's mean square stays the agent's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Array, Batch, Learner, Metrics, PolicyOutput, PolicySpec, State
from agent_node.learners.library.action_distributions import head_of
from agent_node.learners.library.devices import device_of
from agent_node.learners.library.flat_networks import flatten, policy_inputs
from agent_node.learners.library.optimisers import FlatComponent, RMSProp, remaining
from agent_node.learners.library.recurrent_networks import ActorCriticNetwork
from agent_node.learners.library.target_moments import TargetMoments
from agent_node.learners.settings import IMPALASettings


class IMPALA(FlatComponent, Learner):
    """Actor-critic with V-trace (Espeholt et al., arXiv 1802.01561), learner `impala`; the formulas are those of the module. `seed`:
    exploration; `initial`: first parameters (default: `seed` too)."""

    counters = ("frames", "updates")

    def __init__(self, settings: IMPALASettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None) -> None:
        self.settings = settings
        self.device = device_of(settings.device, "agents.learner.device")
        self.head = head_of(policy_spec, self.device)
        generator = torch.Generator().manual_seed(seed if initial is None else initial)
        network = ActorCriticNetwork(settings.network, policy_spec, settings.hidden, settings.recurrent, self.head.width, generator)
        self.network = network.to(self.device)
        self.vector, self.gradient = flatten(self.network)
        self.moments = TargetMoments(self.device) if settings.normalize_values else None
        self.optimiser = RMSProp.of(settings, self.vector, self.gradient)
        self.optimisers = {"rmsprop": self.optimiser}
        self.frames = 0
        """own steps learnt from"""
        self.updates = 0
        self._memory = np.zeros((rows, network.state_width), np.float32)
        self._explore = torch.Generator().manual_seed(seed)
        self._evaluate = torch.Generator().manual_seed(seed + 1)

    def act(
        self, observations: Array, goals: Array, rows: NDArray[np.int64] | None, first: NDArray[np.bool_], explore: bool
    ) -> PolicyOutput:
        """Actions drawn from the policy, with their `log_probability[n]`, and with recurrent layers the `memory[n, S]` that they
        began with. Evaluated (`explore` false) by `settings.evaluation`: drawn too, by a generator of their own, or the likeliest ones."""
        extras: dict[str, NDArray[np.float32]] = {}
        with torch.inference_mode():
            inputs = policy_inputs(observations, goals, self.device)
            values = self.network.trunk(inputs)
            if self.settings.recurrent is not None:
                state = np.zeros((len(values), self._memory.shape[1]), np.float32) if rows is None else self._memory[rows]
                state[first] = 0.0
                values, following = self.network.memory(values, torch.from_numpy(state).to(self.device))
                if rows is not None:
                    self._memory[rows] = following.cpu().numpy()
                if explore:
                    extras["memory"] = state
            distribution = self.head.parameters(self.network.policy(values), inputs)
            if explore or self.settings.evaluation == "sample":
                actions = self.head.sample(distribution, self._explore if explore else self._evaluate)
            else:
                actions = self.head.mode(distribution)
            if explore:
                extras["log_probability"] = self.head.log_probability(distribution, actions).cpu().numpy()
        discrete = not actions.is_floating_point()
        return PolicyOutput(actions.cpu().numpy().astype(np.int32 if discrete else np.float32), extras)

    def values(self, observations: Array, goals: Array) -> NDArray[np.float32]:
        """V(s, g) `[n]`; `ValueError` with recurrent layers, since it would depend on what went before."""
        if self.settings.recurrent is not None:
            raise ValueError("what a goal is worth depends on the policy's memory")
        with torch.inference_mode():
            _, values = self.network.heads(self.network.trunk(policy_inputs(observations, goals, self.device)))
            mean, deviation = self._center_and_scale()
        return np.asarray((mean + deviation * values.squeeze(-1)).cpu().numpy(), np.float32)

    def _center_and_scale(self) -> tuple[torch.Tensor | float, torch.Tensor | float]:
        return (0.0, 1.0) if self.moments is None else self.moments.center_and_scale()

    def learn(self, batch: Batch) -> Metrics:
        """One gradient step for each part of one rollout `[T, K, ...]`. Metrics, as means over these: `loss.policy` and `loss.value` (of
        one step, unweighted, in units of sd), `entropy`, `value`, `importance` (mean of pi / mu, clipped), `gradient` (its length before
        it is clipped);
        `rate` (of the last step) and `samples`."""
        copies = batch.reward.shape[1]
        parts = torch.arange(copies).tensor_split(max(1, round(copies / self.settings.rollouts)))
        batch = batch.to(self.device)
        seen = [self._step(batch, slice(int(part[0]), int(part[-1]) + 1)) for part in parts]
        names = ("loss.policy", "loss.value", "entropy", "value", "importance", "gradient")
        rate = self.settings.learning_rate * remaining(self.frames, self.settings.decay_steps)
        return dict(zip(names, np.mean(seen, axis=0).tolist(), strict=True)) | {"rate": rate, "samples": float(batch.weight.sum())}

    def _step(self, batch: Batch, copies: slice) -> list[float]:
        settings, counts = self.settings, batch.weight[:, copies]
        steps, width = counts.shape
        begins = torch.zeros_like(counts) if batch.first is None else batch.first[:, copies]
        next_goal = batch.goal if batch.next_goal is None else batch.next_goal
        observed = torch.cat([batch.observation[:, copies], batch.goal[:, copies]], dim=2)
        last = torch.cat([batch.next_observation[-1:, copies], next_goal[-1:, copies]], dim=2)
        memory = batch.extras["memory"][0, copies] if settings.recurrent is not None else None
        outputs, values = self.network.unroll(torch.cat([observed, last]), memory, torch.cat([begins, torch.zeros_like(begins[:1])]))
        distribution = self.head.parameters(outputs[: steps * width], observed.flatten(0, 1))
        log_probability = self.head.log_probability(distribution, batch.action[:, copies].flatten(0, 1)).view(steps, width)
        entropy = self.head.entropy(distribution).view(steps, width)
        output = values.view(steps + 1, width)
        mean, deviation = self._center_and_scale()
        value = mean + deviation * output.detach()

        log_ratio = log_probability.detach() - batch.extras["log_probability"][:, copies]
        discount = settings.discount * (1 - batch.terminated[:, copies])
        returns = vtrace(log_ratio, batch.reward[:, copies], discount, value, counts, begins, settings.importance_clip)
        if self.moments is not None and counts.any():
            self.moments.update(returns.target[counts > 0], batch.reward[:, copies][counts > 0])
            mean, deviation = self._center_and_scale()
        policy_loss = -(counts * log_probability * returns.advantage / deviation).sum()
        value_loss = 0.5 * (counts * ((returns.target - mean) / deviation - output[:-1]).square()).sum()
        chance = (counts * entropy).sum()
        loss: torch.Tensor = (policy_loss + settings.value_coef * value_loss - settings.entropy_coef * chance) / width
        loss.backward()  # type: ignore[no-untyped-call]
        self.updates += 1
        length = self.optimiser.step(remaining(self.frames, settings.decay_steps))
        own = float(counts.sum())
        self.frames += round(own)
        importance = (counts * log_ratio.exp().clamp_max(settings.importance_clip)).sum()
        sums = torch.stack([policy_loss, value_loss, chance, (counts * value[:-1]).sum(), importance]).detach() / max(own, 1.0)
        return [*sums.tolist(), length]

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """`policy`: all weights of the network, which has the heads of policy and value, and the moments of the targets."""
        return {"policy": [self.vector] if self.moments is None else [self.vector, self.moments.sums]}

    def live(self) -> State:
        """The network, the moments of the targets, and the counts of the rewards."""
        if self.moments is None:
            return {"network": self.vector}
        return {"network": self.vector, "target_moments": self.moments.sums, "rewards": self.moments.rewards}


class VTraceReturns(NamedTuple):
    """Result of `vtrace`: targets and advantages, `[T, B]` each."""

    target: torch.Tensor
    advantage: torch.Tensor


@torch.no_grad()
def vtrace(
    log_ratio: torch.Tensor,
    reward: torch.Tensor,
    discount: torch.Tensor,
    value: torch.Tensor,
    counts: torch.Tensor,
    begins: torch.Tensor,
    clip: float = 1.0,
) -> VTraceReturns:
    """From ln(pi / mu), rewards and gamma_t (0 where step t has terminated), `[T, B]`, and `value[T + 1, B]`. `counts[T, B]`: 0 for steps
    that are no steps of the agent's; their advantage is 0, and their target V. `begins[T, B]`: 1 where an episode begins."""
    rho = log_ratio.exp().clamp_max(clip)
    delta = counts * rho * (reward + discount * value[1:] - value[:-1])
    follows = counts[1:] * (1 - begins[1:])
    trace = torch.zeros_like(value)
    weight = discount[:-1] * rho[:-1] * counts[:-1] * follows
    trace[len(delta) - 1] = delta[-1]
    for t in range(len(delta) - 2, -1, -1):
        torch.addcmul(delta[t], weight[t], trace[t + 1], out=trace[t])
    following = value[1:].clone()
    following[:-1] += follows * trace[1:-1]
    return VTraceReturns(value[:-1] + trace[:-1], counts * rho * (reward + discount * following - value[:-1]))
