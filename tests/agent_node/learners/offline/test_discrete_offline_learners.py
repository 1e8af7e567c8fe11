"""Learners from stored data with discrete actions: divergences, constraints, matrix games with and without all actions in the data."""

from math import exp, log

import numpy as np
import pytest
import torch

from agent_node.contracts import PolicySpec
from agent_node.learners.offline.behaviour_model import kl_divergence, squared_mmd
from agent_node.learners.offline.discrete_bear import LEAST, MOST
from agent_node.learners.offline.settings import BehaviourCloningSettings
from murmuration.testing import check_learner
from protocols.runtime.component_registry import component
from tests.agent_node.learners.offline.batches import DISCRETE, greedy, learner, random_steps, steps

SPEC = PolicySpec((2,), 0, (3,))
MASKED = PolicySpec((5,), 0, (3,), mask=3)
PAYOFF = torch.tensor([[4.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
"""of both agents, by their actions; action 0 has the largest mean for each of them"""
VARIANTS = [
    ("discrete_cql", {}),
    ("discrete_bcq", {}),
    ("discrete_brac", {}),
    ("discrete_brac", {"penalty": "value"}),
    ("discrete_brac", {"divergence": "mmd", "divergence_coef": 5.0}),  # it is bounded, and must count more than the error of values
    ("discrete_bear", {}),
    ("discrete_icq", {}),
    ("dbr", {}),
]


@pytest.mark.parametrize("kind", DISCRETE)
def test_learner_contract(kind: str) -> None:
    check_learner(component("learner", kind).settings(hidden=[16, 16]))


def test_behaviour_cloning_contract() -> None:
    check_learner(BehaviourCloningSettings(hidden=[16, 16]))


@pytest.mark.parametrize("kind", [*DISCRETE, "bc"])
def test_checkpoints_go_on_bit_for_bit(kind: str) -> None:
    one, two = learner(kind, SPEC, 0), learner(kind, SPEC, 1)
    for number in range(3):
        one.learn(random_steps(SPEC, number))
    two.load_state_dict({name: tensor.clone() for name, tensor in one.state_dict().items()})
    for number in range(3, 6):
        assert one.learn(random_steps(SPEC, number)) == two.learn(random_steps(SPEC, number))
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, two.state_dict()[name]), name


def test_closed_form_of_the_discrepancy_is_that_of_samples() -> None:
    """All pairs of 200,000 sampled actions, by counts, under the kernel exp(-|x - y| / (2 sigma)) of one-hot actions, |x - y| in 1-norm."""
    generator, sigma = torch.Generator().manual_seed(0), 2.0
    pi, b = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.1, 0.3, 0.6])
    found = [torch.bincount(torch.multinomial(p, 200_000, True, generator=generator), minlength=3) / 200_000 for p in (pi, b)]
    one_hot = torch.eye(3)
    kernel = torch.exp(-torch.cdist(one_hot, one_hot, p=1) / (2 * sigma))
    sampled = sum(sign * p @ kernel @ q for sign, p, q in ((1, found[0], found[0]), (-2, found[0], found[1]), (1, found[1], found[1])))
    exact = pi @ kernel @ pi - 2 * pi @ kernel @ b + b @ kernel @ b
    closed = squared_mmd(pi.log()[None], b.log()[None], sigma)
    torch.testing.assert_close(closed[0], exact, rtol=0, atol=1e-6)
    torch.testing.assert_close(closed[0], sampled, rtol=0, atol=5e-3)
    largest = squared_mmd(torch.tensor([[0.0, -60.0, -60.0]]), torch.tensor([[-60.0, 0.0, -60.0]]), 10.0)
    assert float(largest) ** 0.5 == pytest.approx((2 * (1 - exp(-0.1))) ** 0.5)


