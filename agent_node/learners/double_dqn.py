"""Goal-conditioned double Q-learning over the joint discrete action (van Hasselt et al., arXiv 1509.06461).

    y = clamp(r + discount^m * (1 - terminated) * Q_target(s', argmax_a Q(s', a, g), g), value_range)      value_range null: not clamped
        argmax over the legal actions of s'
    loss = mean over the batch of weight * (Q(s, a, g) - y)^2
    target <- target + tau * (online - target)        after every update

With `n_step` N, r is the discounted sum of the rewards of m = min(N, steps to the end of the episode) steps and s' follows the last of them
(Rainbow, arXiv 1710.02298, without correction for the steps in between); m = 1 for transitions that are relabelled or imagined.

With `dueling` one network has the outputs V(s) and A(s, a), and Q(s, a) = V(s) + A(s, a) - mean over a' of A(s, a') (arXiv 1511.06581);
the two share all hidden layers. With `prioritized_replay` (arXiv 1511.05952) `weight` contains the correction of the draw.

Averaged with neighbours: the online network and the target network (group `critic`). Averaging is linear, and so is the target's running
mean; averaging both keeps every target the running mean of its own online network. Adam's moments stay the agent's own.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Array, Batch, Metrics, PolicyOutput, PolicySpec, State
from agent_node.learners.library.flat_networks import StackedMLP, policy_inputs
from agent_node.learners.library.joint_actions import JointActionLearner
from agent_node.learners.library.network_architectures import EncodedNetwork, network_of
from agent_node.learners.library.optimisers import Adam, RMSProp
from agent_node.learners.library.recurrent_networks import RecurrentNetwork
from agent_node.learners.settings import QLearningSettings

CLAMP_TOLERANCE = 0.1
"""of the width of `value_range`: targets beyond it by less are errors of estimation, which clamping is to correct"""


class DoubleDQN(JointActionLearner):
    """Learner `double_dqn`; `rows` copies act at once. `seed`: exploration; `initial`: first parameters (default: `seed` too)."""

    def __init__(self, settings: QLearningSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None) -> None:
        super().__init__(settings, policy_spec, rows, seed)
        self.settings = settings
        generator = torch.Generator().manual_seed(seed if initial is None else initial)
        self.online, self.target = (self._network(policy_spec, generator) for _ in range(2))
        self.target.vector.copy_(self.online.vector)
        self.adam = Adam(self.online.vector, self.online.gradient, settings.learning_rate, settings.max_grad_norm)
        self.optimisers: dict[str, Adam | RMSProp] = {"adam": self.adam}

    def _network(self, policy_spec: PolicySpec, generator: torch.Generator) -> StackedMLP | EncodedNetwork | RecurrentNetwork:
        settings, outputs = self.settings, self.actions.count + self.settings.dueling
        return network_of(settings.network, policy_spec, settings.hidden, outputs, generator, 1.0, self.device, members=1)

    def act(
        self, observations: Array, goals: Array, rows: NDArray[np.int64] | None, first: NDArray[np.bool_], explore: bool
    ) -> PolicyOutput:
        """Greedy joint actions: of the online network and, exploring, with held random ones in a share of the steps; else of the target
        network, whose running mean of weights keeps its skill where single snapshots of the online network swing (Izmailov et al.,
        arXiv 1803.05407)."""
        network = self.online if explore else self.target
        with torch.inference_mode():
            inputs = policy_inputs(observations, goals, self.device)
            chosen: NDArray[np.int64] = self._allowed(self._acting_values(network, inputs, rows, first), inputs).argmax(dim=1).cpu().numpy()
        if explore and rows is not None:
            chosen = self.exploration.apply(chosen, rows, first, self.legal(inputs))
        return PolicyOutput(self.actions.table[chosen])

    def _acting_values(
        self, network: torch.nn.Module, inputs: torch.Tensor, rows: NDArray[np.int64] | None, first: NDArray[np.bool_]
    ) -> torch.Tensor:
        """Q(s, .), `[n, choices]`, for the arguments of `act`."""
        return self._q(network, inputs)

    def learn(self, batch: Batch) -> Metrics:
        """One gradient update; metrics `loss`, `value` (mean Q of the actions taken), `target` and, with `value_range`, `clamped`: the
        share of the targets that were beyond it by more than a tenth of its width."""
        batch = batch.to(self.device)
        state = torch.cat([batch.observation, batch.goal], dim=1)
        q = self._q(self.online, state)
        penalty, metrics = self._penalty(batch, self.actions.masked(q, state))
        return metrics | self._update(self._taken(q, batch), self._unclamped_target(batch), batch.weight, penalty)

    def _update(self, value: torch.Tensor, unclamped: torch.Tensor, weight: torch.Tensor, penalty: torch.Tensor | None = None) -> Metrics:
        """One step on `value[n]` towards the targets `unclamped[n]`, by their `weight[n]`, with what is added to the loss."""
        target = self._clamp(unclamped)
        loss = (weight * (value - target).square()).mean()
        if penalty is not None:
            loss = loss + penalty
        loss.backward()  # type: ignore[no-untyped-call]
        self.adam.step()
        self.target.vector.lerp_(self.online.vector, self.settings.tau)
        self.updates += 1
        metrics = {"loss": loss.item(), "value": value.mean().item(), "target": target.mean().item()}
        if self.settings.value_range is not None:
            low, high = self.settings.value_range
            metrics["clamped"] = ((unclamped - target).abs() > CLAMP_TOLERANCE * (high - low)).float().mean().item()
        return metrics

    def _q(self, network: torch.nn.Module, state: torch.Tensor) -> torch.Tensor:
        """Q(s, .), `[n, choices]`, of `state[n, F + goal]`; with `dueling` V(s) + A(s, .) - mean of A(s, .)."""
        return self._combined(network(state))

    def _combined(self, outputs: torch.Tensor) -> torch.Tensor:
        """Q `[..., choices]` of outputs of a network."""
        if not self.settings.dueling:
            return outputs
        value, advantage = outputs[..., :1], outputs[..., 1:]
        return value + advantage - advantage.mean(dim=-1, keepdim=True)

    def _allowed(self, q: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        """`[n, choices]`, of which the policy takes the largest, from Q(s, .): -1e9 for illegal actions."""
        return self.actions.masked(q, state)

    def _penalty(self, batch: Batch, q: torch.Tensor) -> tuple[torch.Tensor | None, Metrics]:
        """What is added to the loss, and its metrics. `q[B, choices]`: Q(s, .), -1e9 for illegal actions."""
        return None, {}

    def _taken(self, q: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Q(s, a) `[B]` of the batch's actions, from `q[B, choices]`."""
        return q.gather(1, self.actions.index(batch.action).unsqueeze(1)).squeeze(1)

    def _value(self, batch: Batch) -> torch.Tensor:
        return self._taken(self._q(self.online, torch.cat([batch.observation, batch.goal], dim=1)), batch)

    def _target(self, batch: Batch) -> torch.Tensor:
        return self._clamp(self._unclamped_target(batch))

    def _clamp(self, target: torch.Tensor) -> torch.Tensor:
        return target if self.settings.value_range is None else target.clamp(*self.settings.value_range)

    def _unclamped_target(self, batch: Batch) -> torch.Tensor:
        next_state = torch.cat([batch.next_observation, batch.goal], dim=1)
        with torch.no_grad():
            best = self._allowed(self._q(self.online, next_state), next_state).argmax(dim=1, keepdim=True)
            next_value = self._q(self.target, next_state).gather(1, best).squeeze(1)
            discount = self.settings.discount if batch.steps is None else self.settings.discount**batch.steps
            target: torch.Tensor = batch.reward + discount * (1 - batch.terminated) * next_value
        return target

    def _probability(self, state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """1 for the greedy action, 0 for others."""
        greedy = self._allowed(self._q(self.online, state), state).argmax(dim=1)
        return (action == greedy).float()

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """`critic`: all weights of the online, then of the target network."""
        return {"critic": [self.online.vector, self.target.vector]}

    def live(self) -> State:
        """Both networks."""
        return {"online": self.online.vector, "target": self.target.vector}
