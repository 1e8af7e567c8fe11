"""An agent's parts outlive it: what they learnt comes back from a checkpoint, and a checkpoint of other parts is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agent_node.exchange.settings import CoordinationGameSettings, HindsightSettings
from agent_node.goals.settings import BanditGoalSettings, GoalSourceSettings, LearningProgressSettings
from agent_node.learners.settings import DoubleDQNSettings
from agent_node.memory.episode import Episode
from agent_node.session import checkpoints
from agent_node.session.agent_components import AgentComponents
from agent_node.session.roles import GOAL_SOURCE, NEGOTIATION, REPLAY
from agent_node.settings.agent import AgentSettings
from agent_node.settings.exchange import ExchangeSettings
from protocols.runtime.errors import ConfigurationError
from protocols.spaces.feature_sets import FeatureSets
from protocols.spaces.layout import Layout

SPACE = FeatureSets(3)
LAYOUT = Layout(shape=[8], actions=[3, 3], goals=SPACE.info())


def make(goals: GoalSourceSettings, update: str = "inhibition", stream_epoch: int = 0) -> AgentComponents:
    settings = AgentSettings(learner=DoubleDQNSettings(hidden=[8]), goals=goals)
    game = CoordinationGameSettings.model_validate({"messages": 9, "update": update, "batch": 4})
    return AgentComponents(settings, ExchangeSettings(negotiation=game), LAYOUT, 2, "agent-0", 0, stream_epoch)


def teach(components: AgentComponents, seed: int = 0) -> None:
    """Forty episodes, in which goal 4 pays more and more often."""
    random = np.random.default_rng(seed)
    for episode in range(40):
        goal = int(random.integers(SPACE.count))
        reward = float(goal != 4) if episode < 20 else 1.0
        components[GOAL_SOURCE].update(goal, reward)
        components[NEGOTIATION].update([(goal, int(random.integers(9)), reward)])


@pytest.mark.parametrize("goals", [LearningProgressSettings(window=3), BanditGoalSettings()], ids=lambda goals: goals.kind)
@pytest.mark.parametrize("update", ["inhibition", "forgetting"])
def test_what_goal_source_and_game_have_learnt_comes_back_from_the_disk(tmp_path: Path, goals: GoalSourceSettings, update: str) -> None:
    before, after = make(goals, update), make(goals, update, stream_epoch=8)
    teach(before)
    tensors, manifest = before.state()
    checkpoints.write(tmp_path, 7, tensors, manifest, 2)
    found = checkpoints.read_newest(tmp_path)
    assert found is not None
    uniform = np.full(SPACE.count, 1 / SPACE.count)
    assert not np.allclose(before[GOAL_SOURCE].probabilities(), uniform) and np.allclose(after[GOAL_SOURCE].probabilities(), uniform)
    after.load(found.tensors, found.manifest)
    for components in (before, after):
        teach(components, seed=1)  # what it learns from then on depends on all that it remembers
    np.testing.assert_array_equal(after[GOAL_SOURCE].probabilities(), before[GOAL_SOURCE].probabilities())
    np.testing.assert_array_equal(after[NEGOTIATION].table, before[NEGOTIATION].table)


def test_a_checkpoint_of_other_settings_is_refused() -> None:
    tensors, manifest = make(LearningProgressSettings(window=3)).state()
    with pytest.raises(ValueError, match="outcomes"):
        make(LearningProgressSettings(window=5)).load(tensors, manifest)
    del tensors["negotiation/batch"]
    with pytest.raises(ValueError, match="coordination game: the checkpoint has no batch"):
        make(LearningProgressSettings(window=3)).load(tensors, manifest)


def test_the_goal_of_every_partner_may_be_relabelled_with() -> None:
    """Three members: the own body stands still, the second partner reaches what it wanted, the first one does not."""
    steps, first, second = 6, SPACE.index((1,)), SPACE.index((2,))
    own, others = np.zeros((steps + 1, 3), np.uint8), np.zeros((steps + 1, 2, 3), np.uint8)
    others[steps, 1, 2] = 1
    for party, expected in ((3, {second}), (2, set())):
        hindsight = HindsightSettings(strategies=["peer_goal"], share=1.0)
        settings = AgentSettings(learner=DoubleDQNSettings(hidden=[8]))
        components = AgentComponents(settings, ExchangeSettings(hindsight=hindsight), LAYOUT, 2, "agent-0", 0, party=party)
        episode = Episode(
            1, np.zeros((steps + 1, 8), np.float32), np.zeros((steps, 2), np.int32), np.zeros(steps, np.float32), False, goal=0
        )
        episode.achieved = own
        components[REPLAY].add(episode)
        assert components[REPLAY].attach_joint(1, others, [first, second])
        sample = components[REPLAY].sample(32, components.random["buffer"], 1.0, hindsight.strategies)
        assert set(sample.goal[sample.relabelled].tolist()) == expected
        last = sample.relabelled & sample.terminated.astype(bool)
        assert last.any() == bool(expected) and (sample.reward[last] == 0.5).all()


def test_the_learner_sees_the_entities_that_the_settings_describe() -> None:
    given = {"learner": {"kind": "ppo"}, "goals": None, "entities": [{"name": "own", "size": 1}, {"name": "others", "count": 2, "size": 2}]}
    layout = Layout(shape=[8], actions=[3], mask=True)
    built = AgentComponents(AgentSettings.model_validate(given), ExchangeSettings(), layout, 2, "agent-0", 0)
    (group,) = built.policy_spec.entities
    assert group.name == "others" and group.components == ((1, 2), (3, 4)), "without the action mask"
    given["entities"] = [{"name": "own", "size": 1}, {"name": "others", "count": 2, "size": 3}]
    with pytest.raises(ConfigurationError, match=r"agents\.entities: the parts have 7 components, and 5 are observed"):
        AgentComponents(AgentSettings.model_validate(given), ExchangeSettings(), layout, 2, "agent-0", 0)
