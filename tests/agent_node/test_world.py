"""What an agent makes of its world model: imagined and real transitions in one batch, with what optimism has to say of each."""

from typing import Any

import numpy as np
import pytest

from agent_node.buffers.episodes import Episode
from agent_node.contracts import Batch
from agent_node.parts import Parts
from agent_node.settings import (
    AgentSettings,
    BonusSettings,
    EnsembleSettings,
    ExchangeSettings,
    GPSettings,
    HallucinationSettings,
    ImaginarySettings,
    OptimismSettings,
    SACSettings,
)
from agent_node.training import create_trainer
from protocols.messages import Layout
from protocols.reward_map import RewardMap
from protocols.telemetry import TimeShares

LAYOUT = Layout(shape=[2], low=[-1.0, -1.0], high=[1.0, 1.0])


def trained(optimism: OptimismSettings | None, **changes: Any) -> Parts:
    """An agent whose position moves by its actions, after some episodes."""
    imaginary = ImaginarySettings(**({"every": 200, "starts": 32, "horizon": (2, 2)} | changes))
    model = EnsembleSettings(
        hidden=[16], members=3, batch_size=64, warmup=50, updates_per_tick=2, imagined_ratio=0.75, held_out=0, imaginary=imaginary
    )
    learner = SACSettings(hidden=[16], warmup=200, batch_size=64, random_steps=0, exploit=True)
    settings = AgentSettings(learner=learner, world_model=model, optimism=optimism, goals=None)
    parts = Parts.build(settings, ExchangeSettings(), LAYOUT, 1, "agent-0", 0)
    trainer = create_trainer(parts, TimeShares())
    random = np.random.default_rng(0)
    for number in range(60):
        action = random.uniform(-1, 1, (20, 2)).astype(np.float32)
        place = np.concatenate([np.zeros((1, 2)), action.cumsum(axis=0)]).astype(np.float32)
        parts.remember(Episode(number, place, action, place[1:, 0].copy(), False))
        trainer.tick()
    assert trainer.updates and trainer.fits
    return parts


def halves(batch: Batch) -> tuple[Any, Any]:
    dreamt = batch.imagined.numpy() == 1
    assert dreamt.mean() == 0.75
    return dreamt, ~dreamt


@pytest.mark.parametrize("optimism", [BonusSettings(weight=0.5, until=100_000), HallucinationSettings(), None])
def test_a_batch_is_real_and_imagined(optimism: OptimismSettings | None) -> None:
    parts = trained(optimism)
    batch = parts.batch(64)
    dreamt, real = halves(batch)
    assert batch.terminated.sum() == 0
    assert np.ptp(batch.observation.numpy()[dreamt], axis=0).min() > 0
    if optimism is None:
        assert not batch.extras
        return
    bonus, luck = batch.extras["bonus"].numpy(), batch.extras["hallucination"].numpy()
    if isinstance(optimism, BonusSettings):
        assert (bonus > 0).all() and luck.shape == (64, 0)
        assert bonus[dreamt].mean() > 0.5 * bonus[real].mean()
    else:
        assert not bonus.any() and luck.shape == (64, 2)
        assert (np.abs(luck) <= 1).all() and np.abs(luck[real]).max() > 0, "real steps carry the luck that explains them"


def test_a_checkpoint_keeps_the_model_and_the_count_of_steps() -> None:
    parts, other = trained(BonusSettings()), trained(BonusSettings())
    tensors, manifest = parts.state()
    assert parts.world is not None and other.world is not None
    other.world.steps = 0
    other.load(tensors, manifest)
    assert other.world.steps == parts.world.steps == 60 * 20
    with pytest.raises(ValueError, match="own steps"):
        other.load({name: tensor for name, tensor in tensors.items() if name != "world/steps"}, manifest)


def additive() -> Parts:
    """As `trained`, with a Gaussian process."""
    imaginary = ImaginarySettings(starts=32, horizon=(2, 2), reward="learned")
    model = GPSettings(bounds=[(-20, 20)], features=32, refresh=100, warmup=100, imagined_ratio=0.75, held_out=0, imaginary=imaginary)
    settings = AgentSettings(learner=SACSettings(hidden=[16], warmup=10**6), world_model=model, goals=None)
    layout = Layout(
        shape=[2], low=[-1.0, -1.0], high=[1.0, 1.0], reward_map=RewardMap(((0, 0),), (1.0,), 0.5, (-20, -20), (20, 20), 0.0, False).info()
    )
    return Parts.build(settings, ExchangeSettings(), layout, 1, "agent-0", 0)


def walked(parts: Parts, episodes: int) -> None:
    random = np.random.default_rng(episodes)
    for number in range(episodes):
        action = random.uniform(-1, 1, (20, 2)).astype(np.float32)
        place = np.concatenate([np.zeros((1, 2)), action.cumsum(axis=0)]).astype(np.float32)
        parts.remember(Episode(number, place, action, place[1:, 0].copy(), False))


def test_after_a_restart_it_imagines_before_the_model_learns_again() -> None:
    parts, again = additive(), additive()
    walked(parts, 10)
    create_trainer(parts, TimeShares()).tick()
    assert parts.world is not None and parts.world.imagines
    tensors, manifest = parts.state()
    again.load(tensors, manifest)
    assert again.world is not None and again.world.blank and not again.world.imagines
    create_trainer(again, TimeShares()).tick()
    assert again.world.imagines and not again.world.blank


def test_a_total_that_is_no_sum_leaves_the_model_as_it_was() -> None:
    parts = additive()
    trainer = create_trainer(parts, TimeShares())
    walked(parts, 10)
    trainer.tick()
    place, action = np.zeros((1, 1, 2), np.float32), np.ones((1, 2), np.float32)
    assert parts.world is not None and parts.world.shared is not None and parts.model is not None
    before = parts.model.predict(place, action)
    parts.world.shared.use(-1000 * parts.world.shared.statistics(), complete=True)
    walked(parts, 10)
    trainer.tick()
    after = parts.model.predict(place, action)
    assert np.array_equal(before.observation, after.observation) and trainer.take_metrics()["world_model.refused"] == 1
    parts.world.shared.use(parts.world.shared.statistics(), complete=True)
    walked(parts, 10)
    trainer.tick()
    assert parts.model.predict(place, action).epistemic.mean() < before.epistemic.mean()
