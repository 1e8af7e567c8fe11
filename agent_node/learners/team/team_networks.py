"""What learners of teams have in common: actions as critics see them, the inputs of critics, and policies of peers.

A member is present in a step where it takes part in it. It follows where its part did not end by its own outcome at this step, so that its
next observation counts:

    present_j = active_j        follows_j = active_j * (1 - terminated_j)

The state is the concatenation of the observations of all members in the order of `Team.names`, with zeros for members that are absent; so
is the joint action: one-hot over the member's joint choices (discrete), or in [-1, 1] (continuous).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from agent_node.contracts import Array, Batch, JointSteps, Learner, PolicySpec, State, Team
from agent_node.learners.library.action_bounds import ActionBounds
from agent_node.learners.library.devices import device_of
from agent_node.learners.library.flat_networks import StackedMLP
from agent_node.learners.library.joint_actions import JointAction
from agent_node.learners.library.optimisers import FlatComponent
from agent_node.learners.team.settings import TeamSettings
from protocols.runtime.errors import ConfigurationError


def gumbel(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Standard Gumbel noise of the shape of `like`."""
    return -torch.empty(like.shape).exponential_(generator=generator).log_().to(like.device)


Pullback = Callable[[torch.Tensor], torch.Tensor]
"""from the gradient of a loss by a result, `[B, width]`, to that by what it was computed from"""


class MemberActions(ABC):
    """Actions of one member, `[B, width]` as critics see them."""

    width: int

    @abstractmethod
    def encoded(self, action: torch.Tensor) -> torch.Tensor:
        """From actions of the wire, `[B, A]`."""

    @abstractmethod
    def best(self, outputs: torch.Tensor, observation: torch.Tensor) -> torch.Tensor:
        """From an actor's `outputs[B, width]` for `observation[B, F]`: the most probable choice, or tanh."""

    @abstractmethod
    def relaxed(self, outputs: torch.Tensor, observation: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, Pullback]:
        """An action through which gradients reach `outputs`, and what computes d loss / d outputs from d loss / d action."""

    @abstractmethod
    def outward(self, encoded: torch.Tensor) -> Array:
        """Actions of the wire, `[B, A]` int32 or float32."""


