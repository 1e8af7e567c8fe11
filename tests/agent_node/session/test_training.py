"""When a world model begins to learn, and to be learnt from."""

from __future__ import annotations

from math import isfinite

import numpy as np
import pytest

from agent_node.learners.double_dqn.settings import DoubleDQNSettings
from agent_node.memory.episode_recorder import Episode
from agent_node.memory.replay.settings import BufferSettings
from agent_node.session.agent_components import AgentComponents
from agent_node.session.roles import REPLAY, WORLD_MODEL
from agent_node.session.training import create_trainer
from agent_node.settings.agent import AgentSettings
from agent_node.settings.exchange import ExchangeSettings
from agent_node.world_models.ensemble.settings import EnsembleSettings
from agent_node.world_models.settings import ImaginationSettings
from protocols.runtime.telemetry import TimeShares
from protocols.spaces.layout import Layout


@pytest.mark.parametrize(("held_out", "transitions"), [(0.05, 20000), (0.05, 1000), (0.0, 20000)])
def test_every_model_is_fitted_whatever_is_held_out(held_out: float, transitions: int) -> None:
    model = EnsembleSettings(held_out=held_out, members=2, hidden=[8], batch_size=8, updates_per_tick=1.0)
    learner = DoubleDQNSettings(hidden=[8], batch_size=8, learning_starts=100, updates_per_tick=0.0)
    settings = AgentSettings(learner=learner, world_model=model, buffer=BufferSettings(transitions=transitions), goals=None)
    components = AgentComponents(settings, ExchangeSettings(), Layout(shape=[2], actions=[3]), 1, "agent-0", 0)
    trainer = create_trainer(components, TimeShares())
    random = np.random.default_rng(0)
    for number in range(300):
        observation = random.standard_normal((61, 2)).astype(np.float32)
        components[REPLAY].add(Episode(number, observation, np.zeros((60, 1), np.int32), np.zeros(60, np.float32), False))
        if trainer.fits == 0:
            trainer.tick()
    assert trainer.fits == 1
    error = trainer.take_metrics()["world_model.error"]
    assert isfinite(error) == (held_out > 0), "the error before the first fit is known wherever something is held out"


@pytest.mark.parametrize(("learning_starts", "share"), [(3, 0.25), (1000, 0.0)])
def test_a_model_that_was_never_trusted_is_told_of(learning_starts: int, share: float) -> None:
    model = EnsembleSettings(
        members=2,
        hidden=[8],
        batch_size=8,
        updates_per_tick=1.0,
        learning_starts=learning_starts,
        imagined_ratio=0.25,
        imagination=ImaginationSettings(reward="model"),
    )
    learner = DoubleDQNSettings(hidden=[8], batch_size=8, learning_starts=100)
    settings = AgentSettings(learner=learner, world_model=model, buffer=BufferSettings(transitions=2000), goals=None)
    components = AgentComponents(settings, ExchangeSettings(), Layout(shape=[2], actions=[3]), 1, "agent-0", 0)
    trainer = create_trainer(components, TimeShares())
    random = np.random.default_rng(0)
    for number in range(20):
        observation = random.standard_normal((61, 2)).astype(np.float32)
        episode = Episode(number, observation, np.zeros((60, 1), np.int32), np.zeros(60, np.float32), False)
        components[REPLAY].add(episode)
        components[WORLD_MODEL].absorb(episode, held_out=False)
        trainer.tick()
    assert trainer.updates > 5
    assert bool(trainer.imagination_unused_reason) == (share == 0)
    trainer.take_metrics()
    trainer.tick()
    assert trainer.take_metrics()["world_model.imagined"] == share
