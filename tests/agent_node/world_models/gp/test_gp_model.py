"""World models `gp` and `exact_gp` as an agent holds them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from agent_node.contracts import AdditiveWorldModel, ModelData, WorldModel
from agent_node.session.observation_features import Features
from agent_node.settings.agent import AgentSettings
from agent_node.world_models.gp.exact_gp import ExactGP
from agent_node.world_models.gp.gp_model import GPModel
from agent_node.world_models.gp.gp_statistics import InvalidStatistics
from agent_node.world_models.settings import ExactGPSettings, GPSettings
from protocols.runtime.component_registry import create
from protocols.runtime.errors import ConfigurationError
from protocols.spaces.layout import Layout, ObservationField

PLANE = Features(Layout(shape=[2], fields=[ObservationField("position", 0, 2)], low=[-1.0, -1.0], high=[1.0, 1.0]), 1)
SETTINGS = GPSettings(bounds=[(-10, 10)], features=96, refresh=100, learning_starts=300, noise_variance=1e-3)
MODELS: list[Callable[[], WorldModel]] = [
    lambda: GPModel(SETTINGS, PLANE, 0, 0),
    lambda: GPModel(SETTINGS.model_copy(update={"personal": True}), PLANE, 0, 0),
    lambda: ExactGP(ExactGPSettings(bounds=[(-10, 10)], batch_size=300, learning_starts=300), PLANE, 0, 0),
]


def walk(seed: int, n: int, gain: float = 1.0, noise: float = 0.01) -> ModelData:
    """Moves in a walled square on ground that is soft in places."""
    random = np.random.default_rng(seed)
    position = random.uniform(-10, 10, (n, 2)).astype(np.float32)
    action = random.uniform(-1, 1, (n, 2)).astype(np.float32)
    soft = 0.7 + 0.3 * np.sin(position[:, :1] / 3)
    following = position + gain * soft * action + noise * random.standard_normal((n, 2))
    following = np.clip(following, -10, 10).astype(np.float32)
    nothing = np.zeros(n, np.float32)
    return ModelData(position[:, None], action, following, nothing, nothing)


def learn(model: WorldModel, data: ModelData) -> None:
    if isinstance(model, AdditiveWorldModel):
        model.absorb(data)
        model.refit()
    else:
        model.fit([data])


@pytest.mark.parametrize("build", MODELS)
def test_predicts_the_next_observation_and_knows_how_well(build: Callable[[], WorldModel]) -> None:
    model, test = build(), walk(1, 500)
    before = model.predict(test.observation, test.action)
    assert np.array_equal(before.observation, test.observation[:, -1]) and not model.ready
    assert before.epistemic.mean() > 0.9
    learn(model, walk(0, 300))
    after = model.predict(test.observation, test.action)
    assert model.ready
    assert model.error(test) < 0.1
    assert after.observation.shape == after.epistemic.shape == after.aleatoric.shape == (500, 2)
    assert after.observation.dtype == after.epistemic.dtype == np.float32
    assert after.epistemic.mean() < before.epistemic.mean() / 3
    free = (np.abs(test.next_observation) < 10).all(axis=1)
    missed = (after.observation - test.next_observation)[free]
    deviation = np.sqrt(np.square(after.epistemic) + np.square(after.aleatoric))[free]
    assert 0.3 < np.square(missed / deviation).mean() ** 0.5 < 1.5
    assert model.parameter_groups() == {}


@pytest.mark.parametrize("build", MODELS)
def test_samples_have_the_moments_of_the_prediction(build: Callable[[], WorldModel]) -> None:
    model, test = build(), walk(1, 20)
    learn(model, walk(0, 200))
    prediction = model.predict(test.observation, test.action)
    repeated = np.repeat(test.observation, 500, axis=0), np.repeat(test.action, 500, axis=0)
    samples = model.sample(*repeated, np.random.default_rng(0)).observation.reshape(20, 500, 2)
    wanted = np.sqrt(np.square(prediction.epistemic) + np.square(prediction.aleatoric))
    assert np.abs((samples.mean(axis=1) - prediction.observation) / wanted).max() < 5 / 500**0.5
    assert np.abs(samples.std(axis=1) / wanted - 1).max() < 0.2


@pytest.mark.parametrize("build", MODELS)
def test_a_checkpoint_predicts_the_same_bit_by_bit_and_goes_on_the_same(build: Callable[[], WorldModel]) -> None:
    model, again, test = build(), build(), walk(1, 50)
    learn(model, walk(0, 200))
    if isinstance(model, AdditiveWorldModel):
        model.absorb(walk(2, 30))  # not in the posterior yet
        model.use(model.statistics() * 2, complete=False)
    state = model.state_dict()
    assert all(isinstance(tensor, torch.Tensor) and not tensor.requires_grad for tensor in state.values())
    again.load_state_dict({name: tensor.clone() for name, tensor in state.items()})
    for _ in range(2):
        first, second = model.predict(test.observation, test.action), again.predict(test.observation, test.action)
        for field in ("observation", "epistemic", "aleatoric"):
            assert np.array_equal(getattr(first, field), getattr(second, field))
        learn(model, walk(3, 40))
        learn(again, walk(3, 40))
    with pytest.raises(ValueError, match="parameters"):
        again.load_state_dict({name: tensor for name, tensor in state.items() if name != "parameters"})


def test_a_checkpoint_of_other_settings_is_refused() -> None:
    other = GPModel(SETTINGS.model_copy(update={"features": 95}), PLANE, 0, 0)
    with pytest.raises(ValueError, match="basis_id"):
        other.load_state_dict(GPModel(SETTINGS, PLANE, 0, 0).state_dict())


@pytest.mark.parametrize("personal", [False, True])
def test_agents_that_add_their_sums_hold_the_model_of_all_data(personal: bool) -> None:
    settings = SETTINGS.model_copy(update={"personal": personal})
    gains = (1.2, 0.8, 1.0) if personal else (1.0, 1.0, 1.0)
    agents = [GPModel(settings, PLANE, 0, seed) for seed in range(3)]
    for seed, (agent, gain) in enumerate(zip(agents, gains, strict=True)):
        agent.absorb(walk(seed, 150, gain))
    vectors = [agent.statistics() for agent in agents]
    test = walk(9, 100)
    for agent in agents:
        agent.refit()
    for agent in agents:
        for vector in vectors:
            agent.check(vector)
        agent.use(vectors[0] + vectors[1] + vectors[2], complete=True)
        for _ in range(4):  # one of them learns kernel parameters
            metrics = agent.refit()
        assert metrics["transitions"] == 450 and np.isfinite(metrics["evidence"])
    predictions = [agent.predict(test.observation, test.action) for agent in agents]
    if not personal:
        assert all(np.array_equal(predictions[0].observation, other.observation) for other in predictions[1:])
        whole = GPModel(settings, PLANE, 0, 7)
        for seed in range(3):
            whole.absorb(walk(seed, 150))
        whole.refit()
        assert np.allclose(whole.predict(test.observation, test.action).observation, predictions[0].observation, atol=1e-5)
    for agent, gain in zip(agents, gains, strict=True):
        assert agent.error(walk(20, 300, gain)) < 0.05
        assert float(agent.parameters.lengthscales[0]) != pytest.approx(0.4), "length-scales are learnt, personal effects or not"
        assert (float(agent.parameters.noise_variance) == pytest.approx(1e-3)) == personal


def test_what_has_not_mixed_gives_the_mean_and_never_the_variance() -> None:
    own, other = (GPModel(SETTINGS.model_copy(update={"optimise_every": 0}), PLANE, 0, 0) for _ in range(2))
    own.absorb(walk(0, 100))
    other.absorb(walk(1, 100))
    total = 4 * (own.statistics() + 0.2 * other.statistics())  # own data four times over
    test = walk(2, 80)
    own.refit()
    honest = own.predict(test.observation, test.action)
    own.use(total, complete=True)
    own.refit()
    merged = own.predict(test.observation, test.action)
    own.use(total, complete=False)
    own.refit()
    mixed = own.predict(test.observation, test.action)
    assert np.array_equal(mixed.observation, merged.observation)
    assert np.array_equal(mixed.epistemic, honest.epistemic)
    assert merged.epistemic.mean() < 0.95 * honest.epistemic.mean(), "which would be over-confident"
    assert (merged.epistemic < honest.epistemic).all()


def test_other_bases_and_lies_are_refused() -> None:
    model, other = GPModel(SETTINGS, PLANE, 0, 0), GPModel(SETTINGS.model_copy(update={"change_scale": [2.0]}), PLANE, 0, 0)
    other.absorb(walk(0, 10))
    vector = other.statistics()
    assert model.basis_id != other.basis_id, "by which they are refused before they come here"
    with pytest.raises(InvalidStatistics, match="numbers"):
        model.use(vector[1:], True)
    with pytest.raises(InvalidStatistics):
        model.check(-vector)


def test_it_is_due_by_what_it_absorbed_and_learns_nothing_from_batches() -> None:
    model = GPModel(SETTINGS, PLANE, 0, 0)
    model.absorb(walk(0, 99))
    assert not model.due and model.fit([walk(1, 500)]) == {}
    model.absorb(walk(2, 1))
    assert model.due
    assert model.fit([walk(1, 500)])["transitions"] == 100
    assert not model.due
    model.absorb(walk(0, 0))
    with pytest.raises(ValueError, match="not finite"):
        model.absorb(replace(walk(0, 1), observation=np.full((1, 1, 2), np.nan, np.float32)))


def test_what_is_older_counts_less() -> None:
    model = GPModel(SETTINGS.model_copy(update={"half_life": 100}), PLANE, 0, 0)
    model.absorb(walk(0, 400, gain=1.0))
    for seed in range(8):
        model.absorb(walk(seed + 1, 100, gain=0.5))
    assert model.refit()["transitions"] == pytest.approx(400 / 2**8 + 200 - 200 / 2**8)
    assert model.error(walk(20, 300, gain=0.5)) < 0.1


def test_angles_and_discrete_actions() -> None:
    layout = Layout(shape=[2], fields=[ObservationField("x", 0, 1), ObservationField("heading", 1, 1, "radian")], actions=[3])
    features = Features(layout, 1)
    settings = SETTINGS.model_copy(update={"bounds": [(-1.0, 1.0)], "change_scale": [0.2, 0.7], "features": 200})
    model = create("world_model", settings)(settings, features, 0, 0)
    assert isinstance(model, GPModel) and model.basis.box.size == 3 + 3

    def turn(seed: int, n: int) -> ModelData:
        random = np.random.default_rng(seed)
        seen = np.stack([random.uniform(-1, 1, n), random.uniform(-np.pi, np.pi, n)], axis=1).astype(np.float32)
        action = random.integers(0, 3, (n, 1)).astype(np.int32)
        change = np.stack([0.2 * np.cos(seen[:, 1]), 0.7 * (action[:, 0] - 1)], axis=1)
        nothing = np.zeros(n, np.float32)
        return ModelData(seen[:, None], action, features.follow(seen, change), nothing, nothing)

    learn(model, turn(0, 1000))
    assert model.error(turn(1, 300)) < 0.01
    predicted = model.predict(turn(1, 300).observation, turn(1, 300).action).observation
    assert (np.abs(predicted[:, 1]) <= np.pi).all()


def test_walls() -> None:
    model = GPModel(SETTINGS.model_copy(update={"clip_to_bounds": True}), PLANE, 0, 0)
    learn(model, walk(0, 200))
    corner = np.full((1, 1, 2), 9.9, np.float32)
    following = model.predict(corner, np.ones((1, 2), np.float32)).observation
    assert (following <= 10).all()
    free = GPModel(SETTINGS.model_copy(update={"personal": False}), PLANE, 0, 0)
    learn(free, walk(0, 200))
    assert (free.predict(corner, np.ones((1, 2), np.float32)).observation > 10).any()


@pytest.mark.parametrize(
    ("changes", "features", "landmarks", "key"),
    [
        ({"bounds": [(-1, 1)] * 3}, PLANE, 0, "bounds has 3"),
        ({"lengthscales": [1.0] * 3}, PLANE, 0, "lengthscales has 3"),
        ({"change_scale": [1.0] * 3}, PLANE, 0, "change_scale has 3"),
        ({}, Features(PLANE.layout, 2), 0, "history"),
        ({}, Features(Layout(shape=[4, 4, 3], dtype="u1", actions=[2]), 1), 0, "pictures"),
        ({}, PLANE, 3, "imagined_ratio"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_key(changes: dict[str, object], features: Features, landmarks: int, key: str) -> None:
    with pytest.raises(ConfigurationError, match=key):
        GPModel(SETTINGS.model_copy(update=changes), features, landmarks, 0)


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "gp", "bounds": []},
        {"kind": "gp", "lengthscale_range": [2, 3]},
        {"kind": "gp", "noise_variance": 1e-9},
        {"kind": "exact_gp", "features": 64},
    ],
)
def test_settings_that_make_no_sense_are_refused(given: dict[str, object]) -> None:
    assert AgentSettings.model_validate({"world_model": {"kind": "gp"}}).world_model == GPSettings()
    with pytest.raises(ValueError):
        AgentSettings.model_validate({"world_model": given})


@pytest.mark.parametrize("personal", [False, True])
def test_a_drawn_function_is_one_function_and_draws_have_the_moments_of_the_posterior(personal: bool) -> None:
    model, test = GPModel(SETTINGS.model_copy(update={"personal": personal}), PLANE, 0, 0), walk(1, 40)
    model.absorb(walk(0, 300))
    model.refit()
    random = np.random.default_rng(0)
    draws = [model.draw(random) for _ in range(300)]
    seen = np.stack([draw(test.observation, test.action).observation for draw in draws])
    assert np.array_equal(seen[0], draws[0](test.observation, test.action).observation), "the same wherever and whenever it is asked"
    prediction = model.predict(test.observation, test.action)
    deviation = np.maximum(seen.std(axis=0), 1e-6)
    assert np.abs((seen.mean(axis=0) - prediction.observation) / deviation).max() < 5 / 300**0.5
    assert (seen.std(axis=0) < 1.3 * prediction.epistemic + 1e-6).all(), "what the features lack is not drawn"
    if not personal:
        features = model.posterior.basis.features(model.encoder.inputs(test.observation, test.action))
        represented = model.posterior.spread(features).sqrt().numpy()[:, None]
        assert np.abs(seen.std(axis=0) / represented - 1).max() < 0.2


def test_what_neighbours_plan_is_less_uncertain_and_predicted_the_same() -> None:
    settings = SETTINGS.model_copy(update={"optimise_every": 0, "features": 256})
    model, test = GPModel(settings, PLANE, 0, 0), walk(1, 600)
    model.absorb(walk(0, 100))
    model.refit()
    before = model.predict(test.observation, test.action)
    east, west = test.observation[:, 0, 0] > 5, test.observation[:, 0, 0] < -5
    there = test.observation[east], test.action[east]
    model.condition_on_plans([(there[0][:30], there[1][:30]), (there[0][30:], there[1][30:])])
    model.refit()
    after = model.predict(test.observation, test.action)
    assert np.array_equal(before.observation, after.observation)
    left = after.epistemic / before.epistemic
    assert (left <= 1 + 1e-6).all() and left[east].mean() < 0.8, "most where they are going"
    assert 1 - left[east].mean() > 2 * (1 - left[west].mean())
    model.condition_on_plans([])
    model.refit()
    assert np.array_equal(model.predict(test.observation, test.action).epistemic, before.epistemic)
