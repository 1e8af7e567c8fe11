"""Learners: their targets by hand, exploration, averaging, checkpoints."""

from typing import Any

import numpy as np
import pytest
import torch

from agent_node.contracts import Batch, PolicySpec
from agent_node.learners.discrete_sac import DiscreteSAC
from agent_node.learners.double_dqn import DoubleDQN
from agent_node.learners.library.flat_networks import StackedMLP
from agent_node.learners.library.joint_actions import HeldExploration, JointAction
from agent_node.learners.library.optimisers import Adam
from agent_node.learners.settings import DiscreteSACSettings, DoubleDQNSettings
from protocols.runtime.errors import ConfigurationError

INTERFACE = PolicySpec((4,), 3, (3, 2))


def learner(kind: str, seed: int = 0, **changes: Any) -> DoubleDQN | DiscreteSAC:
    if kind == "double_dqn":
        return DoubleDQN(DoubleDQNSettings(hidden=[16, 16], **changes), INTERFACE, 8, seed)
    return DiscreteSAC(DiscreteSACSettings(hidden=[16, 16], **changes), INTERFACE, 8, seed)


def batch(rows: int = 32, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        observation=torch.randn(rows, 4, generator=generator),
        goal=torch.eye(3)[torch.randint(0, 3, (rows,), generator=generator)],
        action=torch.stack([torch.randint(0, n, (rows,), generator=generator) for n in (3, 2)], dim=1),
        reward=torch.rand(rows, generator=generator),
        next_observation=torch.randn(rows, 4, generator=generator),
        terminated=(torch.rand(rows, generator=generator) < 0.3).float(),
        weight=torch.ones(rows),
        imagined=torch.zeros(rows),
    )


def test_flat_parameters_are_the_networks_and_gradients_arrive_in_them() -> None:
    network = StackedMLP(3, [4, 8, 2], torch.Generator().manual_seed(0))
    inputs = torch.randn(3, 5, 4)
    by_hand = torch.stack(
        [
            torch.relu(inputs[m] @ network.weights[0][m] + network.biases[0][m]) @ network.weights[1][m] + network.biases[1][m]
            for m in range(3)
        ]
    )
    torch.testing.assert_close(network(inputs), by_hand)
    network(inputs).square().sum().backward()
    assert network.gradient.abs().sum() > 0
    torch.testing.assert_close(network.gradient[: network.weights[0].numel()], network.weights[0].grad.reshape(-1))  # type: ignore[union-attr]
    network.vector.zero_()
    assert network(inputs).abs().max() == 0


def test_adam_is_torchs() -> None:
    ours = StackedMLP(1, [4, 8, 2], torch.Generator().manual_seed(0))
    theirs = StackedMLP(1, [4, 8, 2], torch.Generator().manual_seed(0))
    adam = Adam(ours.vector, ours.gradient, 1e-2, 0.5)
    reference = torch.optim.Adam(theirs.parameters(), lr=1e-2)
    for step in range(20):
        inputs = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        for network in (ours, theirs):
            (network(inputs).square().sum() * (step + 1)).backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        adam.step()
        reference.step()
        theirs.gradient.zero_()
    torch.testing.assert_close(ours.vector, theirs.vector, rtol=1e-4, atol=1e-6)


def test_joint_actions_go_both_ways() -> None:
    actions = JointAction(PolicySpec((1,), 0, (3, 2, 4)), "x")
    assert actions.count == 24
    np.testing.assert_array_equal(actions.index(torch.from_numpy(actions.table.astype(np.int64))), np.arange(24))


@pytest.mark.parametrize(
    ("policy_spec", "rule"), [(PolicySpec((1,), 0, (), (-1.0,), (1.0,)), "continuous"), (PolicySpec((1,), 0, (100,) * 3), "1000000")]
)
def test_actions_that_do_not_fit_are_refused(policy_spec: PolicySpec, rule: str) -> None:
    with pytest.raises(ConfigurationError, match=rule):
        DoubleDQN(DoubleDQNSettings(), policy_spec, 1, 0)


