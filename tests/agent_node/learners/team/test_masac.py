"""MASAC: densities and values by hand, temperatures, tasks."""

from __future__ import annotations

from dataclasses import replace
from math import log
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from agent_node.contracts import PolicySpec
from agent_node.learners.team.masac import MASAC, squashed
from agent_node.learners.team.settings import MASACSettings
from tests.agent_node.learners.team.team_data import CONTINUOUS, COPIES, DISCRETE, batch, exchange, greedy, joint_steps, learners


def settings(**changes: Any) -> MASACSettings:
    return MASACSettings(**({"hidden": [32], "learning_rate": 3e-3, "actor_learning_rate": 3e-3, "tau": 0.05} | changes))


def test_the_density_is_that_of_a_squashed_normal() -> None:
    outputs = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    action, density = squashed(outputs, torch.Generator().manual_seed(1))
    mean, logarithm = outputs.chunk(2, dim=1)
    reference = TransformedDistribution(Independent(Normal(mean, logarithm.clamp(-5, 2).exp()), 1), [TanhTransform()])
    inside = (action.abs() < 0.999).all(dim=1)
    assert inside.sum() > 200
    torch.testing.assert_close(density[inside], reference.log_prob(action)[inside], atol=1e-2, rtol=1e-3)


def test_targets_by_hand() -> None:
    """The less optimistic critic, and what the own choice's probability earns."""
    one = learners(MASAC, settings(discount=0.9, temperature=0.5), [DISCRETE, DISCRETE])[0]
    joint = joint_steps([DISCRETE, DISCRETE])
    step = one.critic_step(batch(joint, 0))
    own, log_pi = one._draw(0, one.actor(joint.next_observation[0]), joint.next_observation[0], torch.Generator().manual_seed(3))
    peer = one.actions[1].encoded(joint.next_action[1])
    inputs = torch.cat([*joint.next_observation, own, peer], dim=1)
    least = one.critic_targets(inputs.expand(2, -1, -1)).squeeze(2).amin(dim=0)
    wanted = joint.reward.mean(dim=1) + 0.9 * (least - 0.5 * log_pi)
    torch.testing.assert_close(one.target(step, own, -0.5 * log_pi), wanted)


def test_values_of_choices_are_those_of_the_critics() -> None:
    one = learners(MASAC, settings(), [DISCRETE, CONTINUOUS])[0]
    joint = joint_steps([DISCRETE, CONTINUOUS], rows=6)
    joint.active[2, 1] = 0.0
    step = one.critic_step(batch(joint, 0))
    values = one._choice_values(step, step.actions)
    assert values.shape == (6, 3)
    for choice in range(3):
        joint.action[0][:] = choice
        again = one.critic_step(batch(joint, 0))
        direct = one.joint_values(one.critics, again.state, again.actions, joint.active).amin(dim=0)
        torch.testing.assert_close(values[:, choice], direct.detach())


@pytest.mark.parametrize("spec", [DISCRETE, CONTINUOUS])
def test_the_temperature_follows_the_wanted_entropy(spec: PolicySpec) -> None:
    """Rewards are 0, and the entropy at the start is high or low: alpha falls or rises."""
    temperatures = {}
    for certain in (False, True):
        one = learners(MASAC, settings(temperature=0.1, target_entropy=0.5), [spec, spec])[0]
        one.actor.vector.zero_()
        if certain:
            one.actor.biases[-1].data[..., 0] = 8.0
            if not spec.actions:
                one.actor.biases[-1].data[..., 2:] = -4.0
        joint = joint_steps([spec, spec])
        for _ in range(5):
            metrics = one.learn(batch(replace(joint, reward=torch.zeros_like(joint.reward)), 0))
        temperatures[certain] = float(one.log_temperature.exp())
        if spec.actions:
            assert metrics["entropy"] == pytest.approx(0.0 if certain else log(3), abs=0.1)
    assert temperatures[False] < 0.1 < temperatures[True]


@pytest.mark.parametrize("spec", [DISCRETE, CONTINUOUS])
def test_a_task_of_two_is_learnt(spec: PolicySpec) -> None:
    """The team is paid where each acts by the sign that it sees."""
    specs = [spec, spec]
    members = learners(MASAC, settings(temperature=0.02, target_entropy=0.1, learning_rate=1e-2), specs)

    def wanted(observation: torch.Tensor) -> torch.Tensor:
        return (observation[:, 0] > 0).float() * 2 if spec.actions else observation[:, 0].sign() * 0.5

    for number in range(250):
        joint = joint_steps(specs, seed=number)
        errors = [(action[:, 0] - wanted(seen)).abs() for action, seen in zip(joint.action, joint.observation, strict=True)]
        paid = -torch.stack(errors).clamp(max=1).sum(dim=0)
        given = replace(joint, reward=paid[:, None].repeat(1, 2), terminated=torch.ones(len(paid), 2))
        if number % 10 == 0:
            exchange(members)
        for own, one in enumerate(members):
            one.learn(batch(given, own))
    for own, one in enumerate(members):
        seen = joint.observation[own]
        clear = seen[:, 0].abs() > 0.3
        error = np.abs(greedy(one, seen)[:, 0] - wanted(seen).numpy())[clear.numpy()]
        assert error.mean() < 0.3, own


def test_exploration_draws_from_the_policy() -> None:
    one = learners(MASAC, settings(), [DISCRETE, DISCRETE])[0]
    one.actor.vector.zero_()
    one.actor.biases[-1].data[..., :] = torch.tensor([0.0, 1.0, 2.0])
    seen, goals, rows = np.zeros((COPIES, 3), np.float32), np.zeros((COPIES, 0), np.float32), np.arange(COPIES)
    drawn = np.concatenate([one.act(seen, goals, rows, np.zeros(COPIES, bool), True).actions for _ in range(1000)])[:, 0]
    np.testing.assert_allclose(np.bincount(drawn) / len(drawn), torch.tensor([0.0, 1.0, 2.0]).softmax(dim=0), atol=0.03)
    assert (one.act(seen, goals, rows, np.zeros(COPIES, bool), False).actions == 2).all()
