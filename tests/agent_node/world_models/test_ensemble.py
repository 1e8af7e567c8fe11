"""The ensemble on a small body in the plane, and what is imagined with it."""

import numpy as np
import pytest
import torch

from agent_node.contracts import PolicySpec
from agent_node.learners.double_dqn import DoubleDQN
from agent_node.learners.settings import DoubleDQNSettings
from agent_node.memory.episode import Episode
from agent_node.memory.replay_buffer import ReplayBuffer
from agent_node.session.observation_features import Features, wrap
from agent_node.session.transition_batches import goal_encodings, make_batch
from agent_node.world_models.ensemble import Ensemble, Normalizer
from agent_node.world_models.imagination.imagination import PooledImagination, reach_probability
from agent_node.world_models.settings import EnsembleSettings
from protocols.spaces.feature_sets import FeatureSets
from protocols.spaces.layout import Layout, ObservationField

LAYOUT = Layout(shape=[2], fields=[ObservationField("x", 0, 1), ObservationField("heading", 1, 1, "radian")], actions=[3])
FEATURES = Features(LAYOUT, 2)
SPACE = FeatureSets(2)
SETTINGS = EnsembleSettings(hidden=[32], members=3, learning_starts=10, batch_size=64, learning_rate=3e-3)


def walk(seed: int, steps: int = 30) -> Episode:
    """x moves along a heading that the action turns; landmark 0 is x > 0.5, and the partner always stands on landmark 1."""
    random = np.random.default_rng(seed)
    observation = np.zeros((steps + 1, 2), np.float32)
    observation[0] = random.uniform(-1, 1), random.uniform(-np.pi, np.pi)
    action = random.integers(0, 3, (steps, 1)).astype(np.int32)
    for t in range(steps):
        heading = wrap(observation[t, 1] + 0.7 * (action[t, 0] - 1))
        observation[t + 1] = np.clip(observation[t, 0] + 0.2 * np.cos(heading), -1, 1), heading
    own = np.stack([observation[:, 0] > 0.5, np.zeros(steps + 1)], axis=1).astype(np.uint8)
    others = np.tile(np.array([[[0, 1]]], np.uint8), (steps + 1, 1, 1))
    return Episode(
        seed, observation, action, np.zeros(steps, np.float32), False, goal=seed % 3, achieved=own, others=others, partner_goals=(0,)
    )


def trained(fits: int) -> tuple[Ensemble, ReplayBuffer]:
    buffer = ReplayBuffer(10_000, FEATURES, SPACE, 0.1)
    for number in range(200):
        buffer.add(walk(number))
    model = Ensemble(SETTINGS, FEATURES, 2, 0)
    random = np.random.default_rng(0)
    for _ in range(fits):
        model.fit([buffer.model_data(64, random) for _ in range(3)])
    return model, buffer


@pytest.fixture(scope="module")
def pair() -> tuple[Ensemble, ReplayBuffer]:
    return trained(600)


def test_the_error_falls_tenfold_on_held_out_steps(pair: tuple[Ensemble, ReplayBuffer]) -> None:
    model, buffer = pair
    held_out = buffer.model_data(500, np.random.default_rng(1), held_out=True)
    before = Ensemble(SETTINGS, FEATURES, 2, 0).error(held_out)
    assert 0.7 < before < 2
    assert model.error(held_out) < before / 10


def test_error_is_in_units_of_the_variance_of_the_change(pair: tuple[Ensemble, ReplayBuffer]) -> None:
    model, buffer = pair
    data = buffer.model_data(300, np.random.default_rng(2))
    prediction = model.predict(data.observation, data.action)
    missed = prediction.observation - data.next_observation
    missed[:, 1] = wrap(missed[:, 1])
    change = data.next_observation - data.observation[:, -1]
    change[:, 1] = wrap(change[:, 1])
    assert model.error(data) == pytest.approx(float((np.square(missed).mean(0) / change.var(0)).mean()), rel=1e-3)


def test_touch_is_learnt(pair: tuple[Ensemble, ReplayBuffer]) -> None:
    model, buffer = pair
    data = buffer.model_data(1000, np.random.default_rng(3), held_out=True)
    achieved = model.predict(data.observation, data.action).achieved
    assert achieved is not None and data.achieved is not None
    assert ((achieved > 0.5) == data.achieved).mean() > 0.95