def test_exploration_holds_and_keeps_its_share() -> None:
    rows = np.arange(200)
    exploration = HeldExploration(200, 1000, 0.25, (3, 11), np.random.default_rng(0))
    nobody, greedy = np.zeros(200, bool), np.full(200, -1)
    played = np.stack([exploration.apply(greedy, rows, nobody) for _ in range(2000)])
    assert (played[200:] >= 0).mean() == pytest.approx(0.25, abs=0.01)
    column = played[:, 0]
    edges = np.flatnonzero(np.diff(column)) + 1
    holds = [len(part) for part in np.split(column, edges)[1:-1] if part[0] >= 0]
    assert min(holds) >= 3 and max(holds) == 11
    exploration.apply(greedy, rows, nobody)
    everyone = np.ones(200, bool)
    assert (exploration.apply(greedy, rows, everyone) >= 0).mean() < 0.15, "an episode's start ends what was held"


@pytest.mark.parametrize("kind", ["double_dqn", "discrete_sac"])
def test_greedy_actions_change_nothing(kind: str) -> None:
    one = learner(kind)
    observations, goals = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32), np.eye(3, dtype=np.float32)[[0] * 8]
    rows, first = np.arange(8), np.zeros(8, bool)
    chosen = one.act(observations, goals, rows, first, explore=False).actions
    assert chosen.shape == (8, 2) and chosen.dtype == np.int32
    for _ in range(5):
        np.testing.assert_array_equal(one.act(observations, goals, rows, first, explore=False).actions, chosen)
    assert one.act(observations[:0], goals[:0], rows[:0], first[:0], explore=True).actions.shape == (0, 2)


def test_double_dqn_target_by_hand() -> None:
    one = learner("double_dqn", discount=0.9, tau=0.1, value_range=(0.0, 1.0))
    assert isinstance(one, DoubleDQN)
    for number in range(3):
        one.learn(batch(seed=number))
    data = batch(seed=9)
    target = []
    with torch.no_grad():
        for i in range(32):
            following = torch.cat([data.next_observation[i], data.goal[i]])[None]
            best = int(one.online(following)[0].argmax())
            bootstrap = 0.0 if data.terminated[i] else 0.9 * float(one.target(following)[0, best])
            target.append(min(max(float(data.reward[i]) + bootstrap, 0.0), 1.0))
    before = one.target.vector.clone()
    metrics = one.learn(data)
    assert metrics["target"] == pytest.approx(np.mean(target), rel=1e-5)
    torch.testing.assert_close(one.target.vector, before + 0.1 * (one.online.vector - before))


@pytest.mark.parametrize("kind", ["double_dqn", "discrete_sac"])
def test_a_bandit_is_solved(kind: str) -> None:
    """One step, reward 1 for the action that the goal names: the greedy policy must find it, for each goal."""
    one = learner(kind, learning_rate=3e-3, discount=0.9, **({"target_entropy": 0.1} if kind == "discrete_sac" else {}))
    random = np.random.default_rng(0)
    for number in range(400):
        data = batch(64, number)
        data.action[:, 0] = torch.from_numpy(random.integers(0, 3, 64))
        data.reward = (data.action[:, 0] == data.goal.argmax(dim=1)).float()
        data.terminated = torch.ones(64)
        metrics = one.learn(data)
    assert all(np.isfinite(value) for value in metrics.values())
    goals = np.eye(3, dtype=np.float32).repeat(8, axis=0)
    observations = random.normal(size=(24, 4)).astype(np.float32)
    chosen = one.act(observations, goals, np.arange(24) % 8, np.zeros(24, bool), explore=False).actions[:, 0]
    assert (chosen == goals.argmax(axis=1)).mean() >= 0.95


def test_weights_scale_their_transitions() -> None:
    data, other = batch(seed=1), batch(seed=1)
    data.weight = torch.cat([torch.full((16,), 2.0), torch.zeros(16)])
    for name in ("observation", "goal", "action", "reward", "next_observation", "terminated"):
        getattr(other, name)[16:] = getattr(other, name)[:16]
    one, two = learner("double_dqn"), learner("double_dqn")
    one.learn(data)
    two.learn(other)
    torch.testing.assert_close(one.parameter_groups()["critic"][0], two.parameter_groups()["critic"][0])


