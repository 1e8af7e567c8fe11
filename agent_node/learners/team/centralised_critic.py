"""Critics of the joint observation and action, one at each agent.

    y = r + discount * (1 - ended) * next value                 loss of a critic: mean of weight * (Q(s, u) - y)^2

with s, u the state and joint action of `team_networks`. `reward: own`: r is the agent's own reward, ended where its part terminated, and
steps count where it was active. `reward: team`: r is the mean of all rewards, ended where no member follows, and steps count where any
member was active.

Actions of a peer j in y: those of its newest snapshot at o'_j. Without one, its logged next action; a step counts for nothing where j
follows and there is no next action, as at a time limit. In the actor's loss: those of the snapshot at o_j, without one the logged ones.

Averaged with neighbours: `critic` the critics with their targets. With `reward: team` all agents estimate the same function.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch

from agent_node.contracts import Batch, JointSteps, PolicySpec
from agent_node.learners.library.flat_networks import StackedMLP
from agent_node.learners.library.optimisers import Adam
from agent_node.learners.team.settings import CentralisedCriticSettings
from agent_node.learners.team.team_networks import TeamLearner, follows, state


@dataclass
class CriticStep:
    """What a critic learns from, without its target."""

    joint: JointSteps
    state: torch.Tensor
    """`[B, sum of F_j]`"""
    actions: list[torch.Tensor]
    """each `[B, width_j]`, as taken"""
    reward: torch.Tensor
    """`[B]`"""
    next_state: torch.Tensor
    next_actions: list[torch.Tensor | None]
    """of the peers; None for the agent itself"""
    ended: torch.Tensor
    """`[B]`: 1.0 where no value follows"""
    weight: torch.Tensor
    """`[B]`"""


class CentralisedCriticLearner(TeamLearner):
    """Critics, their targets, an actor and the actors of the peers."""

    settings: CentralisedCriticSettings

    def __init__(
        self,
        settings: CentralisedCriticSettings,
        policy_spec: PolicySpec,
        seed: int,
        initial: int | None,
        critics: int,
        outputs_per_action: int,
    ) -> None:
        """`outputs_per_action`: outputs of an actor for each component of a continuous action."""
        super().__init__(settings, policy_spec, seed, initial)
        self.settings = settings
        widths = [self.state_width + self.action_width, *settings.hidden, 1]
        self.critics, self.critic_targets = (StackedMLP(critics, widths, self.initial, self.device) for _ in range(2))
        self.critic_targets.vector.copy_(self.critics.vector)
        discrete = [bool(spec.actions) for spec in self.team.specs]
        outputs = [actions.width * (1 if choices else outputs_per_action) for actions, choices in zip(self.actions, discrete, strict=True)]
        self.actor = self.policy_network(self.own, settings.hidden, outputs[self.own], self.initial)
        self.reserve_peers(settings.hidden, outputs, 1)
        norm = settings.max_grad_norm
        self.critic_adam = Adam(self.critics.vector, self.critics.gradient, settings.learning_rate, norm)
        self.actor_adam = Adam(self.actor.vector, self.actor.gradient, settings.actor_learning_rate, norm)
        self.noise = torch.Generator().manual_seed(seed)
        self.update_noise = torch.Generator().manual_seed(seed + 1)

    @abstractmethod
    def peer_action(self, member: int, observation: torch.Tensor) -> torch.Tensor:
        """`[B, width_j]`: actions of a peer's snapshot for its `observation[B, F_j]`."""

    def critic_step(self, batch: Batch) -> CriticStep:
        """A batch as the critic sees it."""
        joint, own = self.joint_steps(batch), self.own
        present, following = joint.active, follows(joint)
        taken = [actions.encoded(action) for actions, action in zip(self.actions, joint.action, strict=True)]
        next_actions: list[torch.Tensor | None] = [None] * len(taken)
        lacking = torch.zeros_like(batch.reward)
        for member in self.peers:
            if self.known[member]:
                next_actions[member] = self.peer_action(member, joint.next_observation[member])
            else:
                next_actions[member] = self.actions[member].encoded(joint.next_action[member])
                lacking = torch.maximum(lacking, following[:, member] * (1 - joint.followed[:, member]))
        if self.settings.reward == "own":
            reward, ended, counts = batch.reward, joint.terminated[:, own], present[:, own]
        else:
            reward, ended, counts = self.team_reward(batch, joint), 1 - following.amax(dim=1), present.amax(dim=1)
        weight = batch.weight * counts * (1 - lacking * (1 - ended))
        return CriticStep(
            joint, state(joint.observation, present), taken, reward, state(joint.next_observation, following), next_actions, ended, weight
        )

    @staticmethod
    def critic_inputs(seen: torch.Tensor, actions: list[torch.Tensor], present: torch.Tensor) -> torch.Tensor:
        """s and u side by side, `[B, inputs]`."""
        return torch.cat([seen, state(actions, present)], dim=1)

    def joint_values(self, critics: StackedMLP, seen: torch.Tensor, actions: list[torch.Tensor], present: torch.Tensor) -> torch.Tensor:
        """Q_k(s, u), `[critics, B]`."""
        values: torch.Tensor = critics(self.critic_inputs(seen, actions, present).expand(critics.members, -1, -1))
        return values.squeeze(2)

    def target(self, step: CriticStep, own_action: torch.Tensor, bonus: torch.Tensor | float = 0.0) -> torch.Tensor:
        """y, `[B]`, for the agent's own next actions, and what is added to the next value; the least of the target critics counts."""
        actions = [own_action if action is None else action for action in step.next_actions]
        next_value = self.joint_values(self.critic_targets, step.next_state, actions, follows(step.joint)).amin(dim=0) + bonus
        return step.reward + self.settings.discount * (1 - step.ended) * next_value

    def fit_critics(self, step: CriticStep, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One gradient update, by hand: d loss / d Q = 2 / B weight (Q - y); the loss before, and the values `[critics, B]`."""
        value, trace = self.critics.run(self.critic_inputs(step.state, step.actions, step.joint.active))
        value = value.squeeze(2)
        error = value - target
        slope = step.weight * error * (2 / len(target))
        self.critics.back(trace, slope.unsqueeze(2), "parameters")
        self.critic_adam.step()
        return (slope * error).sum() / 2, value

    @torch.no_grad()
    def current_actions(self, step: CriticStep) -> list[torch.Tensor]:
        """`[B, width_j]` for the actor's loss: of the peers by their snapshots, of others as taken."""
        seen = step.joint.observation
        return [self.peer_action(member, seen[member]) if self.known[member] else action for member, action in enumerate(step.actions)]

    def improve_actor(self, loss: torch.Tensor) -> float:
        """One gradient update of the actor by its loss; the loss before."""
        loss.backward()  # type: ignore[no-untyped-call]
        self.critics.gradient.zero_()  # only the actor follows this loss
        self.actor_adam.step()
        return loss.item()
