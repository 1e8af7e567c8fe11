"""The replay reward of mutual information: what it learns in a game of two basins, the size of its bonus, and its state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from agent_node.contracts import Batch, JointSteps, PolicySpec, Team
from agent_node.intrinsic.mutual_information import MutualInformation
from agent_node.intrinsic.settings import MutualInformationSettings
from env_server.environments.particles.basin_world import basin_reward
from protocols.runtime.errors import ConfigurationError

SPEC = PolicySpec((1,), 0, (), (-1.0,), (1.0,))
NAMES = ("agent-0", "agent-1")


def built(seed: int = 0, **settings: Any) -> MutualInformation:
    spec = PolicySpec((1,), 0, (), (-1.0,), (1.0,), team=Team(NAMES, 0, (SPEC, SPEC)))
    return MutualInformation(MutualInformationSettings(**{"reorder": 0, **settings}), spec, seed, seed + 1)


def joint_steps(state: torch.Tensor, action: torch.Tensor, reward: torch.Tensor) -> JointSteps:
    """Steps `[n]` of two members from `state[n, 2]`, `action[n, 2]`, `reward[n]`."""
    observation, moves = (tuple(values[:, j : j + 1] for j in range(2)) for values in (state, action))
    ones = torch.ones(len(reward), 2)
    return JointSteps(observation, moves, reward[:, None] * ones, observation, moves, ones, torch.zeros_like(ones), ones)


def batch_of(joint: JointSteps) -> Batch:
    n = len(joint.reward)
    zeros = torch.zeros(n)
    return Batch(
        joint.observation[0], torch.zeros(n, 0), joint.action[0], joint.reward[:, 0], joint.next_observation[0], zeros, zeros + 1, zeros,
        joint=joint,
    )  # fmt: skip


def play(random: np.random.Generator) -> JointSteps:
    """An episode of 25 steps in the two basins: mostly in the wide one, at times in the narrow one."""
    state = 2.0 * random.integers(0, 2, (25, 2)) - 1
    narrow = random.random() < 0.15
    action = 0.6 * state + 0.1 * random.normal(size=(25, 2)) if narrow else -0.5 * state + 0.3 * random.normal(size=(25, 2))
    reward = basin_reward(state.T, action.T)
    return joint_steps(*(torch.from_numpy(np.asarray(values, np.float32)) for values in (state, action, reward)))


def gather(component: MutualInformation, episodes: int, seed: int = 0) -> list[JointSteps]:
    random = np.random.default_rng(seed)
    played = [play(random) for _ in range(episodes)]
    for number, joint in enumerate(played):
        component.joint_episode_ended(number, joint, joint.reward.sum(dim=0).numpy())
    return played


def auc(positive: torch.Tensor, negative: torch.Tensor) -> float:
    """Probability that a value of the first is above one of the second; ties count half."""
    return float(((positive[:, None] > negative).float() + (positive[:, None] >= negative).float()).mean() / 2)


@pytest.mark.parametrize("form", ["published", "standardised"])
def test_bounds_tell_superior_from_inferior_episodes(form: str) -> None:
    component = built(form=form, learning_rate=1e-3, batch_size=256, replay_share=0.0)
    gather(component, 600)
    for _ in range(1500):
        component.train(torch.zeros(1, 2), torch.zeros(1, 2))
    superior, inferior = component.memory.superior.steps, component.memory.inferior.steps
    mixed = {name: torch.cat([superior[name], inferior[name]]) for name in superior}
    order = torch.randperm(len(mixed["state"]), generator=torch.Generator().manual_seed(0))
    good = order < len(superior["state"])
    with torch.no_grad():
        low = component.low(mixed["state"][order], mixed["action"][order])
        up = component.up(mixed["state"][order], mixed["action"][order])
    assert auc(low[good], low[~good]) > 0.9
    assert auc(-up[good], -up[~good]) > 0.9


def test_no_bonus_before_there_are_enough_superior_episodes() -> None:
    component = built(least_episodes=20)
    batch = batch_of(gather(component, 30)[0])
    assert len(component.memory.superior) < 20
    before = component.lower.vector.clone()
    assert not component.bonus(batch).any()
    assert torch.equal(component.lower.vector, before), "the bounds are not trained either"


def test_the_standardised_bonus_is_bounded_and_warms_up() -> None:
    component = built(least_episodes=5, warm_up=100)
    played = gather(component, 300)
    random = np.random.default_rng(3)
    sizes, means = [], []
    for _ in range(200):
        steps = [played[index] for index in random.integers(0, 300, 10)]
        joint = joint_steps(*(torch.cat([torch.cat(getattr(one, name), dim=1) for one in steps]) for name in ("observation", "action")),
                            torch.cat([one.reward[:, 0] for one in steps]))  # fmt: skip
        bonus = component.bonus(batch_of(joint))
        limit = (0.05 + 0.05) * 3 * float(component.moments["reward"].std)
        assert float(bonus.abs().max()) <= limit + 1e-6
        sizes.append(float(bonus.std()))
        means.append(float(bonus.mean()))
    assert sizes[0] < 0.1 * sizes[-1]
    assert abs(np.mean(means[100:])) < 0.1 * sizes[-1], "the bonus has mean 0"
    metrics = component.metrics()
    assert metrics["mi.admitted"] + metrics["mi.rejected"] == 300
    assert metrics["mi.superior.least"] > metrics["mi.inferior.least"]
    assert metrics["mi.low"] >= 0 and metrics["mi.bonus.std"] > 0


def test_the_published_bonus_is_the_weighted_difference_of_the_bounds() -> None:
    component = built(form="published", maximise=0.01, minimise=0.1, least_episodes=5, negatives=None, gradient_steps=1)
    batch = batch_of(gather(component, 300)[7])
    bonus = component.bonus(batch)
    assert batch.joint is not None
    state, action = component.pairs(batch.joint)
    with torch.no_grad():
        wanted = 0.01 * component.low(state, action) - 0.1 * component.up(state, action)
    torch.testing.assert_close(bonus, wanted)


@pytest.mark.parametrize(("maximise", "minimise", "still"), [(0.05, 0.0, "upper"), (0.0, 0.05, "lower"), (0.0, 0.0, "both")])
def test_a_bound_of_weight_zero_is_not_trained(maximise: float, minimise: float, still: str) -> None:
    component = built(maximise=maximise, minimise=minimise, least_episodes=5)
    batch = batch_of(gather(component, 300)[0])
    before = {name: getattr(component, name).vector.clone() for name in ("lower", "upper")}
    component.bonus(batch)
    moved = {name for name in before if not torch.equal(before[name], getattr(component, name).vector)}
    assert moved == {"upper": {"lower"}, "lower": {"upper"}, "both": set()}[still]


def test_a_single_memory_holds_the_newest_episodes() -> None:
    component = built(single_memory=True, episodes=30)
    gather(component, 100)
    assert component.superior.numbers == list(range(70, 100))
    assert not len(component.memory.superior)


def test_discrete_and_continuous_members_side_by_side() -> None:
    team = Team(NAMES, 0, (PolicySpec((2,), 0, (), (0.0,), (4.0,)), PolicySpec((1,), 0, (2, 3))))
    spec = PolicySpec((2,), 0, (), (0.0,), (4.0,), team=team)
    component = MutualInformation(MutualInformationSettings(), spec, 0, 0)
    one = torch.ones(2, 2)
    active = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    observation = (torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[5.0], [6.0]]))
    action = (torch.tensor([[0.0], [3.0]]), torch.tensor([[1, 2], [0, 0]]))
    joint = JointSteps(observation, action, one, observation, action, active, one, active)
    state, actions = component.pairs(joint)
    assert state.tolist() == [[1, 2, 5], [3, 4, 0]], "zeros where a member is not active"
    assert actions.tolist() == [[-1, 0, 1, 0, 0, 1], [0.5, 0, 0, 0, 0, 0]]


def test_a_restored_component_goes_on_bit_for_bit() -> None:
    component = built(least_episodes=5, reorder=8)
    played = gather(component, 300)
    for joint in played[:5]:
        component.bonus(batch_of(joint))
    other = built(seed=7, least_episodes=5, reorder=8)
    other.load_state_dict({name: tensor.clone() for name, tensor in component.state_dict().items()})
    for each in (component, other):
        gather(each, 50, seed=9)
    for joint in played[5:10]:
        assert torch.equal(component.bonus(batch_of(joint)), other.bonus(batch_of(joint)))
    one, two = component.state_dict(), other.state_dict()
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_learner_without_joint_batches_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="choose a learner that declares joint"):
        MutualInformation(MutualInformationSettings(), SPEC, 0, 0)