class DiscreteActions(MemberActions):
    """One-hot over joint choices."""

    def __init__(self, spec: PolicySpec, learner: str, device: torch.device) -> None:
        self.choices = JointAction(spec, learner, device)
        self.width = self.choices.count

    def one_hot(self, index: torch.Tensor) -> torch.Tensor:
        """`[B]` to `[B, width]`."""
        return functional.one_hot(index, self.width).float()

    def encoded(self, action: torch.Tensor) -> torch.Tensor:
        """One-hot of the joint choice of the factors `[B, A]`."""
        return self.one_hot(self.choices.index(action))

    def logits(self, outputs: torch.Tensor, observation: torch.Tensor) -> torch.Tensor:
        """ln pi(a|o), `[B, width]`, about -1e9 for illegal choices."""
        return self.choices.masked(outputs, observation).log_softmax(dim=1)

    def best(self, outputs: torch.Tensor, observation: torch.Tensor) -> torch.Tensor:
        """One-hot of the legal choice with the largest output."""
        return self.one_hot(self.choices.masked(outputs, observation).argmax(dim=1))

    def sample(self, outputs: torch.Tensor, observation: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """One-hot of a choice drawn from softmax(outputs)."""
        return self.one_hot((self.choices.masked(outputs, observation) + gumbel(outputs, generator)).argmax(dim=1))

    def relaxed(self, outputs: torch.Tensor, observation: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, Pullback]:
        """Straight-through Gumbel-softmax of temperature 1 (Jang et al., arXiv 1611.01144): forwards the one-hot of a sample, backwards
        the gradient of softmax(outputs + noise)."""
        noisy = self.choices.masked(outputs, observation) + gumbel(outputs, generator)
        soft = noisy.softmax(dim=1)
        return self.one_hot(noisy.argmax(dim=1)), lambda slope: soft * (slope - (slope * soft).sum(dim=1, keepdim=True))

    def outward(self, encoded: torch.Tensor) -> Array:
        """Factors of the choices, `[B, A]` int32."""
        outward: Array = self.choices.table[encoded.argmax(dim=1).cpu().numpy()]
        return outward


class ContinuousActions(MemberActions):
    """In [-1, 1]^A."""

    def __init__(self, spec: PolicySpec, learner: str, device: torch.device) -> None:
        self.bounds = ActionBounds(spec, learner, device)
        self.width = self.bounds.size

    def encoded(self, action: torch.Tensor) -> torch.Tensor:
        """From the environment's bounds."""
        return self.bounds.inward(action)

    def best(self, outputs: torch.Tensor, observation: torch.Tensor) -> torch.Tensor:
        """tanh(outputs)."""
        return torch.tanh(outputs)

    def relaxed(self, outputs: torch.Tensor, observation: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, Pullback]:
        """tanh(outputs), without noise."""
        action = torch.tanh(outputs)
        return action, lambda slope: slope * (1 - action.square())

    def outward(self, encoded: torch.Tensor) -> Array:
        """To the environment's bounds, `[B, A]` float32."""
        return self.bounds.outward(encoded)


def member_actions(spec: PolicySpec, learner: str, device: torch.device) -> DiscreteActions | ContinuousActions:
    """By the action space of a member."""
    return DiscreteActions(spec, learner, device) if spec.actions else ContinuousActions(spec, learner, device)


def observed_size(spec: PolicySpec) -> int:
    """F, components of one observation."""
    return int(np.prod(spec.observation))


def follows(joint: JointSteps) -> torch.Tensor:
    """`[B, N]`: 1.0 where the member's next observation counts."""
    return joint.active * (1 - joint.terminated)


def state(observations: Sequence[torch.Tensor], present: torch.Tensor) -> torch.Tensor:
    """`[B, sum of F_j]` from observations `[B, F_j]` and `present[B, N]`."""
    if present.all():
        return torch.cat(list(observations), dim=1)
    return torch.cat([seen * present[:, j : j + 1] for j, seen in enumerate(observations)], dim=1)


class TeamLearner(FlatComponent, Learner, ABC):
    """A replay learner with the capability "joint", the networks that peers sent, and rewards of the team.

    `seed`: exploration; `initial`: first parameters (default: `seed` too). `ConfigurationError` without a team, and for goals.
    """

    def __init__(self, settings: TeamSettings, policy_spec: PolicySpec, seed: int, initial: int | None) -> None:
        if policy_spec.team is None:
            text = f"learner {settings.kind} needs the steps of all agents of the run"
            raise ConfigurationError(f"{text}; write exchange.joint_experience: {{}}")
        if policy_spec.goal:
            raise ConfigurationError(f"learner {settings.kind} takes no goals; choose another learner, or an environment without goals")
        self.team: Team = policy_spec.team
        self.own, self.spec = self.team.own, policy_spec
        self.device = device_of(settings.device, "agents.learner.device")
        self.actions = [member_actions(spec, settings.kind, self.device) for spec in self.team.specs]
        self.state_width = sum(observed_size(spec) for spec in self.team.specs)
        self.action_width = sum(actions.width for actions in self.actions)
        self.updates = 0
        self.initial = torch.Generator().manual_seed(seed if initial is None else initial)
        self.known = torch.zeros(len(self.team.names), dtype=torch.int64)
        """1 for peers whose snapshot is in use"""
        self.peers: dict[int, list[StackedMLP]] = {}
        """for each peer the networks that its snapshot fills, one after the other"""

    def policy_network(self, member: int, hidden: Sequence[int], outputs: int, generator: torch.Generator) -> StackedMLP:
        """A network of the member's observation, `[B, F] -> [B, outputs]`."""
        return StackedMLP(1, [observed_size(self.team.specs[member]), *hidden, outputs], generator, self.device)

    def reserve_peers(self, hidden: Sequence[int], outputs: Sequence[int], networks: int) -> None:
        """Room for the snapshots of all peers: `networks` networks with `outputs[member]` outputs each."""
        unused = torch.Generator().manual_seed(0)
        for member in range(len(self.team.names)):
            if member != self.own:
                self.peers[member] = [self.policy_network(member, hidden, outputs[member], unused) for _ in range(networks)]
                for network in self.peers[member]:
                    network.vector.zero_()

    # --- snapshots --------------------------------------------------------------------------------------------------------------------

    @abstractmethod
    def shared_networks(self) -> list[StackedMLP]:
        """What a snapshot contains."""

    def policy_snapshot(self) -> NDArray[np.float32]:
        """`[P]`: the parameters of `shared_networks`, one after the other."""
        return np.concatenate([network.vector.cpu().numpy() for network in self.shared_networks()])

    @torch.no_grad()
    def load_peer_policy(self, member: int, snapshot: NDArray[np.float32] | None) -> None:
        """Use a peer's snapshot from now on, or (None) no longer. `ValueError` for members that are no peers, other shapes, and values
        that are not finite."""
        if member not in self.peers:
            raise ValueError(f"member {member} is no peer; peers are {sorted(self.peers)}")
        if snapshot is None:
            self.known[member] = 0
            return
        networks = self.peers[member]
        sizes = [network.vector.numel() for network in networks]
        if snapshot.shape != (sum(sizes),):
            raise ValueError(f"the snapshot of {self.team.names[member]} has shape {list(snapshot.shape)} instead of [{sum(sizes)}]")
        if not np.isfinite(snapshot).all():
            raise ValueError(f"the snapshot of {self.team.names[member]} contains values that are not finite")
        for network, part in zip(networks, np.split(snapshot, np.cumsum(sizes)[:-1]), strict=True):
            network.vector.copy_(torch.from_numpy(np.ascontiguousarray(part, np.float32)))
        self.known[member] = 1

    def peer_state(self) -> State:
        """Snapshots in use, for checkpoints."""
        found = {f"peer.{member}.{k}": network.vector for member, networks in self.peers.items() for k, network in enumerate(networks)}
        return {"known": self.known, **found}

    # --- batches ----------------------------------------------------------------------------------------------------------------------

    def joint_steps(self, batch: Batch) -> JointSteps:
        """`ValueError` for a batch without them."""
        if batch.joint is None:
            raise ValueError("the batch has no joint steps; the learner has the capability joint")
        return batch.joint

    def team_reward(self, batch: Batch, joint: JointSteps) -> torch.Tensor:
        """`[B]`: mean of all members' rewards; what was added to the batch's own rewards since the steps were taken is added to it."""
        return joint.reward.mean(dim=1) + (batch.reward - joint.reward[:, self.own])
