"""Goal sources: where an agent's own goals come from (dec_imsap, section 2.8)."""

from __future__ import annotations

import numpy as np
import pytest

from agent_node.contracts import GoalSource
from agent_node.goals.bandit import BanditGoals
from agent_node.goals.learning_progress import LearningProgress
from agent_node.goals.uniform import UniformGoals
from agent_node.settings import BanditGoalSettings, LearningProgressSettings, UniformGoalSettings

GOALS = 6


def sources() -> list[GoalSource]:
    return [
        UniformGoals(UniformGoalSettings(), GOALS),
        LearningProgress(LearningProgressSettings(window=10), GOALS),
        BanditGoals(BanditGoalSettings(), GOALS),
    ]


@pytest.mark.parametrize("index", range(3))
def test_probabilities_are_what_is_drawn_with_a_floor_and_outlive_a_restart(index: int) -> None:
    source, other = sources()[index], sources()[index]
    np.testing.assert_allclose(source.probabilities(), np.full(GOALS, 1 / GOALS))
    random = np.random.default_rng(0)
    for _ in range(400):
        goal = int(random.integers(GOALS))
        source.update(goal, 0.5 * float(random.random() < goal / GOALS))
    probabilities = source.probabilities()
    assert probabilities.sum() == pytest.approx(1.0, abs=1e-12)
    assert probabilities.min() >= 0.2 / GOALS - 1e-12
    drawn = np.bincount([source.propose(random) for _ in range(6000)], minlength=GOALS) / 6000
    np.testing.assert_allclose(drawn, probabilities, atol=0.03)
    other.load_state(source.state())
    np.testing.assert_array_equal(other.probabilities(), probabilities)
    for one in (source, other):
        one.update(2, 1.0)
    np.testing.assert_array_equal(other.probabilities(), source.probabilities())


def test_learning_progress_by_hand() -> None:
    source = LearningProgress(LearningProgressSettings(window=2, uniform=0.4), 4)
    for reward in (1.0, 0.0, 0.0, 1.0, 1.0):
        source.update(0, reward)  # newest two: 1, 1; before them: 0, 0
    for reward in (0.5, 0.5, 0.5, 0.0):
        source.update(1, reward)  # successes 1, 1, then 1, 0
    source.update(2, 1.0)  # one outcome says nothing yet
    np.testing.assert_allclose(source.progress(), [1.0, -0.5, 0.0, 0.0])
    np.testing.assert_allclose(source.probabilities(), [0.1 + 0.6 * 2 / 3, 0.1 + 0.6 / 3, 0.1, 0.1])


def test_what_is_mastered_or_hopeless_is_left_for_what_is_being_learnt() -> None:
    source, random = LearningProgress(LearningProgressSettings(window=100), 3), np.random.default_rng(0)
    for episode in range(200):
        source.update(0, 1.0)
        source.update(1, 0.0)
        source.update(2, float(random.random() < episode / 200))
    assert source.probabilities()[2] > 0.7


def test_bandit_by_hand_and_its_drift_to_what_pays() -> None:
    source = BanditGoals(BanditGoalSettings(inverse_temperature=2.0, step_size=0.5, uniform=0.2), 2)
    source.update(0, 1.0)
    source.update(0, 1.0)
    weights = np.exp([2 * 0.75, 0.0])
    np.testing.assert_allclose(source.probabilities(), 0.1 + 0.8 * weights / weights.sum())


@pytest.mark.parametrize("index", [1, 2])
def test_a_state_of_other_goals_is_refused(index: int) -> None:
    few = [LearningProgress(LearningProgressSettings(window=10), 3), BanditGoals(BanditGoalSettings(), 3)][index - 1]
    with pytest.raises(ValueError, match=r"shape \[3"):
        sources()[index].load_state(few.state())
