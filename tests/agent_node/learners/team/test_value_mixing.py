"""VDN and QMIX: targets by hand, monotone mixing, stale snapshots, games."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from agent_node.contracts import JointSteps, PolicySpec
from agent_node.learners.team.settings import QMIXSettings, VDNSettings
from agent_node.learners.team.value_mixing import QMIX, VDN, ValueMixing
from protocols.runtime.errors import ConfigurationError
from tests.agent_node.learners.team.team_data import CONTINUOUS, COPIES, DISCRETE, batch, exchange, greedy, joint_steps, learners

SPECS = [DISCRETE] * 3


def vdn(**changes: Any) -> VDNSettings:
    return VDNSettings(**({"hidden": [32], "learning_rate": 5e-3} | changes))


def qmix(**changes: Any) -> QMIXSettings:
    return QMIXSettings(**({"hidden": [32], "mixer_hidden": [16], "learning_rate": 5e-3} | changes))


def taken(one: ValueMixing, joint: JointSteps, networks: list[Any]) -> torch.Tensor:
    """`[B, N]`: the utilities of the actions taken, by these networks."""
    return torch.cat([networks[j](joint.observation[j]).gather(1, joint.action[j]) for j in range(len(networks))], dim=1).detach()


def test_the_value_of_a_team_is_the_sum_over_its_present_members() -> None:
    members = learners(VDN, vdn(), SPECS)
    exchange(members)
    one, joint = members[0], joint_steps(SPECS)
    joint.active[3, 1] = 0.0
    parts = taken(one, joint, [each.utility for each in members])
    torch.testing.assert_close(one._values(joint).detach(), parts)
    total = one.mixed(parts, joint.active * one._mixed_members(), joint.observation, joint.active, False)
    torch.testing.assert_close(total, (parts * joint.active).sum(dim=1))
    one.load_peer_policy(2, None)
    assert one._mixed_members().tolist() == [1.0, 1.0, 0.0], "without a snapshot a peer is absent"
    assert not one._values(joint)[:, 2].any()


def test_next_values_are_those_of_the_online_choice_in_the_target_network() -> None:
    masked = PolicySpec((6,), 0, (3,), mask=3)
    members = learners(VDN, vdn(), [masked, masked])
    for one in members:
        one.utility_target.vector.normal_(generator=torch.Generator().manual_seed(1))
    exchange(members)
    joint = joint_steps([masked, masked])
    for seen in joint.next_observation:
        seen[:, 3:] = torch.tensor([1.0, 0.0, 1.0])
    values = members[0]._next_values(joint)
    for j, one in enumerate(members):
        seen = joint.next_observation[j]
        best = one.utility(seen)[:, [0, 2]].argmax(dim=1) * 2
        torch.testing.assert_close(values[:, j], one.utility_target(seen).gather(1, best[:, None])[:, 0].detach())


def test_mixing_is_monotone_and_depends_on_the_state() -> None:
    one, joint = learners(QMIX, qmix(), SPECS)[0], joint_steps(SPECS)
    values = torch.randn(64, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    total = one.mixed(values, joint.active, joint.observation, joint.active, False)
    total.sum().backward()
    assert values.grad is not None
    assert (values.grad >= 0).all() and (values.grad.mean(dim=0) > 1e-3).all()
    assert values.grad.std(dim=0).min() > 1e-3
    absent = joint.active.clone()
    absent[:, 1] = 0
    higher = values.detach() + torch.tensor([0.0, 5.0, 0.0])
    same = [one.mixed(given, absent, joint.observation, absent, False).detach() for given in (values, higher)]
    torch.testing.assert_close(*same)


@pytest.mark.parametrize(("kind", "settings"), [(VDN, vdn()), (QMIX, qmix())])
def test_fresh_snapshots_give_the_gradient_of_the_pooled_loss(kind: Any, settings: Any) -> None:
    """Autograd on one loss of all utilities, with one reward scale, against what each member learns for itself."""
    members = learners(kind, settings, SPECS, initial=3)
    exchange(members)
    joint = joint_steps(SPECS)
    joint.terminated[:20], joint.followed[:20] = 1.0, 0.0
    values = torch.cat([one.utility(joint.observation[j]).gather(1, joint.action[j]) for j, one in enumerate(members)], dim=1)
    first, following = members[0], joint.active * (1 - joint.terminated)
    with torch.no_grad():
        next_value = first.mixed(first._next_values(joint), following, joint.next_observation, following, True)
        reward = joint.reward.mean(dim=1)
        scale = float((reward.square().mean() - reward.mean() ** 2).sqrt())
        ended = joint.terminated[:, 0]
        target = reward / scale + settings.discount * (1 - ended) * next_value
    loss = (first.mixed(values, joint.active, joint.observation, joint.active, False) - target).square().mean()
    wanted = torch.autograd.grad(loss, [weight for one in members for weight in one.utility.weights])
    found = []
    for own, one in enumerate(members):
        one.utility_adam.step = lambda: None
        metrics = one.learn(batch(joint, own))
        assert metrics["loss"] == pytest.approx(float(loss.detach()), rel=1e-4)
        found += [weight.grad for weight in one.utility.weights]
    for expected, gradient in zip(wanted, found, strict=True):
        torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=1e-4)


def rewarded(joint: JointSteps, reward: torch.Tensor) -> JointSteps:
    members = len(joint.action)
    return replace(joint, reward=reward[:, None].repeat(1, members), terminated=torch.ones(len(reward), members))


def test_what_all_members_see_is_corrected_once() -> None:
    """All six see one number, of which the reward is a function, and learn for long between two snapshots. Each alone would add the whole
    function to its own utility, and the sum would be six times too large."""
    specs = [DISCRETE] * 6
    members = learners(VDN, vdn(learning_rate=1e-2), specs)
    for number in range(120):
        joint = joint_steps(specs, seed=number)
        for seen in joint.observation:
            seen[:] = joint.observation[0]
        given = rewarded(joint, joint.observation[0][:, 0])
        if number in (0, 60):
            exchange(members)
        for own, one in enumerate(members):
            one.learn(batch(given, own))
    exchange(members)
    one = members[0]
    scale = one._reward_scale(given.reward[:0, 0])
    total = scale * one.mixed(one._values(given), given.active, given.observation, given.active, False)
    error = (total - given.reward[:, 0]).square().mean() / given.reward[:, 0].var()
    assert float(error.detach()) < 0.5, "a sum six times too large, corrected six times too much, has an error of hundreds"


@pytest.mark.parametrize(("kind", "settings"), [(VDN, vdn()), (QMIX, qmix())])
def test_a_game_is_learnt(kind: Any, settings: Any) -> None:
    """Each is paid for the choice that its observation names; the reward is the product of both shares, which a sum cannot represent but
    whose best choices it can."""
    specs = [DISCRETE, DISCRETE]
    members = learners(kind, settings, specs)
    for number in range(250):
        joint = joint_steps(specs, seed=number)
        shares = [
            1 + (action[:, 0] == (seen[:, 0] > 0).long() * 2).float() for seen, action in zip(joint.observation, joint.action, strict=True)
        ]
        if number % 20 == 0:
            exchange(members)
        for own, one in enumerate(members):
            one.learn(batch(rewarded(joint, shares[0] * shares[1]), own))
    for own, one in enumerate(members):
        seen = joint.observation[own]
        assert np.mean(greedy(one, seen)[:, 0] == (seen[:, 0] > 0).numpy() * 2) > 0.9, own


def test_random_actions_become_rare_and_are_legal() -> None:
    masked = PolicySpec((6,), 0, (3,), mask=3)
    one = learners(VDN, vdn(exploration=0.1, exploration_steps=4000), [masked, masked])[0]
    one.utility.vector.zero_()
    one.utility.biases[-1].data[..., 0] = 1.0
    seen, goals = np.zeros((COPIES, 6), np.float32), np.zeros((COPIES, 0), np.float32)
    seen[:, 3], seen[:, 5] = 1.0, 1.0

    def share(steps: int) -> float:
        """Of actions other than the best one, the half of the random ones; among 2 legal choices."""
        first = np.zeros(COPIES, bool)
        chosen = np.concatenate([one.act(seen, goals, np.arange(COPIES), first, True).actions for _ in range(steps)])[:, 0]
        assert 1 not in chosen
        return float(np.mean(chosen == 2))

    assert share(50) == pytest.approx(0.5, abs=0.12)
    share(950)
    assert share(1000) == pytest.approx(0.05, abs=0.02)
    assert (one.act(seen, goals, np.arange(COPIES), np.zeros(COPIES, bool), False).actions == 0).all()


def test_rewards_are_divided_by_their_standard_deviation() -> None:
    small, large = (learners(VDN, vdn(), SPECS)[0] for _ in range(2))
    for number in range(5):
        joint = joint_steps(SPECS, seed=number)
        metrics = small.learn(batch(joint, 0)), large.learn(batch(replace(joint, reward=joint.reward * 1000), 0))
        assert metrics[0]["loss"] == pytest.approx(metrics[1]["loss"], rel=1e-3)
    assert metrics[1]["reward_scale"] == pytest.approx(1000 / 3**0.5, rel=0.15)


def test_continuous_actions_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="those of agent-1 are continuous; write maddpg"):
        learners(QMIX, qmix(), [DISCRETE, CONTINUOUS])
