"""Value-decomposition networks, VDN (Sunehag et al., arXiv 1706.05296), and QMIX (Rashid et al., arXiv 1803.11485), discrete actions.

    VDN:   Q_tot(s, u) = sum over present j of Q_j(o_j, u_j)
    QMIX:  Q_tot(s, u) = w_2(s) . elu(W_1(s) q + b_1(s)) + b_2(s)
           q_j = Q_j(o_j, u_j), 0 for absent members; W_1 and w_2 are absolute values
    u'_j = argmax over the legal actions of Q_j(o'_j, .)
    y = r / c + discount * (1 - ended) * Q_tot,target(s', u'),      r the mean of all rewards
    loss = mean of weight * (Q_tot(s, u) - y)^2;      targets <- targets + tau * (networks - targets)

c is the running standard deviation of r. W_1, b_1, w_2, b_2 are outputs of one network of the state (hypernetwork), which at first gives
each utility a weight of about 1. Utilities begin near 0; where rewards are negative this is optimistic, and the members explore by it.

Every agent learns its own utility Q_i and its own copy of the mixing network. Utilities of the peers, and their targets, are those of the
newest snapshots; a peer without one is absent. Since that snapshot the peers have learnt too. An agent that ignored this would correct
the whole error of Q_tot alone, as would each of N agents, and the sum of all corrections would be N times too large. Therefore the
peers' values are taken to have changed since their snapshot as much as the agent's own since its own newest one:

    Q_j(o_j, u_j) = snapshot of Q_j + drift,    drift = Q_i(o_i, u_i) - snapshot of Q_i(o_i, u_i), without gradient

With a snapshot after each update the drift is 0 and the gradient is that of the pooled learner.

Averaged with neighbours: `policy` the utility network with its target, `critic` the mixing network with its target. A snapshot is the
utility network and its target.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from agent_node.contracts import Array, Batch, JointSteps, Metrics, PolicyOutput, PolicySpec, State
from agent_node.learners.library.flat_networks import StackedMLP, policy_inputs
from agent_node.learners.library.optimisers import Adam, remaining
from agent_node.learners.team.settings import MonotoneMixingSettings, ValueMixingSettings, VDNSettings
from agent_node.learners.team.team_networks import DiscreteActions, TeamLearner, follows, state
from protocols.runtime.errors import ConfigurationError
from protocols.spaces.action_masks import draw_legal

LEAST_SCALE = 1e-3
"""least standard deviation by which rewards are divided"""


class ValueMixing(TeamLearner):
    """Utilities of all members, and what mixes them."""

    settings: ValueMixingSettings
    counters = ("updates", "acted")

    def __init__(self, settings: ValueMixingSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None) -> None:
        super().__init__(settings, policy_spec, seed, initial)
        self.settings = settings
        self.choices: list[DiscreteActions] = []
        for name, actions in zip(self.team.names, self.actions, strict=True):
            if not isinstance(actions, DiscreteActions):
                text = f"learner {settings.kind} needs discrete actions, and those of {name} are continuous"
                raise ConfigurationError(f"{text}; write maddpg")
            self.choices.append(actions)
        widths = [actions.width for actions in self.choices]
        self.utility, self.utility_target, self.published = (
            self.policy_network(self.own, settings.hidden, widths[self.own], self.initial) for _ in range(3)
        )
        self.utility_target.vector.copy_(self.utility.vector)
        self.published.vector.copy_(self.utility.vector)
        self.reserve_peers(settings.hidden, widths, 2)
        self.utility_adam = Adam(self.utility.vector, self.utility.gradient, settings.learning_rate, settings.max_grad_norm)
        self.optimisers: dict[str, Adam] = {"utility_adam": self.utility_adam}
        self.rewards = torch.zeros(3, dtype=torch.float64, device=self.device)
        """of the rows of all batches their number, and the sums of the rewards and of their squares"""
        self.acted = 0
        """rows in which it has explored"""
        self.random = np.random.default_rng(seed)

    def act(
        self, observations: Array, goals: Array, rows: NDArray[np.int64] | None, first: NDArray[np.bool_], explore: bool
    ) -> PolicyOutput:
        """The choices of the largest utility; exploring, random legal ones with a probability that falls."""
        own, random, settings = self.choices[self.own], self.random, self.settings
        with torch.inference_mode():
            inputs = policy_inputs(observations, goals, self.device)
            chosen = own.outward(own.best(self.utility(inputs), inputs))
        if explore and rows is not None:
            self.acted += len(rows)
            share = remaining(min(self.acted, settings.exploration_steps), settings.exploration_steps)
            explored = random.random(len(rows)) < settings.exploration + (1 - settings.exploration) * share
            if explored.any():
                legal = own.choices.legal(inputs)
                drawn = np.ones((len(rows), own.width), bool) if legal is None else legal.cpu().numpy()
                chosen[explored] = own.choices.table[draw_legal(drawn[explored], (own.width,), random)[:, 0]]
        return PolicyOutput(chosen)

    def learn(self, batch: Batch) -> Metrics:
        """One gradient update of utility and mixing network, and one of the targets. Metrics: `loss` and `value` (mean Q_tot of the actions
        taken) in units of `reward_scale`, and `reward_scale`, the standard deviation of the rewards."""
        joint = self.joint_steps(batch := batch.to(self.device))
        following, counts = follows(joint), batch.weight * joint.active.amax(dim=1)
        reward, ended = self.team_reward(batch, joint), 1 - following.amax(dim=1)
        scale = self._reward_scale(reward)
        with torch.no_grad():
            next_value = self.mixed(self._next_values(joint), following * self._mixed_members(), joint.next_observation, following, True)
            target = reward / scale + self.settings.discount * (1 - ended) * next_value
        values = self._values(joint)
        value = self.mixed(values, joint.active * self._mixed_members(), joint.observation, joint.active, False)
        loss = (counts * (value - target).square()).mean()
        further, metrics = self._further_loss(batch, joint, values, value, scale)
        if further is not None:
            loss = loss + further
        loss.backward()  # type: ignore[no-untyped-call]
        for optimiser in self.optimisers.values():
            optimiser.step()
        for network, target_network in self.followed_networks():
            target_network.vector.lerp_(network.vector, self.settings.tau)
        self.updates += 1
        return metrics | {"loss": loss.item(), "value": value.mean().item(), "reward_scale": scale}

    def _further_loss(
        self, batch: Batch, joint: JointSteps, values: torch.Tensor, value: torch.Tensor, scale: float
    ) -> tuple[torch.Tensor | None, Metrics]:
        """What is added to the loss, and its metrics, from Q_j(o_j, u_j) `values[B, N]`, Q_tot(s, u) `value[B]` and c, `scale`."""
        return None, {}

    def _reward_scale(self, reward: torch.Tensor) -> float:
        """c, with `reward[B]` included."""
        self.rewards += torch.stack([torch.ones_like(reward), reward, reward.square()]).double().sum(dim=1)
        number, total, squares = self.rewards.tolist()
        deviation: float = max(squares / number - (total / number) ** 2, 0.0) ** 0.5
        return max(deviation, LEAST_SCALE)

    def _mixed_members(self) -> torch.Tensor:
        """`[N]`: 1.0 for the agent itself and peers with a snapshot."""
        mixed = self.known.clone()
        mixed[self.own] = 1
        return mixed.float().to(self.device)

    def _values(self, joint: JointSteps) -> torch.Tensor:
        """Q_j(o_j, u_j), `[B, N]`, of the actions taken; 0 for peers without a snapshot."""
        taken = [actions.choices.index(action) for actions, action in zip(self.choices, joint.action, strict=True)]
        seen = joint.observation

        def value(network: StackedMLP, member: int) -> torch.Tensor:
            values: torch.Tensor = network(seen[member]).gather(1, taken[member].unsqueeze(1)).squeeze(1)
            return values

        own = value(self.utility, self.own)
        with torch.no_grad():
            drift = own - value(self.published, self.own)
            peers = {j: value(networks[0], j) + drift if self.known[j] else torch.zeros_like(own) for j, networks in self.peers.items()}
        return torch.stack([own if j == self.own else peers[j] for j in range(len(taken))], dim=1)

    def _next_values(self, joint: JointSteps) -> torch.Tensor:
        """Q_target,j(o'_j, u'_j), `[B, N]`; 0 for peers without a snapshot."""
        found = []
        for member, (seen, actions) in enumerate(zip(joint.next_observation, self.choices, strict=True)):
            networks = [self.utility, self.utility_target] if member == self.own else self.peers[member]
            if member != self.own and not self.known[member]:
                found.append(torch.zeros(len(seen), device=self.device))
                continue
            best = actions.choices.masked(networks[0](seen), seen).argmax(dim=1, keepdim=True)
            found.append(networks[1](seen).gather(1, best).squeeze(1))
        return torch.stack(found, dim=1)

    @abstractmethod
    def mixed(
        self, values: torch.Tensor, mixed: torch.Tensor, observation: tuple[torch.Tensor, ...], present: torch.Tensor, target: bool
    ) -> torch.Tensor:
        """Q_tot, `[B]`, of `values[B, N]` of the members that are `mixed[B, N]`; the state is that of `observation` where
        `present[B, N]`. `target`: by the target of the mixing network."""

    def followed_networks(self) -> list[tuple[StackedMLP, StackedMLP]]:
        """Networks with their targets."""
        return [(self.utility, self.utility_target)]

    def shared_networks(self) -> list[StackedMLP]:
        """The utility network, then its target."""
        return [self.utility, self.utility_target]

    def policy_snapshot(self) -> NDArray[np.float32]:
        """`[P]`: the utility network, then its target; the drift counts from here on."""
        self.published.vector.copy_(self.utility.vector)
        return super().policy_snapshot()

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """`policy`: the utility network, then its target."""
        return {"policy": [self.utility.vector, self.utility_target.vector]}

    def live(self) -> State:
        """All networks, those of the peers included, and the moments of the rewards."""
        networks = {name: getattr(self, name).vector for name in ("utility", "utility_target", "published")}
        return networks | {"rewards": self.rewards} | self.peer_state()


class VDN(ValueMixing):
    """Learner `vdn`; `rows` copies act at once."""

    settings: VDNSettings

    def mixed(
        self, values: torch.Tensor, mixed: torch.Tensor, observation: tuple[torch.Tensor, ...], present: torch.Tensor, target: bool
    ) -> torch.Tensor:
        """The sum of the values."""
        return (values * mixed).sum(dim=1)


class QMIX(ValueMixing):
    """Learner `qmix`; `rows` copies act at once."""

    settings: MonotoneMixingSettings

    def __init__(self, settings: MonotoneMixingSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None) -> None:
        super().__init__(settings, policy_spec, rows, seed, initial)
        members, width = len(self.team.names), settings.mixing_width
        self.sizes = [members * width, width, width, 1]
        """numbers of W_1, b_1, w_2 and b_2"""
        # Drawn from their own generator, so that the mixing networks of agents with other spaces begin equal too.
        generator = torch.Generator().manual_seed(seed if initial is None else initial)
        widths = [self.state_width, *settings.mixer_hidden, sum(self.sizes)]
        self.mixer, self.mixer_target = (StackedMLP(1, widths, generator, self.device) for _ in range(2))
        first, _, second, _ = torch.split(self.mixer.biases[-1].data, self.sizes, dim=2)
        first.fill_(width**-0.5)
        second.fill_(width**-0.5)
        self.mixer_target.vector.copy_(self.mixer.vector)
        self.optimisers["mixer_adam"] = Adam(self.mixer.vector, self.mixer.gradient, settings.learning_rate, settings.max_grad_norm)

    def mixed(
        self, values: torch.Tensor, mixed: torch.Tensor, observation: tuple[torch.Tensor, ...], present: torch.Tensor, target: bool
    ) -> torch.Tensor:
        """w_2 . elu(W_1 q + b_1) + b_2."""
        return self.mixed_alternatives((values * mixed).unsqueeze(1), state(observation, present), target).squeeze(1)

    def mixed_alternatives(self, values: torch.Tensor, seen: torch.Tensor, target: bool) -> torch.Tensor:
        """Q_tot, `[B, C]`, of C alternative values of the members, `values[B, C, N]`, in the states `seen[B, S]`."""
        network = self.mixer_target if target else self.mixer
        first, first_bias, second, bias = torch.split(network(seen), self.sizes, dim=1)
        units = torch.bmm(values, first.abs().view(len(values), values.shape[2], -1))
        return (second.abs().unsqueeze(1) * functional.elu(units + first_bias.unsqueeze(1))).sum(dim=2) + bias

    def followed_networks(self) -> list[tuple[StackedMLP, StackedMLP]]:
        """The utility network and the mixing network, with their targets."""
        return [*super().followed_networks(), (self.mixer, self.mixer_target)]

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """`policy`: the utility network, then its target; `critic`: the mixing network, then its target."""
        return {**super().parameter_groups(), "critic": [self.mixer.vector, self.mixer_target.vector]}

    def live(self) -> State:
        """All networks, those of the peers included, and the moments of the rewards."""
        return super().live() | {"mixer": self.mixer.vector, "mixer_target": self.mixer_target.vector}
