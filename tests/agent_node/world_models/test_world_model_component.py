"""Use of the world model by an agent: imagined and real transitions in one batch, with the optimistic term of each."""

from typing import Any

import numpy as np
import pytest

from agent_node.contracts import Batch
from agent_node.learners.settings import SACSettings
from agent_node.memory.episode import Episode
from agent_node.session.agent_components import AgentComponents
from agent_node.session.roles import WORLD_MODEL
from agent_node.session.training import create_trainer
from agent_node.session.transition_batches import BatchSampler
from agent_node.settings.agent import AgentSettings
from agent_node.settings.exchange import ExchangeSettings
from agent_node.world_models.settings import (
    BonusSettings,
    EnsembleSettings,
    GPSettings,
    HallucinationSettings,
    ImaginationSettings,
    OptimismSettings,
)
from protocols.runtime.telemetry import TimeShares
from protocols.spaces.layout import Layout
from protocols.spaces.reward_map import RewardMap

LAYOUT = Layout(shape=[2], low=[-1.0, -1.0], high=[1.0, 1.0])


def trained(optimism: OptimismSettings | None, **changes: Any) -> AgentComponents:
    """An agent whose position moves by its actions, after some episodes."""
    imagination = ImaginationSettings(**({"every": 200, "starts": 32, "horizon": (2, 2)} | changes))
    model = EnsembleSettings(
        hidden=[16],
        members=3,
        batch_size=64,
        learning_starts=50,
        updates_per_tick=2,
        imagined_ratio=0.75,
        held_out=0,
        imagination=imagination,
    )
    learner = SACSettings(hidden=[16], learning_starts=200, batch_size=64, random_steps=0, exploit=True)
    settings = AgentSettings(learner=learner, world_model=model, optimism=optimism, goals=None)
    components = AgentComponents(settings, ExchangeSettings(), LAYOUT, 1, "agent-0", 0)
    trainer = create_trainer(components, TimeShares())
    random = np.random.default_rng(0)
    for number in range(60):
        action = random.uniform(-1, 1, (20, 2)).astype(np.float32)
        place = np.concatenate([np.zeros((1, 2)), action.cumsum(axis=0)]).astype(np.float32)
        for component in components:
            component.episode_ended(Episode(number, place, action, place[1:, 0].copy(), False))
        trainer.tick()
    assert trainer.updates and trainer.fits
    return components


def halves(batch: Batch) -> tuple[Any, Any]:
    dreamt = batch.imagined.numpy() == 1
    assert dreamt.mean() == 0.75
    return dreamt, ~dreamt


@pytest.mark.parametrize("optimism", [BonusSettings(weight=0.5, anneal_steps=100_000), HallucinationSettings(), None])
def test_a_batch_is_real_and_imagined(optimism: OptimismSettings | None) -> None:
    components = trained(optimism)
    batch = BatchSampler(components).batch(64)
    dreamt, real = halves(batch)
    assert batch.terminated.sum() == 0
    assert np.ptp(batch.observation.numpy()[dreamt], axis=0).min() > 0
    if optimism is None:
        assert not batch.extras
        return
    bonus, eta = batch.extras["bonus"].numpy(), batch.extras["hallucination"].numpy()
    if isinstance(optimism, BonusSettings):
        assert (bonus > 0).all() and eta.shape == (64, 0) and "mean_next_observation" not in batch.extras
        assert bonus[dreamt].mean() > 0.5 * bonus[real].mean()
    else:
        assert not bonus.any() and eta.shape == (64, 2)
        assert (np.abs(eta) <= 1).all() and np.abs(eta[real]).max() > 0, "real steps carry the eta that explains them"
        mean, imagined = batch.extras["mean_next_observation"].numpy(), batch.next_observation.numpy()
        np.testing.assert_array_equal(mean[real], imagined[real])
        np.testing.assert_array_equal(batch.extras["mean_reward"].numpy()[real], batch.reward.numpy()[real])
        assert (mean[dreamt] != imagined[dreamt]).any(axis=1).mean() > 0.9, "the exploiting policy learns from the mean"


def test_a_checkpoint_keeps_the_model_and_the_count_of_steps() -> None:
    components, other = trained(BonusSettings()), trained(BonusSettings())
    tensors, manifest = components.state()
    other[WORLD_MODEL].steps = 0
    other.load(tensors, manifest)
    assert other[WORLD_MODEL].steps == components[WORLD_MODEL].steps == 60 * 20
    with pytest.raises(ValueError, match="own steps"):
        other.load({name: tensor for name, tensor in tensors.items() if name != "world_model/steps"}, manifest)


def additive() -> AgentComponents:
    """As `trained`, with a Gaussian process."""
    imagination = ImaginationSettings(starts=32, horizon=(2, 2), reward="learned")
    model = GPSettings(
        bounds=[(-20, 20)], features=32, refresh=100, learning_starts=100, imagined_ratio=0.75, held_out=0, imagination=imagination
    )
    settings = AgentSettings(learner=SACSettings(hidden=[16], learning_starts=10**6), world_model=model, goals=None)
    layout = Layout(
        shape=[2], low=[-1.0, -1.0], high=[1.0, 1.0], reward_map=RewardMap(((0, 0),), (1.0,), 0.5, (-20, -20), (20, 20), 0.0, False).info()
    )
    return AgentComponents(settings, ExchangeSettings(), layout, 1, "agent-0", 0)


def walked(components: AgentComponents, episodes: int) -> None:
    random = np.random.default_rng(episodes)
    for number in range(episodes):
        action = random.uniform(-1, 1, (20, 2)).astype(np.float32)
        place = np.concatenate([np.zeros((1, 2)), action.cumsum(axis=0)]).astype(np.float32)
        for component in components:
            component.episode_ended(Episode(number, place, action, place[1:, 0].copy(), False))


def test_after_a_restart_it_imagines_before_the_model_learns_again() -> None:
    components, again = additive(), additive()
    walked(components, 10)
    create_trainer(components, TimeShares()).tick()
    assert components[WORLD_MODEL].imagines
    tensors, manifest = components.state()
    again.load(tensors, manifest)
    assert again[WORLD_MODEL].needs_imagination and not again[WORLD_MODEL].imagines
    create_trainer(again, TimeShares()).tick()
    assert again[WORLD_MODEL].imagines and not again[WORLD_MODEL].needs_imagination


def test_a_total_that_is_no_sum_leaves_the_model_as_it_was() -> None:
    components = additive()
    trainer = create_trainer(components, TimeShares())
    walked(components, 10)
    trainer.tick()
    place, action = np.zeros((1, 1, 2), np.float32), np.ones((1, 2), np.float32)
    shared = components[WORLD_MODEL].shared
    assert shared is not None
    before = components[WORLD_MODEL].model.predict(place, action)
    shared.use(-1000 * shared.statistics(), complete=True)
    walked(components, 10)
    trainer.tick()
    after = components[WORLD_MODEL].model.predict(place, action)
    assert np.array_equal(before.observation, after.observation) and trainer.take_metrics()["world_model.refused"] == 1
    shared.use(shared.statistics(), complete=True)
    walked(components, 10)
    trainer.tick()
    assert components[WORLD_MODEL].model.predict(place, action).epistemic.mean() < before.epistemic.mean()