def test_deviations_tell_noise_and_ignorance_apart(pair: tuple[Ensemble, ReplayBuffer]) -> None:
    model, buffer = pair
    data = buffer.model_data(300, np.random.default_rng(4))
    known = model.predict(data.observation, data.action)
    far = data.observation.copy()
    far[:, :, 0] += np.array([30.0, 60.0], np.float32)
    unknown = model.predict(far, data.action)
    assert np.median(unknown.epistemic[:, 0]) > 3 * np.median(known.epistemic[:, 0])
    assert (known.aleatoric > 0).all()


def test_sample_takes_one_member_a_row_with_its_noise(pair: tuple[Ensemble, ReplayBuffer]) -> None:
    model, buffer = pair
    data = buffer.model_data(7, np.random.default_rng(5))
    random = np.random.default_rng(6)
    drawn = np.stack([model.sample(data.observation, data.action, random).observation[:, 0] for _ in range(400)])
    expected = model.predict(data.observation, data.action)
    spread = np.hypot(expected.epistemic[:, 0], expected.aleatoric[:, 0])
    assert np.all(np.abs(drawn.mean(axis=0) - expected.observation[:, 0]) < 0.4 * spread + 1e-3)
    assert np.all((drawn.std(axis=0) > 0.7 * spread) & (drawn.std(axis=0) < 1.4 * spread))


def test_environments_without_goals_have_reward_and_end() -> None:
    buffer = ReplayBuffer(10_000, FEATURES)
    for number in range(200):
        one = walk(number)
        ended = int(np.argmax(one.observation[1:, 0] > 0.5)) + 1
        one.achieved = one.others = None
        if one.observation[ended, 0] > 0.5:
            one.observation, one.action, one.terminated = one.observation[: ended + 1], one.action[:ended], True
        one.reward = one.observation[1:, 0].copy()
        buffer.add(one)
    model = Ensemble(SETTINGS, FEATURES, 0, 0)
    random = np.random.default_rng(0)
    for _ in range(600):
        model.fit([buffer.model_data(64, random) for _ in range(3)])
    data = buffer.model_data(500, random)
    prediction = model.predict(data.observation, data.action)
    assert prediction.achieved is None
    assert np.square(prediction.reward - data.reward).mean() < 0.1 * data.reward.var()
    assert ((prediction.terminated > 0.5) == (data.terminated > 0.5)).mean() > 0.95


def test_averaging_state_and_untrained_touch(pair: tuple[Ensemble, ReplayBuffer]) -> None:
    model, buffer = pair
    other = Ensemble(SETTINGS, FEATURES, 2, 5)
    assert model.ready and not other.ready
    data = buffer.model_data(100, np.random.default_rng(0))
    for mine, theirs in zip(model.parameter_groups()["world_model"], other.parameter_groups()["world_model"], strict=True):
        theirs.copy_(mine)
    np.testing.assert_array_equal(
        other.predict(data.observation, data.action).observation, model.predict(data.observation, data.action).observation
    )
    third = Ensemble(SETTINGS, FEATURES, 2, 6)
    third.load_state_dict(model.state_dict())
    assert third.ready and third.fits == model.fits
    with pytest.raises(ValueError, match="network"):
        Ensemble(SETTINGS.model_copy(update={"members": 2}), FEATURES, 2, 0).load_state_dict(model.state_dict())
    data.achieved = None
    other.fit([data] * 3)
    assert other.fits == 1 and other.touch_fits == 0


def test_normalizer_holds_the_moments() -> None:
    normalizer = Normalizer(2)
    rows = torch.randn(50, 20, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 0.1]) + torch.tensor([5.0, -1.0])
    for part in rows:
        normalizer.update(part)
    everything = rows.reshape(-1, 2)
    torch.testing.assert_close(normalizer.mean, everything.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(normalizer.deviation, everything.std(0, correction=0), rtol=1e-2, atol=1e-4)


def test_averaged_normalizers_have_the_moments_of_all_rows() -> None:
    """One begins to learn a round later than the other, and both learn while rounds are open, whose changes are added."""
    random = torch.Generator().manual_seed(0)
    wanted_mean, wanted_deviation = torch.tensor([5.0, -1.0, 0.0]), torch.tensor([0.1, 0.01, 2.0])
    early, late = Normalizer(3), Normalizer(3)
    for round in range(30):
        before = [each.vector.clone() for each in (early, late)]
        for each in (early, late) if round else (early,):
            for _ in range(3):
                each.update(torch.randn(200, 3, generator=random) * wanted_deviation + wanted_mean)
        for each, vector in zip((early, late), before, strict=True):
            each.vector += sum(before) / 2 - vector
        for each in (early, late) if round > 1 else (early,):
            torch.testing.assert_close(each.mean, wanted_mean, rtol=0.01, atol=0.2)
            torch.testing.assert_close(each.deviation, wanted_deviation, rtol=0.2, atol=0)


def test_a_normalizer_without_rows_changes_nothing() -> None:
    rows = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Normalizer(2).apply(rows), rows)


