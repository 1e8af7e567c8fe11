"""Goal sources: where an agent's own goals come from (dec_imsap, section 2.8)."""

from __future__ import annotations

import numpy as np
import pytest

from agent_node.contracts import GoalSource
from agent_node.goals.goal_sources import BanditGoals, UniformGoals
from agent_node.goals.learning_progress import JointLearningProgress, LearningProgress
from agent_node.goals.settings import BanditGoalSettings, JointLearningProgressSettings, LearningProgressSettings, UniformGoalSettings

GOALS = 6


def sources() -> list[GoalSource]:
    return [
        UniformGoals(UniformGoalSettings(), GOALS),
        LearningProgress(LearningProgressSettings(window=10), GOALS),
        BanditGoals(BanditGoalSettings(), GOALS),
        JointLearningProgress(JointLearningProgressSettings(window=10), GOALS),
    ]


@pytest.mark.parametrize("index", range(4))
def test_probabilities_are_what_is_drawn_with_a_floor_and_outlive_a_restart(index: int) -> None:
    source, other = sources()[index], sources()[index]
    np.testing.assert_allclose(source.probabilities(), np.full(GOALS, 1 / GOALS))
    random = np.random.default_rng(0)
    for _ in range(400):
        goal = int(random.integers(GOALS))
        reward = 0.5 * float(random.random() < goal / GOALS)
        source.update(goal, reward)
        source.completed(goal, reward, [int(random.integers(GOALS))])
    probabilities = source.probabilities()
    assert probabilities.sum() == pytest.approx(1.0, abs=1e-12)
    assert probabilities.min() >= 0.2 / GOALS - 1e-12
    drawn = np.bincount([source.propose(random) for _ in range(6000)], minlength=GOALS) / 6000
    np.testing.assert_allclose(drawn, probabilities, atol=0.03)
    other.load_state_dict(source.state_dict())
    np.testing.assert_array_equal(other.probabilities(), probabilities)
    for one in (source, other):
        one.update(2, 1.0)
        one.completed(2, 1.0, [3])
    np.testing.assert_array_equal(other.probabilities(), source.probabilities())


def test_learning_progress_by_hand() -> None:
    source = LearningProgress(LearningProgressSettings(window=2, uniform=0.4), 4)
    for reward in (1.0, 0.0, 0.0, 1.0, 1.0):
        source.update(0, reward)  # newest two: 1, 1; before them: 0, 0
    for reward in (0.5, 0.5, 0.5, 0.0):
        source.update(1, reward)  # successes 1, 1, then 1, 0
    source.update(2, 1.0)  # one outcome is no evidence yet
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


def test_joint_learning_progress_by_hand() -> None:
    source = JointLearningProgress(JointLearningProgressSettings(window=2, uniform=0.3), 3)
    for reward in (0.0, 0.0, 1.0, 1.0):
        source.completed(0, reward, [1])
    for reward in (1.0, 0.0):
        source.completed(0, reward, [0])  # worse beside another partner: the better of the two in absolute value counts
    for reward in (0.0, 1.0, 0.0, 0.0):
        source.completed(2, reward, [0, 0])  # two partners with one goal are one outcome
    for _ in range(9):
        source.update(1, 1.0)  # without its partner's goal an outcome is no news
        source.completed(1, 1.0, [])
    expected = np.zeros((3, 3))
    expected[0] = [-1.0, 1.0, 0.0]
    expected[2, 0] = -0.5
    np.testing.assert_allclose(source.progress(), expected)
    np.testing.assert_allclose(source.probabilities(), [0.1 + 0.7 / 1.5, 0.1, 0.1 + 0.7 * 0.5 / 1.5])


def test_what_is_learnt_beside_one_partner_only_shows_in_the_joint_matrix() -> None:
    """Beside partner goal 0 the agent gets better just as it gets worse beside goal 1: the mean over partners stands still."""
    plain, joint = LearningProgress(LearningProgressSettings(window=100), 2), JointLearningProgress(JointLearningProgressSettings(), 2)
    for episode in range(200):
        for partner in (0, 1):
            success = float((episode < 100) == (partner == 1))
            plain.update(0, success)
            joint.completed(0, success, [partner])
    assert plain.progress()[0] == 0 and joint.probabilities()[0] == pytest.approx(0.85)


@pytest.mark.parametrize("index", [1, 2, 3])
def test_a_state_of_other_goals_is_refused(index: int) -> None:
    few: GoalSource = [
        LearningProgress(LearningProgressSettings(window=10), 3),
        BanditGoals(BanditGoalSettings(), 3),
        JointLearningProgress(JointLearningProgressSettings(window=10), 3),
    ][index - 1]
    with pytest.raises(ValueError, match=r"shape \[[39]"):
        sources()[index].load_state_dict(few.state_dict())
