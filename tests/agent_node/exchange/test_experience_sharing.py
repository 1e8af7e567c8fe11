"""Whole episodes sent over the edges: imported ones come from real episodes, are drawn like own ones, and are kept in checkpoints."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from agent_node.exchange.experience_sharing import ExperienceSharing
from agent_node.exchange.settings import ExperienceSettings
from agent_node.learners.settings import PPOSettings, SACSettings
from agent_node.memory.episode import Episode
from agent_node.session import checkpoints
from agent_node.session.agent_components import AgentComponents
from agent_node.session.roles import IMPORTED_REPLAY
from agent_node.session.transition_batches import BatchSampler
from agent_node.settings.agent import AgentSettings
from agent_node.settings.exchange import ExchangeSettings
from protocols.averaging.averager import FixedNeighbourhood
from protocols.conversations.conversation import Send
from protocols.runtime.errors import ConfigurationError
from protocols.spaces.feature_sets import FeatureSets
from protocols.spaces.layout import Layout
from protocols.wire.codec import decode, encode

LAYOUT = Layout(shape=[2], low=[-1.0, -1.0], high=[1.0, 1.0])
EXPERIENCE = ExperienceSettings(transitions=10_000)
PATH = {"a": ("b",), "b": ("a", "c"), "c": ("b",)}


class Agent:
    """An agent's parts and its side of the exchange, in a path a - b - c."""

    def __init__(self, name: str, history: int = 1, layout: Layout = LAYOUT) -> None:
        self.name = name
        settings = AgentSettings(learner=SACSettings(hidden=[8], random_steps=0), goals=None, history=history)
        self.components = AgentComponents(settings, ExchangeSettings(experience=EXPERIENCE), layout, 2, name, 0)
        place = FixedNeighbourhood(MappingProxyType(dict.fromkeys(PATH[name], 0.3)))
        self.sharing = ExperienceSharing(EXPERIENCE, self.components.features, self.components.get(IMPORTED_REPLAY), place)

    @property
    def imported(self) -> int:
        return len(self.components[IMPORTED_REPLAY])

    def lives(self, number: int, steps: int, terminated: bool = False) -> Episode:
        """An episode of its own, like no other."""
        random = np.random.default_rng([ord(self.name), number])
        values = (random.standard_normal(shape).astype(np.float32) for shape in ((steps + 1, 2), (steps, 2), steps))
        episode = Episode(number, *values, terminated)
        for component in self.components:
            component.episode_ended(episode)
        self.sharing.episode_ended(episode)
        return episode

    def hears(self, src: str, send: Send) -> None:
        message, frames = decode(encode(send.message, send.arrays))
        self.sharing.machine.receive(src, message, frames, 0.0)
        self.sharing.tick(0.0)


def talk(agents: list[Agent]) -> list[tuple[str, Send]]:
    """All agents send their messages and receive those of the others."""
    by_name = {agent.name: agent for agent in agents}
    said = [(agent.name, send) for agent in agents for send in agent.sharing.machine.outgoing()]
    for src, send in said:
        by_name[send.dst].hears(src, send)
    return said


def path(history: int = 1) -> list[Agent]:
    return [Agent(name, history) for name in "abc"]


@pytest.mark.parametrize("history", [1, 3])
def test_what_is_imported_was_lived_by_a_neighbour_and_every_step_of_it_comes_once(history: int) -> None:
    agents = a, b, c = path(history)
    lived = [a.lives(0, 25), a.lives(1, 1200, terminated=True), c.lives(2, 1, terminated=True), c.lives(3, 40)]
    talk(agents)
    assert a.imported == 0 and c.imported == 0, "nothing goes further than over one edge"
    assert b.imported == sum(episode.steps for episode in lived)
    known = {episode.observation[t].tobytes(): (episode, t) for episode in lived for t in range(episode.steps)}
    sample = b.components[IMPORTED_REPLAY].sample(20_000, np.random.default_rng(0))
    seen = set()
    for i in range(len(sample.reward)):
        episode, t = known[sample.observation[i, -1].tobytes()]
        if (episode.number, t) in seen:
            continue
        seen.add((episode.number, t))
        before = [max(0, t - back) for back in range(history - 1, -1, -1)]
        np.testing.assert_array_equal(sample.observation[i], episode.observation[before], err_msg=f"step {t}")
        np.testing.assert_array_equal(sample.next_observation[i, -1], episode.observation[t + 1])
        np.testing.assert_array_equal(sample.action[i], episode.action[t])
        assert sample.reward[i] == episode.reward[t]
        assert sample.terminated[i] == (episode.terminated and t == episode.steps - 1)
    assert len(seen) == b.imported


