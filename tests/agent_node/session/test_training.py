"""When a world model begins to learn, and to be learnt from."""

from __future__ import annotations

from math import isfinite

import numpy as np
import pytest
import torch

from agent_node.contracts import Batch, ReplayReward
from agent_node.learners.settings import DoubleDQNSettings, LearnerSettings, PPOSettings
from agent_node.memory.episode import Episode
from agent_node.memory.settings import BufferSettings
from agent_node.session.agent_components import AgentComponents
from agent_node.session.roles import LEARNER, REPLAY, REPLAY_REWARD, ROLLOUT, WORLD_MODEL
from agent_node.session.training import Trainer, create_trainer
from agent_node.settings.agent import AgentSettings
from agent_node.settings.exchange import ExchangeSettings
from agent_node.world_models.settings import EnsembleSettings, ImaginationSettings
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.telemetry import TimeShares
from protocols.spaces.layout import Layout


@pytest.mark.parametrize(("held_out", "transitions"), [(0.05, 20000), (0.05, 1000), (0.0, 20000)])
def test_every_model_is_fitted_whatever_is_held_out(held_out: float, transitions: int) -> None:
    model = EnsembleSettings(held_out=held_out, members=2, hidden=[8], batch_size=8, updates_per_tick=1.0)
    learner = DoubleDQNSettings(hidden=[8], batch_size=8, learning_starts=100, replay_ratio=0.0)
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
    learner = DoubleDQNSettings(hidden=[8], batch_size=8, learning_starts=100, replay_ratio=1.0)
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


@pytest.mark.parametrize(("value_range", "warns"), [((0.0, 1.0), True), ((0.0, 100.0), False), (None, False)])
def test_clamped_targets_are_warned_of_once(value_range: tuple[float, float] | None, warns: bool) -> None:
    learner = DoubleDQNSettings(hidden=[8], batch_size=8, learning_starts=50, replay_ratio=1.0, value_range=value_range)
    settings = AgentSettings(learner=learner, goals=None)
    components = AgentComponents(settings, ExchangeSettings(), Layout(shape=[2], actions=[3]), 1, "agent-0", 0)
    trainer = create_trainer(components, TimeShares())
    random, warnings = np.random.default_rng(0), []
    for number in range(6):
        observation = random.standard_normal((61, 2)).astype(np.float32)
        components[REPLAY].add(Episode(number, observation, np.zeros((60, 1), np.int32), np.full(60, 5.0, np.float32), False))
        trainer.tick()
        assert ("learner.clamped" in trainer.take_metrics()) == (value_range is not None)
        warnings += trainer.take_warnings()
    assert [warning.code for warning in warnings] == ["learner.clamped"] * warns
    assert not warns or "value_range [0, 1]" in warnings[0].text


def _trainer(learner: LearnerSettings) -> tuple[AgentComponents, Trainer]:
    settings = AgentSettings(learner=learner, goals=None)
    components = AgentComponents(settings, ExchangeSettings(), Layout(shape=[2], actions=[3, 2]), 1, "agent-0", 0)
    return components, create_trainer(components, TimeShares())


@pytest.mark.parametrize(
    ("copies", "ratio", "ticks", "updates"),
    [(1, 1.0, 7, 7), (4, 0.25, 7, 7), (4, 0.5, 7, 14), (64, 1 / 64, 7, 7), (3, 0.1, 10, 3), (10, 0.1, 20, 20), (1, 2.5, 4, 10)],
)
def test_updates_follow_the_steps_of_all_copies(copies: int, ratio: float, ticks: int, updates: int) -> None:
    """`replay_ratio` updates for each environment step, also where no binary number is equal to the ratio."""
    learner = DoubleDQNSettings(hidden=[8], batch_size=8, learning_starts=10, replay_ratio=ratio)
    settings = AgentSettings(learner=learner, goals=None)
    components = AgentComponents(settings, ExchangeSettings(), Layout(shape=[2], actions=[3, 2]), copies, "agent-0", 0)
    trainer = create_trainer(components, TimeShares())
    components[REPLAY].add(Episode(0, np.zeros((61, 2), np.float32), np.zeros((60, 2), np.int32), np.zeros(60, np.float32), False))
    for _ in range(ticks):
        trainer.tick()
    assert trainer.updates == updates