def test_joint_touch_decides_every_goal_of_the_consistent_scheme() -> None:
    space = FeatureSets(3)
    eye = np.eye(3, dtype=np.uint8)
    for mine in (0, 1, 2, None):
        for theirs in (0, 1, 2, None):
            own = np.zeros(3, np.uint8) if mine is None else eye[mine]
            other = np.zeros(3, np.uint8) if theirs is None else eye[theirs]
            goals = np.arange(space.count)
            touched = np.tile((own | other).astype(np.float32), (space.count, 1))
            np.testing.assert_array_equal(reach_probability(space, touched, goals), space.achieved(own, other[None]))


def test_reach_probability_is_the_mean_over_touches() -> None:
    space, random = FeatureSets(3), np.random.default_rng(0)
    p = random.random(3)
    touched = (random.random((40_000, 3)) < p).astype(np.float32)
    for goal in range(space.count):
        often = reach_probability(space, touched, np.full(len(touched), goal)).mean()
        assert reach_probability(space, p[None].astype(np.float32), np.array([goal]))[0] == pytest.approx(often, abs=0.01)


@pytest.mark.parametrize("horizon", [1, 4])
def test_imagined_transitions_follow_model_and_rule(pair: tuple[Ensemble, ReplayBuffer], horizon: int) -> None:
    model, buffer = pair
    encodings = goal_encodings(SPACE)
    learner = DoubleDQN(DoubleDQNSettings(hidden=[16]), PolicySpec((FEATURES.width,), 2, (3,)), 4, 0)
    imagination = PooledImagination(model, learner, buffer, encodings, horizon, 0)
    parts = [imagination.sample(100) for _ in range(5)]
    sample = parts[0]
    assert len({part.observation.tobytes() for part in parts}) == 5, "the pool must be dealt out, not repeated"
    np.testing.assert_array_equal(sample.next_observation[:, 0], sample.observation[:, 1])
    heading = sample.observation[:, 1, 1] + 0.7 * (sample.action[:, 0] - 1)
    assert np.median(np.abs(wrap(sample.next_observation[:, 1, 1] - heading))) < 0.2
    goals, paid = np.concatenate([p.goal for p in parts]), np.concatenate([p.reward for p in parts])
    ended = np.concatenate([p.terminated for p in parts])
    assert set(goals) == {0, 1, 2}
    np.testing.assert_allclose(paid, ended * SPACE.rewards[goals])
    assert ended[goals == 1].mean() > 0.95, "the partner stands on landmark 1"
    position = np.concatenate([p.next_observation[:, 1, 0] for p in parts])
    clear = (goals != 1) & (np.abs(position - 0.5) > 0.3)
    assert ((position > 0.5) == (ended > 0.5))[clear].mean() > 0.9
    batch = make_batch([buffer.sample(60, np.random.default_rng(0)), sample], [False, True], FEATURES, encodings)
    assert batch.imagined.tolist() == [0.0] * 60 + [1.0] * 100
    assert batch.observation.shape == (160, FEATURES.width) and batch.goal.shape == (160, 2)
    learner.learn(batch)


def test_the_original_scheme_imagines_cooperative_goals_only(pair: tuple[Ensemble, ReplayBuffer]) -> None:
    model, _ = pair
    space = FeatureSets(2, scheme="original")
    buffer = ReplayBuffer(1000, FEATURES, space)
    buffer.add(walk(1))
    learner = DoubleDQN(DoubleDQNSettings(hidden=[16]), PolicySpec((FEATURES.width,), 2, (3,)), 4, 0)
    assert set(PooledImagination(model, learner, buffer, goal_encodings(space), 1, 0).sample(50).goal) == {2}
