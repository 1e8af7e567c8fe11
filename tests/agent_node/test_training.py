"""When a world model begins to learn, and to be learnt from."""

from __future__ import annotations

from math import isfinite

import numpy as np
import pytest

from agent_node.buffers.episodes import Episode
from agent_node.parts import Parts
from agent_node.settings import AgentSettings, BufferSettings, DoubleDQNSettings, EnsembleSettings, ExchangeSettings, ImaginarySettings
from agent_node.training import create_trainer
from protocols.messages import Layout
from protocols.telemetry import TimeShares


@pytest.mark.parametrize(("held_out", "transitions"), [(0.05, 20000), (0.05, 1000), (0.0, 20000)])
def test_every_model_is_fitted_whatever_is_held_out(held_out: float, transitions: int) -> None:
    model = EnsembleSettings(held_out=held_out, members=2, hidden=[8], batch_size=8, updates_per_tick=1.0)
    learner = DoubleDQNSettings(hidden=[8], batch_size=8, warmup=100, updates_per_tick=0.0)
    settings = AgentSettings(learner=learner, world_model=model, buffer=BufferSettings(transitions=transitions), goals=None)
    parts = Parts.build(settings, ExchangeSettings(), Layout(shape=[2], actions=[3]), 1, "agent-0", 0)
    trainer = create_trainer(parts, TimeShares())
    random = np.random.default_rng(0)
    for number in range(300):
        observation = random.standard_normal((61, 2)).astype(np.float32)
        assert parts.buffer is not None
        parts.buffer.add(Episode(number, observation, np.zeros((60, 1), np.int32), np.zeros(60, np.float32), False))
        if trainer.fits == 0:
            trainer.tick()
    assert trainer.fits == 1
    error = trainer.take_metrics()["world_model.error"]
    assert isfinite(error) == (held_out > 0), "the error before the first fit is known wherever something is held out"


@pytest.mark.parametrize(("warmup", "share"), [(3, 0.25), (1000, 0.0)])
def test_a_model_that_was_never_trusted_is_told_of(warmup: int, share: float) -> None:
    model = EnsembleSettings(
        members=2,
        hidden=[8],
        batch_size=8,
        updates_per_tick=1.0,
        warmup=warmup,
        imagined_ratio=0.25,
        imaginary=ImaginarySettings(reward="model"),
    )
    learner = DoubleDQNSettings(hidden=[8], batch_size=8, warmup=100)
    settings = AgentSettings(learner=learner, world_model=model, buffer=BufferSettings(transitions=2000), goals=None)
    parts = Parts.build(settings, ExchangeSettings(), Layout(shape=[2], actions=[3]), 1, "agent-0", 0)
    trainer = create_trainer(parts, TimeShares())
    random = np.random.default_rng(0)
    for number in range(20):
        observation = random.standard_normal((61, 2)).astype(np.float32)
        assert parts.buffer is not None and parts.world is not None
        episode = Episode(number, observation, np.zeros((60, 1), np.int32), np.zeros(60, np.float32), False)
        parts.buffer.add(episode)
        parts.world.remember(episode, held_out=False)
        trainer.tick()
    assert trainer.updates > 5
    assert bool(trainer.imagined_nothing) == (share == 0)
    trainer.take_metrics()
    trainer.tick()
    assert trainer.take_metrics()["world_model.imagined"] == share
