"""Greedy unmixing: both gaps and losses by hand, their weights, and a game from data without one of the actions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from agent_node.contracts import PolicySpec
from agent_node.learners.team.gum import GUM
from agent_node.learners.team.settings import GUMSettings, QMIXSettings
from agent_node.learners.team.value_mixing import QMIX
from murmuration.testing import check_learner
from tests.agent_node.learners.team.team_data import DISCRETE, batch, exchange, greedy, joint_steps, learners
from tests.agent_node.learners.team.test_value_mixing import rewarded, taken

SPECS = [DISCRETE] * 3


def gum(**changes: Any) -> GUMSettings:
    return GUMSettings(**({"hidden": [32], "mixer_hidden": [16], "learning_rate": 5e-3} | changes))


def test_learner_contract() -> None:
    check_learner(GUMSettings(hidden=[16], mixer_hidden=[16]))


def test_the_loss_is_that_by_hand() -> None:
    """Gaps are computed action by action, each with its own pass through the mixing network."""
    members = learners(GUM, gum(discount=0.9), SPECS)
    exchange(members)
    one, joint = members[1], joint_steps(SPECS)
    joint.terminated[:20], joint.active[5:9, 1] = 1.0, 0.0
    given, scale = batch(joint, 1), 2.0
    values = one._values(joint)
    value = one.mixed(values, joint.active, joint.observation, joint.active, False)
    further, metrics = one._further_loss(given, joint, values, value, scale)

    counts, rows = joint.active[:, 1], torch.arange(64)
    with torch.no_grad():
        utilities = one.utility(joint.observation[1])
        own = utilities[rows, joint.action[1][:, 0]]
        best = one.utility(joint.next_observation[1]).argmax(dim=1)
        next_value = one.utility_target(joint.next_observation[1])[rows, best]
        target = given.reward / scale + 0.9 * (1 - joint.terminated[:, 1]) * next_value
        individual = float((counts * (own - target).square()).mean())
        gap = float((counts * (utilities.exp().sum(dim=1).log() - own)).mean())
        totals = []
        for choice in range(3):
            parts = taken(one, joint, [each.utility for each in members])
            parts[:, 1] = utilities[:, choice]
            totals.append(one.mixed(parts, joint.active, joint.observation, joint.active, False))
        mixed_gap = float((counts * (torch.stack(totals, dim=1).exp().sum(dim=1).log() - value)).mean())
    share = (1 / gap) / (1 / gap + 1 / mixed_gap)
    assert metrics == pytest.approx(
        {"individual_loss": individual, "individual_gap": gap, "mixed_gap": mixed_gap, "individual_weight": share}, rel=1e-4
    )
    assert further is not None
    assert float(further.detach()) == pytest.approx(individual + share * gap + (1 - share) * mixed_gap, rel=1e-4)


def test_updates_lower_the_loss_of_a_batch() -> None:
    one, given = learners(GUM, gum(tau=1e-9), SPECS)[0], batch(joint_steps(SPECS), 0)
    losses = [one.learn(given)["loss"] for _ in range(150)]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize(("kind", "settings", "stays"), [(GUM, gum(), True), (QMIX, QMIXSettings(hidden=[32], mixer_hidden=[16]), False)])
def test_actions_that_the_data_has_not_are_not_chosen(kind: Any, settings: Any, stays: bool) -> None:
    """Both members have the actions 1 and 2 in the data, of which 2 is better; rewards are negative, and values of action 0 near 0 at
    first. QMIX takes it."""
    specs = [PolicySpec((3,), 0, (3,))] * 2
    members = learners(kind, settings, specs)
    for number in range(300):
        joint = joint_steps(specs, seed=number)
        for seen, action in zip(joint.observation, joint.action, strict=True):
            seen[:] = 1.0
            action[:] = action.clamp(min=1)
        reward = -4.0 + sum(action[:, 0] for action in joint.action).float()
        if number % 20 == 0:
            exchange(members)
        for own, one in enumerate(members):
            one.learn(batch(rewarded(joint, reward), own))
    chosen = [int(greedy(one, torch.ones(1, 3))[0, 0]) for one in members]
    assert (chosen == [2, 2]) == stays, chosen
    assert np.all(np.array(chosen) != 0) == stays
