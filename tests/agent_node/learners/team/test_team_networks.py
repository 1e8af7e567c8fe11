"""Actions as critics see them, states with absent members, snapshots of peers, rewards of the team."""

from typing import Any

import numpy as np
import pytest
import torch

from agent_node.contracts import PolicySpec
from agent_node.learners.team.maddpg import MADDPG
from agent_node.learners.team.masac import MASAC
from agent_node.learners.team.settings import MADDPGSettings, MASACSettings, QMIXSettings, VDNSettings
from agent_node.learners.team.team_networks import DiscreteActions, follows, gumbel, member_actions, state
from agent_node.learners.team.value_mixing import QMIX, VDN
from protocols.runtime.errors import ConfigurationError
from tests.agent_node.learners.team.team_data import CONTINUOUS, DISCRETE, batch, exchange, joint_steps, learners, team_spec

CPU = torch.device("cpu")
KINDS: list[tuple[Any, Any]] = [
    (MADDPG, MADDPGSettings(hidden=[8])),
    (MASAC, MASACSettings(hidden=[8])),
    (VDN, VDNSettings(hidden=[8])),
    (QMIX, QMIXSettings(hidden=[8], mixer_hidden=[8])),
]
WIDE = PolicySpec((5,), 0, (2, 3))


def test_discrete_actions_are_one_hot_over_joint_choices() -> None:
    actions = member_actions(WIDE, "maddpg", CPU)
    assert actions.width == 6
    encoded = actions.encoded(torch.tensor([[0, 2], [1, 1]]))
    torch.testing.assert_close(encoded, torch.eye(6)[[2, 4]])
    np.testing.assert_array_equal(actions.outward(encoded), [[0, 2], [1, 1]])


def test_continuous_actions_are_within_plus_and_minus_one() -> None:
    actions = member_actions(CONTINUOUS, "maddpg", CPU)
    encoded = actions.encoded(torch.tensor([[-1.0, 4.0], [0.5, 1.0]]))
    torch.testing.assert_close(encoded, torch.tensor([[-1.0, 1.0], [0.5, -0.5]]))
    np.testing.assert_allclose(actions.outward(encoded), [[-1.0, 4.0], [0.5, 1.0]])


def test_relaxed_samples_are_one_hot_legal_and_carry_the_gradient_of_the_softmax() -> None:
    masked = PolicySpec((5,), 0, (3,), mask=3)
    actions = member_actions(masked, "maddpg", CPU)
    observation = torch.tensor([[0.0, 0.0, 1.0, 0.0, 1.0]]).repeat(4000, 1)
    outputs = torch.tensor([[0.0, 5.0, 1.0]]).repeat(4000, 1)
    relaxed, pullback = actions.relaxed(outputs, observation, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(relaxed.mean(dim=0), [1 / (1 + np.e), 0.0, np.e / (1 + np.e)], atol=0.03)
    np.testing.assert_allclose(relaxed.max(dim=1).values, 1.0, rtol=1e-6)
    slope = pullback(torch.tensor([0.0, 0.0, 1.0]).expand_as(relaxed))
    assert isinstance(actions, DiscreteActions)
    traced = outputs.clone().requires_grad_()
    noisy = actions.choices.masked(traced, observation) + gumbel(outputs, torch.Generator().manual_seed(0))
    noisy.softmax(dim=1)[:, 2].sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(slope, traced.grad)
    assert (slope[:, 1] == 0).all() and (slope[:, 2] > 0).all()
    assert actions.best(outputs, observation).argmax(dim=1).eq(2).all(), "the illegal choice has the largest output"


def test_absent_members_are_zeros_in_the_state() -> None:
    joint = joint_steps([DISCRETE, WIDE], rows=4)
    joint.active[1, 0], joint.terminated[2, 1] = 0.0, 1.0
    seen = state(joint.observation, joint.active)
    assert seen.shape == (4, 8)
    assert not seen[1, :3].any() and seen[1, 3:].all()
    following = follows(joint)
    np.testing.assert_array_equal(following, [[1, 1], [0, 1], [1, 0], [1, 1]])
    assert not state(joint.next_observation, following)[2, 3:].any()


@pytest.mark.parametrize(("kind", "settings"), KINDS)
def test_snapshots_are_used_until_they_are_too_old_and_resumed(kind: Any, settings: Any) -> None:
    specs = [DISCRETE, WIDE, DISCRETE]
    members, others = learners(kind, settings, specs), learners(kind, settings, specs, seed=10)
    exchange(members)
    given = batch(joint_steps(specs), 0)
    members[0].learn(given)
    others[0].load_state_dict(members[0].state_dict())
    assert others[0].known.tolist() == [0, 1, 1]
    for one in (members[0], others[0]):
        one.load_peer_policy(1, None)
        assert one.known.tolist() == [0, 0, 1]
    for generator in ("noise", "update_noise"):  # the streams of a resumed agent are not those of the other one
        if hasattr(members[0], generator):
            getattr(others[0], generator).set_state(getattr(members[0], generator).get_state())
    assert members[0].learn(given) == others[0].learn(given)
    for name, tensor in members[0].state_dict().items():
        assert torch.equal(tensor, others[0].state_dict()[name]), name


@pytest.mark.parametrize(("kind", "settings"), KINDS)
def test_wrong_snapshots_are_refused_and_change_nothing(kind: Any, settings: Any) -> None:
    specs = [DISCRETE, WIDE]
    one, other = learners(kind, settings, specs)
    snapshot = other.policy_snapshot()
    one.load_peer_policy(1, snapshot)
    before = {name: tensor.clone() for name, tensor in one.state_dict().items()}
    bad = snapshot.copy()
    bad[3] = np.nan
    cases = [
        (1, one.policy_snapshot(), "agent-1 has shape"),
        (1, bad, "not finite"),
        (0, snapshot, "0 is no peer"),
        (2, snapshot, "2 is no peer"),
    ]
    for member, given, text in cases:
        with pytest.raises(ValueError, match=text):
            one.load_peer_policy(member, given)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize(("kind", "settings"), KINDS)
def test_the_reward_of_the_team_is_the_mean_with_what_was_added_to_the_own(kind: Any, settings: Any) -> None:
    specs = [DISCRETE, WIDE]
    one = learners(kind, settings, specs)[1]
    joint = joint_steps(specs)
    torch.testing.assert_close(one.team_reward(batch(joint, 1), joint), joint.reward.mean(dim=1))
    torch.testing.assert_close(one.team_reward(batch(joint, 1, bonus=0.5), joint), joint.reward.mean(dim=1) + 0.5)


@pytest.mark.parametrize(("kind", "settings"), KINDS)
def test_a_team_is_needed_and_goals_are_refused(kind: Any, settings: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"write exchange\.joint_experience"):
        kind(settings, DISCRETE, 4, 0)
    goals = PolicySpec((3,), 2, (3,), team=team_spec([DISCRETE, DISCRETE], 0).team)
    with pytest.raises(ConfigurationError, match="takes no goals"):
        kind(settings, goals, 4, 0)
    with pytest.raises(ValueError, match="no joint steps"):
        given = batch(joint_steps([DISCRETE]), 0)
        given.joint = None
        kind(settings, team_spec([DISCRETE, DISCRETE], 0), 4, 0).learn(given)
