"""MADDPG: a centralised learner as oracle, targets by hand, noise, a task that one agent cannot solve alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from agent_node.contracts import Batch, JointSteps, PolicySpec
from agent_node.learners.library.flat_networks import StackedMLP
from agent_node.learners.team.maddpg import MADDPG
from agent_node.learners.team.settings import MADDPGSettings
from agent_node.learners.team.team_networks import gumbel
from tests.agent_node.learners.team.team_data import (
    CONTINUOUS,
    COPIES,
    DISCRETE,
    batch,
    exchange,
    greedy,
    joint_steps,
    learners,
)

UPDATES = 40


def settings(**changes: Any) -> MADDPGSettings:
    return MADDPGSettings(**({"hidden": [16, 16], "learning_rate": 3e-3, "actor_learning_rate": 3e-3, "max_grad_norm": 10.0} | changes))


def module(network: StackedMLP) -> nn.Sequential:
    """The same network from layers of torch."""
    sizes = [weight.shape[1:] for weight in network.weights]
    layers: list[nn.Module] = []
    for number, (size, weight, bias) in enumerate(zip(sizes, network.weights, network.biases, strict=True)):
        linear = nn.Linear(*size)
        with torch.no_grad():
            linear.weight.copy_(weight[0].T)
            linear.bias.copy_(bias[0, 0])
        layers += [nn.ReLU(), linear] if number else [linear]
    return nn.Sequential(*layers)


class CentralisedMADDPG:
    """One critic, all actors, optimisers of torch: continuous actions, the mean of the rewards."""

    def __init__(self, members: list[MADDPG], chosen: MADDPGSettings) -> None:
        self.settings = chosen
        self.critic, self.critic_target = (module(members[0].critics) for _ in range(2))
        self.actors, self.targets = ([module(one.actor) for one in members] for _ in range(2))
        self.critic_adam = torch.optim.Adam(self.critic.parameters(), chosen.learning_rate)
        self.actor_adams = [torch.optim.Adam(actor.parameters(), chosen.actor_learning_rate) for actor in self.actors]
        self.encoded = [one.actions[i].encoded for i, one in enumerate(members)]

    def learn(self, joint: JointSteps) -> None:
        with torch.no_grad():
            following = [torch.tanh(target(seen)) for target, seen in zip(self.targets, joint.next_observation, strict=True)]
            next_value = self.critic_target(torch.cat([*joint.next_observation, *following], dim=1))[:, 0]
            target = joint.reward.mean(dim=1) + self.settings.discount * next_value
            taken = [encoded(action) for encoded, action in zip(self.encoded, joint.action, strict=True)]
            peers = [torch.tanh(one(seen)) for one, seen in zip(self.targets, joint.observation, strict=True)]
        value = self.critic(torch.cat([*joint.observation, *taken], dim=1))[:, 0]
        self.step(self.critic_adam, self.critic, (value - target).square().mean())
        for own, actor in enumerate(self.actors):
            outputs = actor(joint.observation[own])
            chosen = [torch.tanh(outputs) if j == own else peer for j, peer in enumerate(peers)]
            value = self.critic(torch.cat([*joint.observation, *chosen], dim=1))[:, 0]
            self.step(self.actor_adams[own], actor, self.settings.output_penalty * outputs.square().mean() - value.mean())
        pairs = [(self.critic, self.critic_target), *zip(self.actors, self.targets, strict=True)]
        for network, target_network in pairs:
            for one, other in zip(network.parameters(), target_network.parameters(), strict=True):
                other.data.lerp_(one.data, self.settings.tau)

    def step(self, adam: torch.optim.Adam, network: nn.Module, loss: torch.Tensor) -> None:
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), self.settings.max_grad_norm)
        adam.step()


def test_decentralised_learners_with_fresh_snapshots_are_the_centralised_one() -> None:
    """Same minibatches, snapshots after every update: all critics equal the one critic of a central learner, without averaging."""
    chosen, specs = settings(tau=0.05), [CONTINUOUS, replace(CONTINUOUS, observation=(4,)), CONTINUOUS]
    members = learners(MADDPG, chosen, specs, initial=7)
    central = CentralisedMADDPG(members, chosen)
    inputs = torch.randn(50, members[0].state_width + members[0].action_width, generator=torch.Generator().manual_seed(99))
    start = members[0].critics(inputs).detach()
    for number in range(UPDATES):
        joint = joint_steps(specs, seed=number)
        exchange(members)
        for own, one in enumerate(members):
            one.learn(batch(joint, own))
        central.learn(joint)
    wanted = central.critic(inputs).detach()
    assert (wanted - start).abs().mean() > 0.01
    for own, one in enumerate(members):
        torch.testing.assert_close(one.critics(inputs).detach(), wanted, atol=1e-5, rtol=1e-5)
        seen = joint.observation[own]
        torch.testing.assert_close(one.actor(seen).detach(), central.actors[own](seen).detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("spec", [CONTINUOUS, DISCRETE], ids=["continuous", "discrete"])
def test_the_update_by_hand_is_that_of_autograd(spec: PolicySpec) -> None:
    """Critic and actor after one update, against the losses in readable form; some members are absent or not followed."""
    specs = [spec, CONTINUOUS, DISCRETE]
    one, other = (learners(MADDPG, settings(output_penalty=0.1), specs, initial=3)[0] for _ in range(2))
    joint = joint_steps(specs)
    joint.active[:20, 0] = joint.active[10:30, 1] = 0.0
    joint.terminated[40:50] = 1.0
    one.learn(batch(joint, 0))
    step = other.critic_step(batch(joint, 0))
    with torch.no_grad():
        target = other.target(step, other._best(0, other.actor_target, joint.next_observation[0]))
    value = other.joint_values(other.critics, step.state, step.actions, joint.active)
    (step.weight * (value - target).square()).mean(dim=1).sum().backward()  # type: ignore[no-untyped-call]
    other.critic_adam.step()
    outputs, actions = other.actor(joint.observation[0]), other.current_actions(step)
    if spec.actions:
        noisy = outputs + gumbel(outputs, other.update_noise)
        soft = noisy.softmax(dim=1)
        actions[0] = nn.functional.one_hot(noisy.argmax(dim=1), 3) + soft - soft.detach()
    else:
        actions[0] = torch.tanh(outputs)
    value = other.joint_values(other.critics, step.state, actions, joint.active)[0]
    (joint.active[:, 0] * (0.1 * outputs.square().mean(dim=1) - value)).mean().backward()  # type: ignore[no-untyped-call]
    start = other.actor.vector.clone()
    other.actor_adam.step()
    torch.testing.assert_close(one.critics.vector, other.critics.vector, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(one.actor.vector, other.actor.vector, atol=1e-5, rtol=1e-4)
    assert (one.actor.vector - start).abs().max() > 1e-3


@pytest.mark.parametrize("reward", ["team", "own"])
def test_targets_by_hand(reward: str) -> None:
    """Rows: all go on; member 1 terminates; all terminate; a time limit; member 1 is over. Member 0 learns, its peer has no snapshot."""
    specs = [DISCRETE, CONTINUOUS]
    one = learners(MADDPG, settings(reward=reward, discount=0.9), specs)[0]
    joint = joint_steps(specs, rows=5)
    joint.terminated[1, 1] = joint.terminated[2, 0] = joint.terminated[2, 1] = 1.0
    joint.followed[1, 1] = 0.0
    joint.followed[2:4] = 0.0
    joint.active[4, 1] = joint.followed[4, 1] = 0.0
    step = one.critic_step(batch(joint, 0))
    own = one._best(0, one.actor_target, joint.next_observation[0])
    target = one.target(step, own)
    wanted_reward = joint.reward.mean(dim=1) if reward == "team" else joint.reward[:, 0]
    for row, present, ended, weight in [(0, (1, 1), 0, 1), (1, (1, 0), 0, 1), (2, (0, 0), 1, 1), (3, (1, 1), 0, 0), (4, (1, 0), 0, 1)]:
        parts = [joint.next_observation[0], joint.next_observation[1], own, one.actions[1].encoded(joint.next_action[1])]
        inputs = torch.cat([part[row] * present[number % 2] for number, part in enumerate(parts)])
        wanted = wanted_reward[row] + (0.0 if ended else 0.9 * one.critic_targets(inputs[None])[0, 0])
        assert float(target[row].detach()) == pytest.approx(float(wanted.detach()), abs=1e-5), row
        assert float(step.weight[row]) == weight, row
    exchange([one, learners(MADDPG, settings(), specs)[1]])
    assert one.critic_step(batch(joint, 0)).weight.tolist() == [1.0] * 5, "with a snapshot a time limit bootstraps"


def test_the_noise_is_correlated_within_an_episode_and_vanishes() -> None:
    one = learners(MADDPG, settings(noise_scale=1.0, noise_episodes=4000, hidden=[4]), [CONTINUOUS, CONTINUOUS])[0]
    one.actor.vector.zero_()
    seen, rows, goals = np.zeros((COPIES, 3), np.float32), np.arange(COPIES), np.zeros((COPIES, 0), np.float32)

    def episodes(number: int) -> np.ndarray[Any, Any]:
        """`[number, 25, COPIES]`: noise of the first component."""
        return np.array(
            [[one.act(seen, goals, rows, np.full(COPIES, t == 0), True).actions[:, 0] for t in range(25)] for _ in range(number)]
        )

    noise = episodes(250)  # the first of 4 x 1000 episodes
    assert one.episodes == 1000
    scale = 1 - np.arange(1000).reshape(250, COPIES).mean(axis=1) / 4000
    unscaled = noise / scale[:, None, None]
    wanted = 0.2 * np.sqrt((1 - 0.85 ** (2 * np.arange(1, 26))) / (1 - 0.85**2))
    np.testing.assert_allclose(unscaled.std(axis=(0, 2)), wanted, rtol=0.12)
    assert np.corrcoef(unscaled[:, 10].ravel(), unscaled[:, 11].ravel())[0, 1] == pytest.approx(0.85, abs=0.07)
    assert np.corrcoef(unscaled[1:, 0].ravel(), unscaled[:-1, 24].ravel())[0, 1] == pytest.approx(0.0, abs=0.15)
    episodes(750)
    assert not episodes(1).any(), "noise_episodes are over"
    greedy_actions = one.act(seen, goals, rows, np.zeros(COPIES, bool), False).actions
    np.testing.assert_array_equal(greedy_actions, np.tile(np.array([0.0, 2.0], np.float32), (COPIES, 1)))


def both_right(joint: JointSteps) -> Batch:
    """One step; the team is paid where member 0 does what only member 1 sees, and member 1 what only member 0 sees."""
    first, second = (joint.observation[i][:, 0] > 0 for i in range(2))
    right = (joint.action[0][:, 0] == second.long() + 1).float() + (joint.action[1][:, 0] == first.long() + 1).float()
    return batch(replace(joint, reward=right[:, None].repeat(1, 2), terminated=torch.ones(len(right), 2)), 0)


def test_a_task_of_two_is_learnt() -> None:
    """What each sees of the other's sign is in its second component; reward own: member 1 alone earns for member 0's choice."""
    specs = [DISCRETE, DISCRETE]
    members = learners(MADDPG, settings(tau=0.05), specs)
    for number in range(300):
        joint = joint_steps(specs, seed=number)
        joint.observation[0][:, 1], joint.observation[1][:, 1] = joint.observation[1][:, 0].sign(), joint.observation[0][:, 0].sign()
        given = both_right(joint).joint
        assert given is not None
        if number % 10 == 0:
            exchange(members)
        for own, one in enumerate(members):
            one.learn(batch(given, own))
    for own, one in enumerate(members):
        wanted = (joint.observation[1 - own][:, 0] > 0).long() + 1
        found = greedy(one, joint.observation[own])[:, 0]
        assert np.mean(found == wanted.numpy()) > 0.9, own


def test_opposed_interests_are_learnt_with_own_rewards() -> None:
    """Matching pennies with a preference: member 0 is paid for choice 2, member 1 for choice 0; the mean of both rewards is constant."""
    specs = [DISCRETE, DISCRETE]
    members = learners(MADDPG, settings(tau=0.05, reward="own"), specs)
    for number in range(200):
        joint = joint_steps(specs, seed=number)
        paid = (joint.action[0][:, 0] == 2).float() - (joint.action[1][:, 0] == 0).float()
        given = replace(joint, reward=torch.stack([paid, -paid], dim=1), terminated=torch.ones(len(paid), 2))
        for own, one in enumerate(members):
            one.learn(batch(given, own))
    assert (greedy(members[0], joint.observation[0]) == 2).all()
    assert (greedy(members[1], joint.observation[1]) == 0).all()