def test_batches_take_own_and_imported_transitions_as_from_one_buffer() -> None:
    agents = a, b, _ = path()
    own, told = b.lives(0, 400), a.lives(1, 1200)
    assert BatchSampler(b.components).batch(64).reward.numel() == 64
    talk(agents)
    theirs = {float(reward) for reward in told.reward} - {float(reward) for reward in own.reward}
    share = np.mean([float(reward) in theirs for _ in range(20) for reward in BatchSampler(b.components).batch(400).reward])
    assert abs(share - 0.75) < 5 * np.sqrt(0.75 * 0.25 / 8000)
    assert b.sharing.metrics() == {"buffer.imported": 1200, "experience.imported": 1200, "experience.sent": 800}


def test_what_was_taken_already_or_comes_from_nobody_known_is_left() -> None:
    agents = a, b, c = path()
    a.lives(0, 700)
    said = talk(agents)
    for src, send in said:
        b.hears(src, send)
    assert b.imported == 700 and b.sharing.counters["duplicate"] == 2
    c.hears("a", said[0][1])
    assert c.imported == 0 and c.sharing.counters["not_neighbour"] == 1
    other = Agent("b", layout=Layout(shape=[2], low=[-1.0, -1.0], high=[1.0, 2.0]))
    other.hears("a", said[0][1])
    assert other.imported == 0 and other.sharing.machine.counters["layout_differs"] == 1


def test_the_oldest_imported_leave_first() -> None:
    agents = a, b, _ = path()
    for number in range(30):
        a.lives(number, 500)
        talk(agents)
    assert 9000 < b.imported <= 10_000
    newest = a.lives(30, 500)
    talk(agents)
    sample = b.components[IMPORTED_REPLAY].sample(4000, np.random.default_rng(0))
    assert set(newest.reward[:50].tolist()) & set(sample.reward.tolist())


def test_imported_transitions_outlive_an_agent_and_more_join_them(tmp_path: Path) -> None:
    agents = a, b, _ = path()
    b.lives(0, 100)
    a.lives(1, 300)
    talk(agents)
    checkpoints.write(tmp_path, 7, *b.components.state(), 2)
    found = checkpoints.read_newest(tmp_path)
    assert found is not None
    after = Agent("b")
    after.components.load(found.tensors, found.manifest)
    assert after.imported == 300
    np.testing.assert_array_equal(BatchSampler(after.components).batch(64).reward, BatchSampler(b.components).batch(64).reward)
    a.lives(2, 50)
    for _, send in talk(agents):
        after.hears("a", send)
    assert after.imported == b.imported == 350


def test_where_nothing_could_be_learnt_from_it_it_is_refused() -> None:
    place = FixedNeighbourhood(MappingProxyType({"b": 0.3}))
    for learner, layout, says in (
        (PPOSettings(), LAYOUT, "replay buffer"),
        (SACSettings(), Layout(shape=[2], low=[-1.0, -1.0], high=[1.0, 1.0], goals=FeatureSets(3).info()), "without goals"),
    ):
        goals = {} if layout.goals is not None else {"goals": None}
        settings = AgentSettings.model_validate({"learner": learner, **goals})
        components = AgentComponents(settings, ExchangeSettings(experience=EXPERIENCE), layout, 2, "a", 0)
        with pytest.raises(ConfigurationError, match=says):
            ExperienceSharing(EXPERIENCE, components.features, components.get(IMPORTED_REPLAY), place)
