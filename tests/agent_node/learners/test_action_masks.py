"""Action masks at the end of the features: no learner chooses what is illegal, or takes its value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from agent_node.contracts import Batch, Learner, PolicySpec
from agent_node.learners.discrete_sac import DiscreteSAC
from agent_node.learners.double_dqn import DoubleDQN
from agent_node.learners.impala import IMPALA
from agent_node.learners.library.action_distributions import Categoricals, head_of, legal_choices
from agent_node.learners.library.joint_actions import HeldExploration
from agent_node.learners.ppo import PPO
from agent_node.learners.settings import DiscreteSACSettings, DoubleDQNSettings, IMPALASettings, PPOSettings
from protocols.spaces.action_masks import are_legal

FACTORS = (4, 3)
SEEN, GOAL, MASK = 5, 2, sum(FACTORS)
SPEC = PolicySpec((SEEN + MASK,), GOAL, FACTORS, mask=MASK)
KINDS = ("double_dqn", "discrete_sac", "ppo", "impala", "impala_lstm")
ROWS = 64


def learner(kind: str, **changes: Any) -> Learner:
    if kind == "double_dqn":
        return DoubleDQN(DoubleDQNSettings(hidden=[16], exploration=0.5, exploration_hold=(2, 4), **changes), SPEC, ROWS, 0)
    if kind == "discrete_sac":
        return DiscreteSAC(DiscreteSACSettings(hidden=[16], exploration=0.5, exploration_hold=(2, 4), **changes), SPEC, ROWS, 0)
    if kind == "ppo":
        return PPO(PPOSettings(hidden=[16], epochs=2, kl_coef=0.1, **changes), SPEC, ROWS, 0)
    return IMPALA(IMPALASettings(hidden=[16], recurrent={"cell": "lstm"} if kind == "impala_lstm" else None, **changes), SPEC, ROWS, 0)


def observations(random: np.random.Generator, *shape: int) -> np.ndarray:
    """Features with masks, among them some in which nothing is legal."""
    masks = random.random((*shape, MASK)) < random.choice([0.0, 0.3, 0.9], (*shape, 1))
    return np.concatenate([random.standard_normal((*shape, SEEN)), masks], axis=-1).astype(np.float32)


def rollout(random: np.random.Generator, one: Learner, steps: int) -> Batch:
    """A rollout of the learner's own actions, without the last observation's."""
    seen, extras, actions = observations(random, steps + 1, ROWS), [], []
    for t in range(steps):
        choice = one.act(seen[t], np.zeros((ROWS, GOAL), np.float32), np.arange(ROWS), np.full(ROWS, t == 0), True)
        actions.append(choice.actions)
        extras.append(choice.extras)
    return Batch(
        observation=torch.from_numpy(seen[:-1]),
        goal=torch.zeros(steps, ROWS, GOAL),
        action=torch.from_numpy(np.stack(actions).astype(np.int64)),
        reward=torch.from_numpy(random.standard_normal((steps, ROWS)).astype(np.float32)),
        next_observation=torch.from_numpy(seen[1:]),
        terminated=torch.from_numpy((random.random((steps, ROWS)) < 0.2).astype(np.float32)),
        weight=torch.from_numpy((random.random((steps, ROWS)) < 0.8).astype(np.float32)),
        imagined=torch.zeros(steps, ROWS),
        first=torch.zeros(steps, ROWS),
        extras={name: torch.from_numpy(np.stack([extra[name] for extra in extras])) for name in extras[0]},
    )


def replayed(batch: Batch) -> Batch:
    """The same steps as a batch of a replay buffer."""
    fields = ("observation", "goal", "action", "reward", "next_observation", "terminated", "imagined")
    flat = {name: getattr(batch, name).flatten(0, 1) for name in fields}
    return Batch(**flat, weight=torch.ones(len(flat["reward"])))


@pytest.mark.parametrize("kind", KINDS)
def test_no_learner_acts_illegally_before_or_after_it_has_learnt(kind: str) -> None:
    random, one, goals = np.random.default_rng(0), learner(kind), np.zeros((ROWS, GOAL), np.float32)
    for updates in range(3):
        for explore in (True, False):
            for rows in (np.arange(ROWS), None):
                for _ in range(10):
                    seen = observations(random, ROWS)
                    actions = one.act(seen, goals, rows, random.random(ROWS) < 0.1, explore).actions
                    assert are_legal(actions, seen[:, -MASK:], FACTORS).all(), (updates, explore, rows is None)
        batch = rollout(random, one, 6)
        metrics = one.learn(batch if "rollout" in one.capabilities else replayed(batch))
        assert metrics and all(np.isfinite(value) for value in metrics.values()), metrics
        assert all(bool(torch.isfinite(tensor).all()) for tensor in one.state_dict().values())


def test_probabilities_and_entropies_are_those_of_the_legal_choices() -> None:
    head, random = head_of(SPEC), np.random.default_rng(1)
    assert isinstance(head, Categoricals)
    seen, outputs = torch.from_numpy(observations(random, 200)), torch.randn(200, MASK)
    inputs = torch.cat([seen, torch.zeros(200, GOAL)], dim=1)
    ours, legal = head.parameters(outputs, inputs), legal_choices(inputs, FACTORS, SEEN + MASK)
    assert (ours.exp()[~legal] == 0).all()
    entropy, divergence = torch.zeros(200), torch.zeros(200)
    other = torch.randn(200, MASK)
    for start, stop in ((0, 4), (4, 7)):
        for row in range(200):
            allowed = legal[row, start:stop]
            p, q = (logits[row, start:stop][allowed].softmax(dim=0) for logits in (outputs, other))
            torch.testing.assert_close(ours[row, start:stop][allowed].exp(), p)
            entropy[row] -= (p * p.log()).sum()
            divergence[row] += (q * (q / p).log()).sum()
    torch.testing.assert_close(head.entropy(ours), entropy)
    torch.testing.assert_close(head.divergence(head.parameters(other, inputs), ours), divergence, rtol=1e-4, atol=1e-5)
    draws = head.sample(ours.repeat(50, 1), torch.Generator().manual_seed(0)).numpy()
    assert are_legal(draws, seen[:, -MASK:].repeat(50, 1).numpy(), FACTORS).all()


def test_without_a_mask_the_head_is_the_same_as_before() -> None:
    plain, outputs = head_of(PolicySpec((SEEN + MASK,), GOAL, FACTORS)), torch.randn(9, MASK)
    assert torch.equal(plain.parameters(outputs, torch.zeros(9, SEEN + MASK + GOAL)), plain.parameters(outputs))


def test_double_dqn_takes_the_value_of_the_best_legal_action_of_the_next_state() -> None:
    random, one = np.random.default_rng(2), learner("double_dqn", value_range=None, discount=0.9)
    assert isinstance(one, DoubleDQN)
    batch = replayed(rollout(random, one, 4))
    following = torch.cat([batch.next_observation, batch.goal], dim=1)
    legal = one.legal(following)
    assert legal is not None
    with torch.no_grad():
        online, target = one.online(following).numpy(), one.target(following).numpy() + 1.0
        one.target.biases[-1].add_(1.0)  # so that online and target differ
        found = one._target(batch).numpy()
    for row in range(len(found)):
        best = max(np.flatnonzero(legal[row]), key=lambda a: online[row, a])
        y = batch.reward[row] + 0.9 * (1 - batch.terminated[row]) * target[row, best]
        assert found[row] == pytest.approx(float(y), abs=1e-5)
    assert (online.argmax(axis=1) != np.where(legal, online, -np.inf).argmax(axis=1)).any(), "the mask must matter here"


def test_soft_values_are_sums_over_the_legal_actions() -> None:
    random, one = np.random.default_rng(3), learner("discrete_sac", discount=0.9)
    assert isinstance(one, DiscreteSAC)
    batch = replayed(rollout(random, one, 4))
    following = torch.cat([batch.next_observation, batch.goal], dim=1)
    legal = one.legal(following)
    assert legal is not None
    with torch.no_grad():
        logits, q = one.policy(following), one.targets(following.expand(2, -1, -1)).amin(dim=0)
        found, alpha = one._target(batch), float(one.log_temperature.exp())
    for row in range(len(found)):
        allowed = torch.from_numpy(legal[row])
        p = logits[row][allowed].softmax(dim=0)
        value = (p * (q[row][allowed] - alpha * p.log())).sum()
        y = batch.reward[row] + 0.9 * (1 - batch.terminated[row]) * value
        assert float(found[row]) == pytest.approx(float(y), abs=1e-4)


@pytest.mark.parametrize("kind", ["double_dqn", "discrete_sac"])
def test_probabilities_of_all_legal_joint_actions_sum_to_one(kind: str) -> None:
    one, seen = learner(kind), observations(np.random.default_rng(4), 20)
    assert isinstance(one, DoubleDQN | DiscreteSAC)
    table = one.actions.table
    for row in seen:
        many, goals = np.repeat(row[None], len(table), axis=0), np.zeros((len(table), GOAL), np.float32)
        logarithm, legal = one.log_probability(many, goals, table), are_legal(table, many[:, -MASK:], FACTORS)
        assert np.exp(logarithm[legal]).sum() == pytest.approx(1.0, abs=1e-5)
        assert (logarithm[~legal] == np.log(np.float32(1e-8))).all()


def test_a_held_action_that_becomes_illegal_is_given_up() -> None:
    rows, random = np.arange(400), np.random.default_rng(0)
    exploration = HeldExploration(400, 9, 0.9, (50, 60), random)
    greedy = np.full(400, -1)
    everything = np.ones((400, 9), bool)
    for _ in range(50):
        held = exploration.apply(greedy, rows, np.zeros(400, bool), everything)
    holding = held >= 0
    assert holding.mean() > 0.5
    legal = everything.copy()
    legal[rows[holding], held[holding]] = False
    chosen = exploration.apply(greedy, rows, np.zeros(400, bool), legal)
    taken = chosen[holding]
    assert (taken != held[holding]).all() and legal[rows[holding], taken][taken >= 0].all()


def test_held_random_actions_are_uniform_among_the_legal_ones() -> None:
    rows = np.arange(9000)
    exploration = HeldExploration(9000, 6, 1.0, (1, 1), np.random.default_rng(0))
    legal = np.zeros((9000, 6), bool)
    legal[:, [1, 4, 5]] = True
    counts = np.bincount(exploration.apply(np.full(9000, 0), rows, np.zeros(9000, bool), legal), minlength=6)
    assert counts[[0, 2, 3]].sum() == 0 and (abs(counts[[1, 4, 5]] - 3000) < 5 * np.sqrt(9000 * 2 / 9)).all()
