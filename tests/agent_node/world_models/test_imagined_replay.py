"""Optimism and imagined transitions that are kept, in a model whose predictions are known."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from agent_node.contracts import Array, ModelData, Predict, Prediction
from agent_node.learners.sac import SAC
from agent_node.learners.settings import SACSettings
from agent_node.memory.episode import Episode
from agent_node.memory.replay_buffer import ReplayBuffer
from agent_node.session.observation_features import Features
from agent_node.world_models.imagination.imagination import ImaginedReplay
from agent_node.world_models.imagination.optimism import Bonus, Hallucination, Optimism, Thompson
from agent_node.world_models.settings import BonusSettings, HallucinationSettings, ImaginationSettings, ThompsonSettings
from protocols.spaces.layout import Layout, ObservationField

LAYOUT = Layout(shape=[2], fields=[ObservationField("x", 0, 1), ObservationField("heading", 1, 1, "radian")], low=[-1.0], high=[1.0])

NO_DOUBT = np.zeros(2, np.float32)


class Straight:
    """x moves by the action, and the uncertainty is |x|, times `learnt`."""

    ready = True

    def __init__(self) -> None:
        self.learnt = 1.0

    def predict(self, observation: Array, action: Array) -> Prediction:
        newest = observation[:, -1].astype(np.float64)
        following = newest + np.pad(action, ((0, 0), (0, 1)))
        nothing = np.zeros(len(newest))
        sigma = np.stack([np.abs(newest[:, 0]) * self.learnt, np.zeros(len(newest))], axis=1)
        return Prediction(following, nothing, nothing, None, sigma, np.zeros_like(sigma))

    def sample(self, observation: Array, action: Array, random: np.random.Generator) -> Prediction:
        return self.predict(observation, action)

    def fit(self, data: list[ModelData]) -> dict[str, float]:
        return {}

    def error(self, data: ModelData) -> float:
        return 0.0

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        return {}

    def averaged(self) -> None: ...

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None: ...


class Paid:
    """x - |action|, plus what is not known yet: everything, at first."""

    def __init__(self, rule: Callable[[Array], Array] | None = None) -> None:
        self.reward_std = 1.0
        self._rule = rule

    def predict(self, place: Array, action: Array) -> tuple[Array, Array]:
        earned = place[:, 0] - np.abs(action[:, 0]) if self._rule is None else self._rule(place[:, 0]).astype(np.float32)
        return earned, np.full(len(place), self.reward_std, np.float32)

    def draw(self, random: np.random.Generator) -> Callable[[Array, Array], Array]:
        shift = self.reward_std * random.standard_normal()
        return lambda place, action: self.predict(place, action)[0] + shift


def imagination(optimism: Optimism | None = None, **changes: Any) -> tuple[ImaginedReplay, Straight]:
    features, model = Features(LAYOUT, 2), Straight()
    hallucinated = 0 if optimism is None else optimism.hallucinated
    policy_spec = features.policy_spec()
    policy_spec = type(policy_spec)(policy_spec.observation, 0, (), policy_spec.low, policy_spec.high, hallucinated)
    learner = SAC(SACSettings(hidden=[8], random_steps=0), policy_spec, 1, 0)
    buffer = ReplayBuffer(1000, features)
    observation = np.stack([np.arange(1.0, 32.0), np.full(31, 3.1)], axis=1).astype(np.float32)
    buffer.add(Episode(1, observation, np.zeros((30, 1), np.float32), np.zeros(30, np.float32), False))
    settings = ImaginationSettings(**({"starts": 40, "horizon": (2, 2)} | changes))

    return ImaginedReplay(settings, model, learner, buffer, Paid(), optimism, 0), model


def test_transitions_follow_the_model_and_the_reward() -> None:
    kept, _ = imagination()
    kept.refresh(0)
    assert len(kept) == 80
    found = kept.sample(500)
    np.testing.assert_allclose(found.following[:, -1, 0], found.state[:, -1, 0] + found.action[:, 0], rtol=1e-5)
    np.testing.assert_array_equal(found.following[:, 0], found.state[:, -1])
    np.testing.assert_allclose(found.reward, found.following[:, -1, 0] - np.abs(found.action[:, 0]), rtol=1e-4)
    assert found.eta.shape == (500, 0)


def test_uncertainties_are_judged_anew_and_the_oldest_leave() -> None:
    kept, model = imagination(Bonus(BonusSettings(), Features(LAYOUT, 2), 0), kept_refreshes=2)
    kept.refresh(0)
    assert kept.sample(50).epistemic[:, 0].mean() > 5
    model.learnt = 0.001
    kept.refresh(0)
    assert kept.sample(200).epistemic.max() < 0.1, "what was imagined before is known by now too"
    kept.refresh(0)
    assert len(kept) == 160


def test_the_horizon_grows() -> None:
    kept, _ = imagination(horizon=(2, 5), horizon_steps=(3000, 9000))
    assert [kept.horizon(steps) for steps in (0, 3000, 4999, 5000, 9000, 20_000)] == [2, 2, 2, 3, 5, 5]


def test_whoever_exploits_trusts_a_trajectory_up_to_its_first_doubt() -> None:
    kept, _ = imagination(max_uncertainty=10.0, horizon=(3, 3))
    kept.refresh(0)
    found = kept.sample(2000)
    doubtful = np.linalg.norm(found.epistemic, axis=1) > 10
    assert not found.trusted[doubtful].any()
    assert found.trusted[found.state[:, -1, 0] < 7].all()


@pytest.mark.parametrize("kind", ["hallucination", "thompson", "bonus"])
def test_besides_what_optimism_imagines_the_mean_of_model_and_reward_is_kept(kind: str) -> None:
    features = Features(LAYOUT, 2)
    made: dict[str, Optimism] = {
        "hallucination": Hallucination(HallucinationSettings(), features, 0),
        "thompson": Shifted(ThompsonSettings(), features, 0),
        "bonus": Bonus(BonusSettings(), features, 0),
    }
    kept, _ = imagination(made[kind], kept_refreshes=2)
    for _ in range(2):  # what is kept is paid anew
        kept.refresh(0)
    found = kept.sample(500)
    expected = found.state[:, -1, 0] + found.action[:, 0]
    np.testing.assert_allclose(found.mean_following[:, -1, 0], expected, rtol=1e-5)
    np.testing.assert_array_equal(found.mean_following[:, 0], found.state[:, -1])
    np.testing.assert_allclose(found.mean_reward, expected - np.abs(found.action[:, 0]), rtol=1e-4)
    assert (np.abs(found.following[:, -1, 0] - expected).mean() > 0.1) == (kind != "bonus")
    np.testing.assert_allclose(found.reward, found.following[:, -1, 0] - np.abs(found.action[:, 0]), rtol=1e-4, atol=1e-4)


class Shifted(Thompson):
    """Its drawn function moves x by one more than the mean."""

    def transition_function(self, model: Any, random: np.random.Generator) -> Predict:
        def predict(observation: Array, action: Array) -> Prediction:
            mean = model.predict(observation, action)
            return replace(mean, observation=mean.observation + [1.0, 0.0], epistemic=np.zeros_like(mean.epistemic))

        return predict


def test_a_bonus_is_paid_for_uncertainty_and_falls_to_nothing() -> None:
    bonus = Bonus(BonusSettings(weight=0.5, anneal_steps=1000), Features(LAYOUT, 1), 0)
    epistemic = np.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(bonus.bonus(epistemic, NO_DOUBT, 0), [2.5, 0.0])
    np.testing.assert_allclose(bonus.bonus(epistemic, NO_DOUBT, 500), [1.25, 0.0])
    np.testing.assert_allclose(bonus.bonus(epistemic, NO_DOUBT, 5000), [0.0, 0.0])
    np.testing.assert_allclose(Bonus(BonusSettings(weight=0.5), Features(LAYOUT, 1), 0).bonus(epistemic, NO_DOUBT, 10**9), [2.5, 0.0])


def test_what_is_not_known_of_rewards_is_promised_too_until_it_is_known() -> None:
    reward_std, sigma = np.array([0.5, 0.0], np.float32), np.zeros((2, 2))
    bonus = Bonus(BonusSettings(weight=9, reward_weight=2, anneal_steps=1000), Features(LAYOUT, 1), 0)
    np.testing.assert_allclose(bonus.bonus(sigma, reward_std, 500), [0.5, 0.0])
    hope = Hallucination(HallucinationSettings(beta=3), Features(LAYOUT, 1), 0)
    np.testing.assert_allclose(hope.bonus(sigma, reward_std, 500), [1.5, 0.0])
    kept, _ = imagination(bonus)
    paid = kept._reward = Paid()
    kept.refresh(0)
    assert (kept.sample(50).reward_std == 1).all()
    paid.reward_std = 0.25
    kept.refresh(0)
    assert (kept.sample(200).reward_std == 0.25).all(), "what was imagined before is known by now too"


def test_thompson_promises_one_map_of_rewards_until_the_next_refresh() -> None:
    class Sure(Straight):
        capabilities = ("sampleable",)

        def draw(self, random: np.random.Generator) -> Predict:
            return self.predict

    thompson = Thompson(ThompsonSettings(), Features(LAYOUT, 2), 0)
    kept, _ = imagination(thompson)
    kept._model = Sure()
    promises = []
    for _ in range(2):
        kept.refresh(0)
        found = kept.sample(300)
        mean = found.following[:, -1, 0] - np.abs(found.action[:, 0])
        np.testing.assert_allclose(found.reward, mean, rtol=1e-4, err_msg="the exploiting policy is rewarded by the mean")
        promised = thompson.bonus(found.epistemic, found.reward_std, 0)
        assert np.ptp(promised) < 1e-4, "one map, for what is old too"
        np.testing.assert_allclose(
            kept.reward_std(np.zeros((2, 2)), np.zeros((2, 1))), promised[:2], rtol=1e-4, err_msg="and for real steps"
        )
        promises.append(promised[0])
    assert promises[0] != pytest.approx(promises[1])


def test_a_share_of_the_starts_lies_anywhere() -> None:
    layout = Layout(shape=[2], fields=[ObservationField("position", 0, 2, "", -9.0, 9.0)], low=[-1.0], high=[1.0])
    features = Features(layout, 2)
    kept, _ = imagination(uniform_start_ratio=0.25, starts=200, horizon=(1, 1))
    kept._buffer.features = features
    learner = kept._learner = SAC(SACSettings(hidden=[8], random_steps=0), features.policy_spec(), 1, 0)
    assert learner is not None
    kept.refresh(0)
    assert kept._whole is not None
    state = kept._whole.state
    seen = np.isclose(state[:, -1, 1], 3.1)
    assert seen.sum() == 150
    assert (np.abs(state[~seen]) <= 9).all() and state[~seen, -1, 0].min() < -4 and state[~seen, -1, 1].max() > 4
    np.testing.assert_array_equal(state[~seen, 0], state[~seen, 1], "at rest")


def test_luck_is_what_would_have_come_true() -> None:
    features = Features(LAYOUT, 1)
    hope = Hallucination(HallucinationSettings(beta=2.0), features, 0)
    sigma = np.array([[0.5, 0.1], [0.5, 0.1]])
    nothing = np.zeros(2)
    prediction = Prediction(np.array([[1.0, 3.1], [1.0, 3.1]]), nothing, nothing, None, sigma, np.zeros_like(sigma))
    eta = np.array([[0.4, 1.0], [-1.0, 0.0]], np.float32)
    came = hope.predict_next(prediction, eta)
    np.testing.assert_allclose(came, [[1.4, 3.3 - 2 * np.pi], [0.0, 3.1]], rtol=1e-5)
    np.testing.assert_allclose(hope.infer_eta(prediction, came), eta, atol=1e-5)
    np.testing.assert_allclose(hope.infer_eta(prediction, came + [[9.0, 0.0], [0.0, 0.0]])[0], [1.0, 1.0], atol=1e-5)
    assert not hope.bonus(sigma, NO_DOUBT, 0).any()


def test_imagination_hallucinates_with_the_policys_luck() -> None:
    kept, _ = imagination(Hallucination(HallucinationSettings(), Features(LAYOUT, 2), 0))
    kept.refresh(0)
    found = kept.sample(300)
    assert found.eta.shape == (300, 2)
    expected = found.state[:, -1, 0] + found.action[:, 0] + np.abs(found.state[:, -1, 0]) * found.eta[:, 0]
    np.testing.assert_allclose(found.following[:, -1, 0], expected, rtol=1e-4, atol=1e-4)


def test_nothing_is_dealt_out_before_it_was_imagined() -> None:
    with pytest.raises(ValueError, match="refresh first"):
        imagination()[0].sample(3)


def test_a_share_of_what_is_dealt_out_pays_where_anything_does() -> None:
    for rewarded_ratio, low, high in ((0.5, 0.5, 0.7), (0.0, 0.02, 0.3)):
        kept, _ = imagination(rewarded_ratio=rewarded_ratio, starts=200)
        kept._reward = Paid(lambda x: x > 28)
        kept.refresh(0)
        assert low <= kept.sample(2000).reward.mean() <= high
    kept, _ = imagination(rewarded_ratio=0.5)
    kept._reward = Paid(np.zeros_like)
    kept.refresh(0)
    assert not kept.sample(100).reward.any()
