"""Goal-conditioned double Q-learning over the joint discrete action (van Hasselt et al., arXiv 1509.06461).

    y = clamp(r + discount * (1 - terminated) * Q_target(s', argmax_a Q(s', a, g), g))
    loss = mean over the batch of weight * (Q(s, a, g) - y)^2
    target <- target + tau * (online - target)        after every update

Averaged with neighbours: the online network and the target network (group `critic`). Averaging is linear, and so is the target's running
mean; averaging both keeps every target the running mean of its own online network. Adam's moments stay the agent's own.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Array, Batch, Learner, Metrics, PolicyOutput, PolicySpec
from agent_node.learners.double_dqn.settings import DoubleDQNSettings
from agent_node.learners.library.devices import device_of
from agent_node.learners.library.flat_networks import Adam, HeldExploration, JointAction, StackedMLP, explored, policy_inputs, restore


class DoubleDQN(Learner):
    """Learner `double_dqn`; `rows` copies act at once. `seed`: exploration; `initial`: first parameters (default: `seed` too)."""

    def __init__(self, settings: DoubleDQNSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None) -> None:
        self.settings = settings
        self.device = device_of(settings.device, "agents.learner.device")
        self.actions = JointAction(policy_spec, settings.kind, self.device)
        widths = [int(np.prod(policy_spec.observation)) + policy_spec.goal, *settings.hidden, self.actions.count]
        self.online = StackedMLP(1, widths, torch.Generator().manual_seed(seed if initial is None else initial), self.device)
        self.target = StackedMLP(1, widths, torch.Generator().manual_seed(seed if initial is None else initial), self.device)
        self.adam = Adam(self.online.vector, self.online.gradient, settings.learning_rate, settings.max_grad_norm)
        self.exploration = HeldExploration(
            rows, self.actions.count, settings.exploration, settings.exploration_hold, np.random.default_rng(seed)
        )
        self.updates = 0

    def act(
        self, observations: Array, goals: Array, rows: NDArray[np.int64] | None, first: NDArray[np.bool_], explore: bool
    ) -> PolicyOutput:
        """Greedy joint actions: of the online network and, exploring, with held random ones in a share of the steps; else of the target
        network, whose running mean of weights keeps its skill where single snapshots of the online network swing (Izmailov et al.,
        arXiv 1803.05407)."""
        network = self.online if explore else self.target
        with torch.inference_mode():
            chosen: NDArray[np.int64] = network(policy_inputs(observations, goals, self.device)).argmax(dim=1).cpu().numpy()
        if explore and rows is not None:
            chosen = self.exploration.apply(chosen, rows, first)
        return PolicyOutput(self.actions.table[chosen])

    def learn(self, batch: Batch) -> Metrics:
        """One gradient update; metrics `loss`, `value` (mean Q of the actions taken) and `target`."""
        batch = batch.to(self.device)
        value, target = self._value(batch), self._target(batch)
        loss = (batch.weight * (value - target).square()).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        self.adam.step()
        self.target.vector.lerp_(self.online.vector, self.settings.tau)
        self.updates += 1
        return {"loss": loss.item(), "value": value.mean().item(), "target": target.mean().item()}

    def _value(self, batch: Batch) -> torch.Tensor:
        """Q(s, a, g)."""
        state = torch.cat([batch.observation, batch.goal], dim=1)
        value: torch.Tensor = self.online(state).gather(1, self.actions.index(batch.action).unsqueeze(1)).squeeze(1)
        return value

    def _target(self, batch: Batch) -> torch.Tensor:
        """y."""
        next_state = torch.cat([batch.next_observation, batch.goal], dim=1)
        with torch.no_grad():
            best = self.online(next_state).argmax(dim=1, keepdim=True)
            next_value = self.target(next_state).gather(1, best).squeeze(1)
            target: torch.Tensor = batch.reward + self.settings.discount * (1 - batch.terminated) * next_value
            if self.settings.value_range is not None:
                target.clamp_(*self.settings.value_range)
        return target

    def log_probability(self, observations: Array, goals: Array, actions: Array) -> NDArray[np.float32]:
        """`[n]`: of the greedy action with probability 1 - e + e / choices, of any other with e / choices, e the share of random steps."""
        with torch.inference_mode():
            greedy = self.online(policy_inputs(observations, goals, self.device)).argmax(dim=1)
            taken = self.actions.index(torch.from_numpy(actions.astype(np.int64)).to(self.device))
            same = (taken == greedy).float().cpu().numpy()
        return explored(same, self.settings.exploration, self.actions.count)

    def td_errors(self, batch: Batch) -> NDArray[np.float32]:
        """|Q(s, a, g) - y| of each transition, `[B]`, with the target y of the module's formula."""
        batch = batch.to(self.device)
        with torch.inference_mode():
            error: NDArray[np.float32] = (self._value(batch) - self._target(batch)).abs().cpu().numpy()
        return error

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """`critic`: all weights of the online, then of the target network."""
        return {"critic": [self.online.vector, self.target.vector]}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Networks, Adam's moments and the number of updates."""
        state = {"online": self.online.vector, "target": self.target.vector, "updates": torch.tensor([self.updates])}
        return state | self.adam.state("adam")

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state_dict` returned, in place. `ValueError` names what is missing or has another shape."""
        restore({"online": self.online.vector, "target": self.target.vector}, state)
        self.adam.load("adam", state)
        self.updates = int(state["updates"][0])