@pytest.mark.parametrize("kind", ["double_dqn", "discrete_sac"])
def test_state_restores_the_learner_exactly(kind: str) -> None:
    one, two = learner(kind, 0), learner(kind, 1)
    for number in range(3):
        one.learn(batch(seed=number))
    two.load_state_dict({name: tensor.clone() for name, tensor in one.state_dict().items()})
    for number in range(3, 6):
        assert one.learn(batch(seed=number)) == two.learn(batch(seed=number))
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, two.state_dict()[name]), name
    broken = one.state_dict()
    missing = next(iter(broken))
    del broken[missing]
    with pytest.raises(ValueError, match=missing):
        two.load_state_dict(broken)


@pytest.mark.parametrize(("kind", "groups"), [("double_dqn", ["critic"]), ("discrete_sac", ["policy", "critic"])])
def test_averaged_groups_are_live(kind: str, groups: list[str]) -> None:
    """Two learners whose groups are averaged act alike, whatever they had learnt."""
    one, two = learner(kind, 0), learner(kind, 1)
    one.learn(batch(seed=1))
    assert list(one.parameter_groups()) == groups
    for name in groups:
        for mine, theirs in zip(one.parameter_groups()[name], two.parameter_groups()[name], strict=True):
            mean = (mine + theirs) / 2
            mine.copy_(mean)
            theirs.copy_(mean)
    one.averaged()
    two.averaged()
    observations, goals = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32), np.zeros((200, 3), np.float32)
    choices = [each.act(observations, goals, np.zeros(200, np.int64), np.zeros(200, bool), explore=False).actions for each in (one, two)]
    np.testing.assert_array_equal(*choices)


def test_the_share_of_clamped_targets_is_reported() -> None:
    given = batch()
    assert "clamped" not in learner("double_dqn").learn(given), "nothing is clamped by default"
    assert learner("double_dqn", value_range=(-10.0, 10.0)).learn(given)["clamped"] == 0.0
    metrics = learner("double_dqn", value_range=(0.0, 0.01)).learn(given)
    assert metrics["clamped"] > 0.9 and 0 <= metrics["target"] <= 0.01


def test_dueling_values_are_the_state_s_and_the_advantages_over_their_mean() -> None:
    """Wang et al., equation 9: the mean of Q over actions is V, and differences between actions are those of A."""
    dueling, given = learner("double_dqn", dueling=True, learning_rate=3e-3), batch()
    assert isinstance(dueling, DoubleDQN)
    state = torch.cat([given.observation, given.goal], dim=1)
    outputs, values = dueling.online(state), dueling._q(dueling.online, state)
    assert outputs.shape == (32, 7) and values.shape == (32, 6)
    torch.testing.assert_close(values.mean(dim=1), outputs[:, 0])
    torch.testing.assert_close(values[:, 1:] - values[:, :1], outputs[:, 2:] - outputs[:, 1:2])
    before = dueling.online.vector.clone()
    losses = [dueling.learn(given)["loss"] for _ in range(150)]
    assert losses[-1] < losses[0] / 2 and not torch.equal(before, dueling.online.vector)


@pytest.mark.parametrize("dueling", [False, True])
def test_targets_are_discounted_by_the_steps_that_they_go_over(dueling: bool) -> None:
    one, given = learner("double_dqn", dueling=dueling, discount=0.5), batch()
    assert isinstance(one, DoubleDQN)
    given.steps = torch.randint(1, 4, (32,), generator=torch.Generator().manual_seed(5)).float()
    following = torch.cat([given.next_observation, given.goal], dim=1)
    with torch.no_grad():
        best = one._q(one.online, following).argmax(dim=1)
        value = one._q(one.target, following)[torch.arange(32), best]
    expected = given.reward + 0.5**given.steps * (1 - given.terminated) * value
    torch.testing.assert_close(one._target(given), expected)