@pytest.mark.parametrize(
    ("learner", "says"),
    [
        (DoubleDQNSettings(hidden=[8], learning_starts=100), "has 60 of 100 transitions"),
        (DoubleDQNSettings(hidden=[8], learning_starts=10, replay_ratio=0.25), "before the first one was due"),
        (DoubleDQNSettings(hidden=[8], replay_ratio=0.0), ""),
        (DoubleDQNSettings(hidden=[8], batch_size=8, learning_starts=10, replay_ratio=1.0), ""),
        (PPOSettings(hidden=[8], steps=64), "no rollout of 64 step messages was complete"),
    ],
)
def test_a_learner_without_any_update_gives_the_reason(learner: LearnerSettings, says: str) -> None:
    components, trainer = _trainer(learner)
    if (replay := components.get(REPLAY)) is not None:
        replay.add(Episode(0, np.zeros((61, 2), np.float32), np.zeros((60, 2), np.int32), np.zeros(60, np.float32), False))
    trainer.tick()
    reason = trainer.no_update_reason
    assert says in reason and bool(reason) == bool(says)


@pytest.mark.parametrize(
    ("scale", "returns", "warns"),
    [(1e4, [1.0] * 100, True), (1e4, [1.0] * 50 + [2.0] * 50, False), (1.0, [1.0] * 100, False), (1e4, [1.0] * 60, False)],
)
def test_a_policy_without_entropy_is_warned_of_unless_returns_improve(scale: float, returns: list[float], warns: bool) -> None:
    components, trainer = _trainer(PPOSettings(hidden=[8], steps=4, epochs=1, learning_rate=1e-9))
    learner, rollout = components[LEARNER], components[ROLLOUT]
    learner.live()["policy"].mul_(scale)  # logits far apart
    for value in returns:
        trainer.episode_ended(value)
    seen, goals, rows = np.ones((1, 2), np.float32), np.zeros((1, 0), np.float32), np.zeros(1, np.int64)
    for _ in range(5):
        rollout.add(seen, np.zeros(1, np.float32), np.full(1, Flag.MEMBER, np.uint16), True)
        first = np.zeros(1, np.bool_)
        rollout.acted(rows, np.full(1, -1), learner.act(seen, goals, rows, first, True), first)
    trainer.tick()
    assert (trainer.take_metrics()["learner.entropy"] < 0.01) == (scale > 1)
    assert [warning.code for warning in trainer.take_warnings()] == ["learner.entropy"] * warns


class FixedBonus(ReplayReward):
    def __init__(self, value: float) -> None:
        self.value = value

    def bonus(self, batch: Batch) -> torch.Tensor:
        return torch.full_like(batch.reward, self.value)


def test_replay_rewards_are_added_when_batches_are_drawn() -> None:
    """A bonus of 0 changes nothing, bit for bit; one of 1 moves the values, and the buffer keeps the environment's rewards."""

    def learnt(bonus: float | None) -> tuple[torch.Tensor, float]:
        learner = DoubleDQNSettings(hidden=[8], batch_size=8, learning_starts=50, replay_ratio=1.0, discount=0.5, value_range=None)
        settings = AgentSettings(learner=learner, buffer=BufferSettings(transitions=1000), goals=None)
        components = AgentComponents(settings, ExchangeSettings(), Layout(shape=[2], actions=[3]), 1, "agent-0", 0)
        if bonus is not None:
            components.add(REPLAY_REWARD.name, FixedBonus(bonus))
        observation = np.random.default_rng(0).standard_normal((61, 2)).astype(np.float32)
        components[REPLAY].add(Episode(0, observation, np.zeros((60, 1), np.int32), np.zeros(60, np.float32), False))
        trainer = create_trainer(components, TimeShares())
        for _ in range(200):
            trainer.tick()
        sample = components[REPLAY].sample(32, np.random.default_rng(0))
        assert not sample.reward.any()
        parameters = torch.cat([tensor.flatten().double() for tensor in components[LEARNER].state_dict().values()])
        return parameters, trainer.take_metrics()["learner.target"]

    plain, none, one = learnt(None), learnt(0.0), learnt(1.0)
    assert torch.equal(plain[0], none[0])
    assert one[1] > plain[1] + 1
