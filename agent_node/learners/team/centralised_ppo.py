"""PPO with a centralised value function (MAPPO, Yu et al., arXiv 2103.01955), one at each agent.

The loss is that of `ppo`, with V(s) of the state s of `team_networks`, the observations of all members side by side, in the place of V of
the own observation. The policy sees the own observation only, learns from the own steps and rewards, and its advantages are those of whole
joint episodes: what follows their last step is V(s') where a time limit cut them off.

No policy of a peer is needed. What peers send each other as snapshots is therefore one number, that of their updates.

Averaged with neighbours: the groups of `ppo`. Where all members have the same rewards their value functions estimate the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Batch, JointSteps, PolicySpec, State
from agent_node.learners.library.flat_networks import TanhMLP
from agent_node.learners.library.network_architectures import network_of
from agent_node.learners.ppo import PPO, FlatNetwork, Forward
from agent_node.learners.settings import PPOSettings
from agent_node.learners.team.team_networks import follows, observed_size, state
from protocols.runtime.errors import ConfigurationError


class CentralisedPPO(PPO):
    """`ppo` with `centralised_critic`. `ConfigurationError` without a team, and for goals."""

    def __init__(self, settings: PPOSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None) -> None:
        if policy_spec.team is None:
            text = "agents.learner.centralised_critic needs the steps of all agents of the run"
            raise ConfigurationError(f"{text}; write exchange.joint_experience: {{}}")
        if policy_spec.goal:
            raise ConfigurationError(
                "agents.learner.centralised_critic takes no goals; write false, or choose an environment without goals"
            )
        self.team = policy_spec.team
        super().__init__(settings, policy_spec, rows, seed, initial)
        self._states = torch.zeros(0)
        """`[rows, sum of F_j]` of the rollout that is learnt from"""
        self.peer_updates = torch.full((len(self.team.names),), -1.0, device=self.device)
        """of each peer at its newest snapshot; -1: none is in use"""

    def _networks(self, policy_spec: PolicySpec, generator: torch.Generator) -> tuple[FlatNetwork, FlatNetwork]:
        settings = self.settings
        policy = network_of(settings.network, policy_spec, settings.hidden, self.head.width, generator, gain=0.01, device=self.device)
        width = sum(observed_size(spec) for spec in self.team.specs)
        return policy, TanhMLP([width, *settings.hidden, 1], generator, 1.0, self.device)

    def _rollout_values(self, batch: Batch, state: torch.Tensor, following: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        joint = _joint(batch)
        value = self._values(_states(joint.observation, joint.active))
        next_value = self._values(_states(joint.next_observation, follows(joint)))
        return value.view(batch.reward.shape), next_value.view(batch.reward.shape)

    def _rollout_outputs(self, batch: Batch, state: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """As in `PPO`; also keeps the states of the steps that count, for the minibatches."""
        joint = _joint(batch)
        self._states = _states(joint.observation, joint.active)[counts]
        return super()._rollout_outputs(batch, state, counts)

    def _minibatches(self, rows: int) -> Iterator[tuple[torch.Tensor, Forward]]:
        """Minibatches of which the value network sees the states."""
        for part, forward in super()._minibatches(rows):
            states = self._states.index_select(0, part)

            def seen(network: FlatNetwork, inputs: torch.Tensor, states: torch.Tensor = states, forward: Forward = forward) -> torch.Tensor:
                return forward(network, states if network is self.value else inputs)

            yield part, seen

    def policy_snapshot(self) -> NDArray[np.float32]:
        """`[1]`: the number of own updates."""
        return np.array([self.updates], np.float32)

    def load_peer_policy(self, member: int, snapshot: NDArray[np.float32] | None) -> None:
        """Note it. `ValueError` for members that are no peers, and other shapes."""
        if member == self.team.own or not 0 <= member < len(self.team.names):
            raise ValueError(f"member {member} is no peer of member {self.team.own}")
        if snapshot is not None and (snapshot.shape != (1,) or not np.isfinite(snapshot).all()):
            raise ValueError(f"the snapshot of {self.team.names[member]} is not one finite number")
        self.peer_updates[member] = -1.0 if snapshot is None else float(snapshot[0])

    def live(self) -> State:
        """As in `PPO`, and the numbers of the peers' updates."""
        return {**super().live(), "peer_updates": self.peer_updates}


def _joint(batch: Batch) -> JointSteps:
    if batch.joint is None:
        raise ValueError("the batch has no joint steps; the learner has the capability joint")
    return batch.joint


def _states(observations: tuple[torch.Tensor, ...], present: torch.Tensor) -> torch.Tensor:
    """`[T E, sum of F_j]` of observations `[T, E, F_j]` and `present[T, E, N]`."""
    return state([seen.flatten(0, 1) for seen in observations], present.flatten(0, 1))