def test_gradient_of_the_divergence_is_that_by_hand() -> None:
    """d KL(pi || b) / d logit_a = pi_a (ln pi_a - ln b_a - KL)."""
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    log_b = torch.randn(5, 4, generator=torch.Generator().manual_seed(2)).log_softmax(dim=1)
    log_pi = logits.log_softmax(dim=1)
    divergence = kl_divergence(log_pi, log_b)
    divergence.sum().backward()
    by_hand = log_pi.exp() * (log_pi - log_b - divergence[:, None])
    torch.testing.assert_close(logits.grad, by_hand.detach(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("allowed", "rises"), [(1e-4, True), (1.0, False)])
def test_the_multiplier_rises_when_and_only_when_the_constraint_is_violated(allowed: float, rises: bool) -> None:
    bear = learner("discrete_bear", SPEC, max_discrepancy=allowed)
    for number in range(20):
        before = float(bear.log_multiplier)
        metrics = bear.learn(random_steps(SPEC, number))
        assert (metrics["discrepancy"] > allowed) == rises
        assert float(bear.log_multiplier) == pytest.approx(before + 0.05 * (metrics["discrepancy"] - allowed), abs=1e-6)
        assert (float(bear.log_multiplier) > before) == rises
    bear.log_multiplier.fill_(20.0 if rises else -20.0)
    bear.learn(random_steps(SPEC))
    assert float(bear.log_multiplier) == (MOST if rises else LEAST)


@pytest.mark.parametrize(("kind", "changes"), VARIANTS)
def test_a_matrix_game_is_solved_from_data_of_all_joint_actions(kind: str, changes: dict[str, object]) -> None:
    agents = [learner(kind, SPEC, seed, discount=0.5, **changes) for seed in range(2)]
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        joint = torch.randint(0, 3, (64, 2), generator=generator)
        reward = PAYOFF[joint[:, 0], joint[:, 1]]
        for number, one in enumerate(agents):
            one.learn(steps(torch.ones(64, 2), joint[:, number : number + 1], reward))
    chosen = [int(greedy(one, np.ones((1, 2), np.float32))[0, 0]) for one in agents]
    assert PAYOFF[chosen[0], chosen[1]] == PAYOFF.max()


def _without_an_action(kind: str, **changes: object) -> int:
    """Action of a learner whose data has actions 1 and 2, of which 2 is better; the value of action 0 is never learnt."""
    one, generator = learner(kind, SPEC, 3, discount=0.5, **changes), torch.Generator().manual_seed(0)
    for _ in range(400):
        action = torch.randint(1, 3, (64, 1), generator=generator)
        one.learn(steps(torch.ones(64, 2), action, torch.tensor([0.0, -2.5, -1.5])[action[:, 0]]))
    return int(greedy(one, np.ones((1, 2), np.float32))[0, 0])


@pytest.mark.parametrize(("kind", "changes"), VARIANTS)
def test_actions_that_the_data_has_not_are_not_chosen(kind: str, changes: dict[str, object]) -> None:
    assert _without_an_action(kind, **changes) == 2


def test_unconstrained_learners_choose_what_the_data_has_not() -> None:
    assert _without_an_action("double_dqn") == 0
    assert _without_an_action("discrete_sac", temperature=0.01, learn_temperature=False) == 0


def test_behaviour_cloning_finds_the_likeliest_action_and_draws_by_its_share() -> None:
    cloned, generator = learner("bc", SPEC), torch.Generator().manual_seed(0)
    shares = torch.tensor([0.2, 0.7, 0.1])
    for _ in range(400):
        action = torch.multinomial(shares, 64, True, generator=generator)[:, None]
        cloned.learn(steps(torch.ones(64, 2), action, torch.zeros(64)))
    seen = np.ones((8000, 2), np.float32)
    assert set(greedy(cloned, seen)[:, 0].tolist()) == {1}
    drawn = cloned.act(seen, np.zeros((8000, 0), np.float32), None, np.zeros(8000, bool), True).actions[:, 0]
    np.testing.assert_allclose(np.bincount(drawn, minlength=3) / 8000, shares, atol=0.06)


def test_behaviour_cloning_of_continuous_actions_finds_their_mean() -> None:
    spec = PolicySpec((2,), 0, (), (-1.0, 0.0), (1.0, 4.0))
    cloned, generator = learner("bc", spec), torch.Generator().manual_seed(0)
    for _ in range(400):
        action = torch.tensor([0.5, 1.0]) + 0.3 * torch.randn(64, 2, generator=generator)
        cloned.learn(steps(torch.ones(64, 2), action, torch.zeros(64)))
    np.testing.assert_allclose(greedy(cloned, np.ones((1, 2), np.float32))[0], [0.5, 1.0], atol=0.1)


def test_conservative_loss_is_that_by_hand() -> None:
    given = random_steps(SPEC)
    one = learner("discrete_cql", SPEC, conservative_coef=0.7)
    with torch.no_grad():
        q, target = one.online(given.observation), one._target(given)
    taken = q[torch.arange(64), given.action[:, 0]]
    gap = (q.exp().sum(dim=1).log() - taken).mean()
    metrics = one.learn(given)
    assert metrics["conservative_gap"] == pytest.approx(float(gap), rel=1e-5)
    assert metrics["loss"] == pytest.approx(float((taken - target).square().mean() + 0.7 * gap), rel=1e-5)


def test_targets_of_the_value_penalty_are_lowered_by_the_divergence() -> None:
    given = random_steps(SPEC)
    one, two = (learner("discrete_brac", SPEC, penalty=penalty, discount=0.9) for penalty in ("value", "policy"))
    state = given.next_observation
    with torch.no_grad():
        divergence = one.divergence(state, one._log_pi(state))
    torch.testing.assert_close(one._target(given), two._target(given) - 0.9 * divergence)


def test_only_likely_actions_are_chosen_by_their_values() -> None:
    one = learner("discrete_bcq", SPEC, threshold=0.4)
    with torch.no_grad():
        one.behaviour.network.vector.zero_()
        one.behaviour.network.biases[-1][0, 0] = torch.tensor([0.5, 0.39 * 0.5, 0.41 * 0.5]).log()
        one.online.vector.zero_()
        one.online.biases[-1][0, 0] = torch.tensor([0.0, 2.0, 1.0])
    one.target.vector.copy_(one.online.vector)
    assert int(greedy(one, np.ones((1, 2), np.float32))[0, 0]) == 2
    assert learner("discrete_bcq", SPEC, threshold=0.0).least == -float("inf")


def test_the_better_part_is_the_share_with_the_largest_relative_returns() -> None:
    one, given = learner("dbr", SPEC, better_share=0.25), random_steps(SPEC)
    weights = one._model_weights(given)
    better = weights["better"] > 0
    assert int(better.sum()) == 16 and float(weights["better"].mean()) == pytest.approx(1)
    assert float(given.extras["relative_return"][better].min()) > float(given.extras["relative_return"][~better].max())
    assert torch.equal(weights["worse"] > 0, ~better) and float(weights["worse"].mean()) == pytest.approx(1)


def test_the_policy_follows_the_better_behaviour_and_leaves_the_worse() -> None:
    """Rewards are all 0 in what the critics see, and relative returns are higher for action 1 of three."""
    one, generator = learner("dbr", SPEC, divergence_coef=1.0), torch.Generator().manual_seed(0)
    for _ in range(300):
        action = torch.randint(0, 3, (64, 1), generator=generator)
        given = steps(torch.ones(64, 2), action, torch.zeros(64), terminated=1.0)
        given.extras |= {"relative_return": (action[:, 0] == 1).float() + 0.01 * torch.rand(64, generator=generator)}
        metrics = one.learn(given)
    assert int(greedy(one, np.ones((1, 2), np.float32))[0, 0]) == 1
    assert metrics["contrast"] > 0.3


@pytest.mark.parametrize("kind", [*DISCRETE, "bc"])
def test_illegal_actions_have_no_part_in_learning_and_are_never_chosen(kind: str) -> None:
    one = learner(kind, MASKED)
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        observation = torch.cat([torch.randn(64, 2, generator=generator), torch.tensor([[1.0, 0.0, 1.0]]).expand(64, -1)], dim=1)
        action = 2 * torch.randint(0, 2, (64, 1), generator=generator)
        metrics = one.learn(steps(observation, action, -torch.rand(64, generator=generator)))
    assert all(np.isfinite(value) and abs(value) < 100 for value in metrics.values()), metrics
    seen = observation.numpy()
    for explore in (False, True):
        actions = one.act(seen, np.zeros((64, 0), np.float32), None, np.zeros(64, bool), explore).actions
        assert set(actions[:, 0].tolist()) <= {0, 2}
    if kind != "bc":
        logs = one.log_probability(seen[:1], np.zeros((1, 0), np.float32), np.array([[1]]))
        assert logs[0] == pytest.approx(log(1e-8))
