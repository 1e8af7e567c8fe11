"""Soft actor-critic for continuous actions, with one policy to explore and, where wanted, another to exploit.

The policy that explores maximises r + bonus, the one that is evaluated r alone: a policy that is rewarded for unvisited states visits
them in evaluations too. Both learn from the same transitions. Without `exploit` one policy does both. The formulas are in
`agent_node.learners.sac.soft_actor_critic`.

A batch may bring in `extras`: `bonus[B]`, what optimism adds to the reward; `hallucination[B, H]`, the components of actions that only the
world model uses (`PolicySpec.hallucinated`); `trusted[B]`, 0 for steps from which the policy that exploits must not learn.

Averaged with neighbours: `policy` and `critic` of all pairs.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Array, Batch, Learner, Metrics, PolicyOutput, PolicySpec
from agent_node.learners.library.devices import device_of
from agent_node.learners.library.flat_networks import policy_inputs
from agent_node.learners.sac.settings import SACSettings
from agent_node.learners.sac.soft_actor_critic import SoftActorCritic
from protocols.runtime.errors import ConfigurationError


class SAC(Learner):
    """Learner `sac`. `seed`: exploration; `initial`: first parameters (default: `seed` too)."""

    def __init__(self, settings: SACSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None) -> None:
        if not policy_spec.low:
            raise ConfigurationError("learner sac needs continuous actions, and this environment's are discrete; write discrete_sac")
        self.settings = settings
        self.device = device_of(settings.device, "agents.learner.device")
        self.hallucinated = policy_spec.hallucinated
        inputs, actions = int(np.prod(policy_spec.observation)) + policy_spec.goal, len(policy_spec.low)
        generator = torch.Generator().manual_seed(seed if initial is None else initial)
        self.explorer = SoftActorCritic(settings, inputs, actions, policy_spec.hallucinated, generator, seed, self.device)
        self.exploiter = SoftActorCritic(settings, inputs, actions, 0, generator, seed + 1, self.device) if settings.exploit else None
        bounds = list(zip(policy_spec.low, policy_spec.high, strict=True))
        self._middle = torch.tensor([(low + high) / 2 for low, high in bounds], device=self.device)
        self._half = torch.tensor([(high - low) / 2 for low, high in bounds], device=self.device)
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
                uniform = torch.from_numpy(self._random.uniform(-1, 1, (len(observations), len(self._half))).astype(np.float32))
                return PolicyOutput(self._scale_to_bounds(uniform.to(self.device)))
        state = policy_inputs(observations, goals, self.device)
        with torch.no_grad():
            if explore or imagined:
                chosen = self.explorer.draw(state)[0]
            else:
                chosen = (self.exploiter or self.explorer).best(state)
        executed, eta = chosen[:, : len(self._half)], chosen[:, len(self._half) :]
        return PolicyOutput(self._scale_to_bounds(executed), {"hallucination": eta.cpu().numpy()} if imagined and self.hallucinated else {})

    def _scale_to_bounds(self, action: torch.Tensor) -> NDArray[np.float32]:
        """From [-1, 1] to the environment's bounds."""
        outward: NDArray[np.float32] = (self._middle + self._half * action).cpu().numpy()
        return outward

    def learn(self, batch: Batch) -> Metrics:
        """One update of every pair; metrics as in `SoftActorCritic.update`, of the policy that exploits with the prefix `exploit.`."""
        batch = batch.to(self.device)
        state = torch.cat([batch.observation, batch.goal], dim=1)
        following = torch.cat([batch.next_observation, batch.goal], dim=1)
        action = ((batch.action - self._middle) / self._half).clamp(-1, 1)
        bonus = batch.extras.get("bonus")
        extended_action = action
        if self.hallucinated:
            extended_action = torch.cat([action, batch.extras["hallucination"]], dim=1)
        reward = batch.reward if bonus is None else batch.reward + bonus
        metrics = self.explorer.update(state, extended_action, reward, following, batch.terminated, batch.weight)
        if self.exploiter is not None:
            weight = batch.weight * batch.extras["trusted"] if "trusted" in batch.extras else batch.weight
            plain = self.exploiter.update(state, action, batch.reward, following, batch.terminated, weight)
            metrics |= {f"exploit.{name}": value for name, value in plain.items()}
        self.updates += 1
        return metrics

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """`policy`: the actor with ln(alpha), `critic`: both critics with their targets; those of the explorer, then those of the
        exploiter, where there is one."""
        groups = self.explorer.groups()
        if self.exploiter is not None:
            groups = {name: [*tensors, *self.exploiter.groups()[name]] for name, tensors in groups.items()}
        return groups

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Networks, temperatures, Adam's moments, counters."""
        state = self.explorer.state("") | {"counts": torch.tensor([self.acted, self.updates])}
        return state if self.exploiter is None else state | self.exploiter.state("exploit.")

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state_dict` returned, in place. `ValueError` names what is missing or has another shape."""
        self.explorer.load("", state)
        if self.exploiter is not None:
            self.exploiter.load("exploit.", state)
        if "counts" not in state:
            raise ValueError("counts is missing in the state")
        self.acted, self.updates = (int(count) for count in state["counts"])
