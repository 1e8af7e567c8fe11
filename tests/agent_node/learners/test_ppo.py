"""PPO: advantages by hand, what moves the policy and what must not, a task learnt, checkpoints."""

from typing import Any

import numpy as np
import pytest
import torch

from agent_node.contracts import Batch, PolicySpec
from agent_node.learners.library.target_moments import TargetMoments
from agent_node.learners.ppo import PPO
from agent_node.learners.settings import PPOSettings

INTERFACE = PolicySpec((2,), 3, (3, 2))


def learner(seed: int = 0, **changes: Any) -> PPO:
    return PPO(PPOSettings(**({"hidden": [16], "minibatch_size": 64} | changes)), INTERFACE, 4, seed)


def batch(steps: int = 8, copies: int = 4, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    observed = torch.randn(steps + 1, copies, 2, generator=generator)
    return Batch(
        observation=observed[:-1],
        goal=torch.zeros(steps, copies, 3),
        action=torch.stack([torch.randint(0, n, (steps, copies), generator=generator) for n in (3, 2)], dim=2),
        reward=torch.rand(steps, copies, generator=generator),
        next_observation=observed[1:],
        terminated=torch.zeros(steps, copies),
        weight=torch.ones(steps, copies),
        imagined=torch.zeros(steps, copies),
        first=torch.zeros(steps, copies),
        extras={"log_probability": torch.full((steps, copies), -np.log(6.0), dtype=torch.float32)},
    )


def test_advantages_follow_one_episode_and_no_further() -> None:
    ppo = learner(discount=0.9, gae_lambda=0.5)
    given = batch(5, 1)
    given.reward[:, 0] = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    value, following = torch.arange(5.0)[:, None] / 10, torch.arange(1.0, 6.0)[:, None] / 10
    given.terminated[1] = 1.0
    given.first[2] = 1.0  # type: ignore[index]
    given.weight[3] = 0.0
    delta = [1 + 0.9 * 0.1 - 0.0, 2 - 0.1, 3 + 0.9 * 0.3 - 0.2, 0.0, 5 + 0.9 * 0.5 - 0.4]
    expected = [delta[0] + 0.45 * delta[1], delta[1], delta[2], None, delta[4]]
    found = ppo.advantages(given, value, following)[:, 0].tolist()
    for number, wanted in enumerate(expected):
        assert wanted is None or found[number] == pytest.approx(wanted, rel=1e-5)


def test_steps_that_do_not_count_change_nothing() -> None:
    given, changed = batch(), batch()
    given.weight[3:, 1] = changed.weight[3:, 1] = 0.0
    changed.reward[3:, 1] = 1e3
    changed.action[3:, 1] = 0
    ours, others = learner(), learner()
    ours.learn(given)
    others.learn(changed)
    assert torch.equal(ours.policy.vector, others.policy.vector)
    assert torch.equal(ours.value.vector, others.value.vector)


def test_a_single_step_that_counts_teaches_nothing_and_breaks_nothing() -> None:
    for counting in (1, 2):
        ppo, given = learner(), batch()
        before = ppo.policy.vector.clone()
        given.weight[:] = 0.0
        given.weight[0, :counting] = 1.0
        metrics = ppo.learn(given)
        assert torch.isfinite(ppo.policy.vector).all() and torch.isfinite(ppo.value.vector).all()
        assert torch.equal(before, ppo.policy.vector) == (counting == 1) == (metrics == {})


def test_the_ratio_is_to_the_policy_that_acted() -> None:
    given = batch()
    ppo = learner(epochs=1, minibatch_size=1000)
    with torch.no_grad():
        state = torch.cat([given.observation, given.goal], dim=-1).flatten(0, 1)
        own = ppo.head.log_probability(ppo.head.parameters(ppo.policy(state)), given.action.flatten(0, 1))
    given.extras["log_probability"] = own.reshape(8, 4)
    assert ppo.learn(given)["clipped"] == 0.0
    given.extras["log_probability"] = own.reshape(8, 4) - 1.0
    assert learner(epochs=1, minibatch_size=1000).learn(given)["clipped"] == 1.0


def play(ppo: PPO, random: np.random.Generator, steps: int = 32, copies: int = 32) -> tuple[Batch, float]:
    """One-step episodes: the first factor must be the goal's number, the second the sign of the observation."""
    given = batch(steps, copies)
    goals = random.integers(0, 3, (steps, copies))
    given.observation = torch.from_numpy(random.standard_normal((steps, copies, 2)).astype(np.float32))
    given.goal = torch.eye(3)[torch.from_numpy(goals)]
    rows = np.arange(steps * copies)
    choice = ppo.act(given.observation.flatten(0, 1).numpy(), given.goal.flatten(0, 1).numpy(), rows, np.ones(len(rows), bool), True)
    actions = choice.actions.reshape(steps, copies, 2)
    right = (actions[..., 0] == goals) & (actions[..., 1] == (given.observation[..., 0].numpy() > 0))
    given.action = torch.from_numpy(actions.astype(np.int64))
    given.reward = torch.from_numpy(right.astype(np.float32))
    given.terminated, given.first = torch.ones(steps, copies), torch.ones(steps, copies)
    given.extras = {"log_probability": torch.from_numpy(choice.extras["log_probability"].reshape(steps, copies))}
    return given, float(right.mean())


def test_it_learns_what_a_goal_means() -> None:
    ppo, random = learner(hidden=[32], minibatch_size=256, learning_rate=3e-3, kl_coef=0.1), np.random.default_rng(0)
    before = play(ppo, random)[1]
    for _ in range(40):
        ppo.learn(play(ppo, random)[0])
    assert before < 0.3
    assert play(ppo, random)[1] > 0.9


def test_the_weight_of_the_divergence_follows_its_target() -> None:
    ppo = learner(kl_coef=0.2, adaptive_kl_target=0.01)
    ppo._adapt(0.03)
    assert ppo.kl_coef == pytest.approx(0.3)
    ppo._adapt(0.01)
    assert ppo.kl_coef == pytest.approx(0.3)
    ppo._adapt(0.001)
    assert ppo.kl_coef == pytest.approx(0.15)


def test_a_rollout_that_moves_the_policy_too_far_is_left() -> None:
    reckless = {"learning_rate": 0.1, "epochs": 20, "minibatch_size": 8}
    free, held = learner(**reckless), learner(**reckless, target_kl=0.05)
    whole, part = free.learn(batch()), held.learn(batch())
    assert whole["epochs"] == 20 and whole["divergence"] > 0.1
    assert part["epochs"] == 1 and held.optimisers["policy_adam"].steps < 4


def test_the_rate_falls_to_nothing_with_the_steps_learnt_from() -> None:
    ppo = learner(decay_steps=64)
    assert [ppo.learn(batch(seed=seed))["rate"] for seed in range(4)] == pytest.approx([1e-3, 0.5e-3, 0.0, 0.0])
    last = ppo.policy.vector.clone()
    ppo.learn(batch(seed=9))
    assert torch.equal(ppo.policy.vector, last)


def test_evaluation_changes_nothing_that_explores() -> None:
    ours, others = learner(), learner()
    rows, seen, goals = np.arange(4), np.zeros((4, 2), np.float32), np.zeros((4, 3), np.float32)
    first = np.ones(4, bool)
    for _ in range(3):
        assert ours.act(seen, goals, rows, first, False).extras == {}
    np.testing.assert_array_equal(ours.act(seen, goals, rows, first, True).actions, others.act(seen, goals, rows, first, True).actions)
    best = learner(evaluation="mode")
    np.testing.assert_array_equal(best.act(seen, goals, rows, first, False).actions, best.act(seen, goals, rows, first, False).actions)


def test_a_checkpoint_goes_on_where_it_was() -> None:
    ours, restored = learner(kl_coef=0.2), learner(seed=1)
    ours.learn(batch())
    restored.load_state_dict(ours.state_dict())
    assert torch.equal(ours.policy.vector, restored.policy.vector)
    assert restored.kl_coef == ours.kl_coef
    assert (restored.updates, restored.frames) == (1, 32)
    assert restored.optimisers["value_adam"].steps == ours.optimisers["value_adam"].steps
    with pytest.raises(ValueError, match="policy"):
        restored.load_state_dict({name: tensor for name, tensor in ours.state_dict().items() if name != "policy"})


@pytest.mark.parametrize("scale", [0.001, 1.0, 300.0])
def test_values_of_any_size_are_learnt_at_the_same_speed(scale: float) -> None:
    """Episodes of one step, rewards of two sizes: the value function explains both after some rollouts where targets are normalised."""
    explained = {}
    for normalize in (True, False):
        ppo = learner(normalize_values=normalize, learning_rate=3e-3, max_grad_norm=0.5)
        for number in range(30):
            given = batch(32, seed=number)
            given.terminated[:] = given.first[:] = 1.0  # type: ignore[index]
            given.reward = scale * (given.observation[..., 0] - 2)
            explained[normalize] = ppo.learn(given)["explained"]
    assert explained[True] > 0.9
    assert (explained[False] > 0.9) == (scale == 1.0)


@pytest.mark.parametrize("scale", [1.0, 0.001])
def test_a_policy_is_learnt_from_rewards_of_any_size(scale: float) -> None:
    """The first action component is right if it names the third in which the first observed number is; a third of random ones is."""
    ppo, shape, hits = learner(hidden=[32], discount=0.0, learning_rate=3e-3), (32, 4), []
    for number in range(60):
        given = batch(*shape, seed=number)
        rows, goals = given.observation.flatten(0, 1).numpy(), given.goal.flatten(0, 1).numpy()
        chosen = ppo.act(rows, goals, None, np.zeros(len(rows), bool), True)
        right = chosen.actions[:, 0] == np.digitize(rows[:, 0], [-0.43, 0.43])
        hits.append(float(right.mean()))
        given.action = torch.from_numpy(chosen.actions).long().view(*shape, 2)
        given.reward = scale * torch.from_numpy(right).float().view(shape)
        given.extras["log_probability"] = torch.from_numpy(chosen.extras["log_probability"]).view(shape)
        ppo.learn(given)
    assert np.mean(hits[:5]) < 0.5 and np.mean(hits[-10:]) > 0.8, hits


@pytest.mark.parametrize(
    ("rewards", "floor"),
    [((0.0, 0.0), np.inf), ((0.0, 1.0), 0.1), ((-0.002, 0.002), 0.006), ((100.0, 100.002), 0.003), ((1.0, 1.0), 1e-8)],
    ids=["none", "of order one", "small", "small beside their mean", "constant"],
)
def test_the_floor_of_advantages_follows_small_rewards(rewards: tuple[float, float], floor: float) -> None:
    """Rewards of curiosity are a hundredth of a task's: a fixed floor would leave a policy that learns nothing from them."""
    ppo = learner()
    for number, reward in enumerate(rewards):
        given = batch(16, seed=number)
        given.reward = torch.full_like(given.reward, reward)
        ppo.learn(given)
    assert ppo.advantage_floor() == pytest.approx(floor, rel=1e-3)
    restored = learner(seed=1)
    restored.load_state_dict(ppo.state_dict())
    assert restored.advantage_floor() == ppo.advantage_floor()


@pytest.mark.parametrize(
    ("rewards", "least"),
    [((0.0,) * 4, 1.0), ((0.001,) * 4, 0.001), ((0.0, 0.0, 0.0, 0.001), 0.004), ((0.0, 0.0, 0.0, 0.9), 1.0), ((-5.0,) * 4, 1.0)],
    ids=["none", "small", "small and rare", "rare", "large"],
)
def test_the_least_deviation_of_targets_follows_small_rewards(rewards: tuple[float, ...], least: float) -> None:
    moments = TargetMoments(torch.device("cpu"))
    moments.update(torch.zeros(4), torch.tensor(rewards))
    assert float(moments.center_and_scale()[1]) == pytest.approx(least)


def test_normalised_values_have_the_moments_of_the_targets() -> None:
    """After rollouts with targets of one distribution V has their mean, before any it is the network's output; averages of two agents have
    the moments of both."""
    first, second = learner(0), learner(1)
    for ppo, level in ((first, 10.0), (second, 30.0)):
        assert ppo.moments is not None
        mean, deviation = ppo.moments.center_and_scale()
        assert (float(mean), float(deviation)) == (0.0, 1.0)
        for number in range(60):
            ppo.moments.update(level + torch.randn(4096, generator=torch.Generator().manual_seed(number)), torch.ones(4096))
        mean, deviation = ppo.moments.center_and_scale()
        assert float(mean) == pytest.approx(level, abs=0.1) and float(deviation) == pytest.approx(1.0, abs=0.1)
    for tensors in zip(first.parameter_groups()["critic"], second.parameter_groups()["critic"], strict=True):
        average = (tensors[0] + tensors[1]) / 2
        for tensor in tensors:
            tensor.copy_(average)
    assert first.moments is not None
    mean, deviation = first.moments.center_and_scale()
    assert float(mean) == pytest.approx(20.0, abs=0.1)
    assert float(deviation) == pytest.approx(101**0.5, rel=0.01), "of the mixture: 1 + 10^2"
    observations, goals = np.zeros((2, 2), np.float32), np.zeros((2, 3), np.float32)
    raw = first.value(torch.zeros(2, 5)).squeeze(1).detach().numpy()
    np.testing.assert_allclose(first.values(observations, goals), float(mean) + float(deviation) * raw, rtol=1e-5)


def test_the_entropy_counts_where_actions_are_discrete_by_default() -> None:
    continuous = PolicySpec((2,), 3, (), (-1.0,), (1.0,))
    assert learner().entropy_coef == 0.01
    assert PPO(PPOSettings(hidden=[8]), continuous, 4, 0).entropy_coef == 0.0
    assert PPO(PPOSettings(hidden=[8], entropy_coef=0.1), continuous, 4, 0).entropy_coef == 0.1


@pytest.mark.parametrize("dependent", [False, True])
def test_standard_deviations_are_equal_in_all_states_or_outputs(dependent: bool) -> None:
    """1 at first; rewards for actions near 0 make them smaller. Parameters of their own are averaged and kept with the policy."""
    continuous = PolicySpec((2,), 0, (), (-1.0, -1.0), (1.0, 1.0))
    settings = PPOSettings(hidden=[16], minibatch_size=64, state_dependent_std=dependent, learning_rate=3e-3)
    ppo = PPO(settings, continuous, 4, 0)
    seen = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    for number in range(12):
        given = batch(64, seed=number)
        given.goal = torch.zeros(64, 4, 0)
        features = given.observation.reshape(-1, 2).numpy()
        output = ppo.act(features, np.zeros((256, 0), np.float32), np.arange(256), np.ones(256, bool), True)
        if number == 0:
            np.testing.assert_allclose(output.actions.std(axis=0), [1.0, 1.0], rtol=0.15)
        given.action = torch.from_numpy(output.actions).view(64, 4, 2)
        given.extras = {"log_probability": torch.from_numpy(output.extras["log_probability"]).view(64, 4)}
        given.reward = -given.action.square().sum(dim=2)
        given.terminated[:] = given.first[:] = 1.0  # type: ignore[index]
        ppo.learn(given)
    logarithm = ppo.head.parameters(ppo.policy(seen)).detach()[:, 2:]
    assert float(logarithm.mean()) < -0.1
    assert (float(logarithm.std(dim=0).max()) == 0) == (not dependent)
    policy = ppo.parameter_groups()["policy"]
    assert len(policy) == (1 if dependent else 2)
    other = PPO(settings, continuous, 4, 9)
    other.load_state_dict(ppo.state_dict())
    torch.testing.assert_close(other.head.parameters(other.policy(seen)), ppo.head.parameters(ppo.policy(seen)))
