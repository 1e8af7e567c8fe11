"""Evaluation metrics per goal, from records and numbers computed by hand (dec_imsap, section 2.9)."""

from __future__ import annotations

from math import log

import pytest

from env_server.environments.environment_contracts import EpisodeRecord
from env_server.metrics import goal_metrics as goal_metrics
from env_server.metrics.episode_statistics import assigned_goal_metrics
from protocols.spaces.feature_sets import FeatureSets

SPACE = FeatureSets(3)  # goals {0} {1} {2} {0,1} {0,2} {1,2}


def record(goal: int, reward: float, touched: tuple[tuple[int, ...], ...] = ((), ()), members: str = "ab") -> EpisodeRecord:
    return EpisodeRecord(1, tuple(members), (reward, reward), (5, 5), True, goals=(goal, goal), assigned=True, touched=touched)


@pytest.mark.parametrize(
    ("landmarks", "premium", "best"),
    [(3, 1, 2.0), (3, 2, 1.5), (3, 4, 1.25), (3, 8, 1.125), (6, 1, 2.0), (6, 2, 1.714), (6, 4, 1.571), (6, 8, 1.5)],
)
def test_the_published_best_returns(landmarks: int, premium: float, best: float) -> None:
    space = FeatureSets(landmarks, premium=premium)
    assert space.best_return() == pytest.approx(best, abs=5e-4)
    assert space.best_return(3) == pytest.approx(1.5 * best, abs=1e-3)


def test_cooperative_goals_alone_pay_one_each() -> None:
    assert FeatureSets(6, smallest=2).best_return() == 2.0


def test_returns_over_goals_and_over_episodes() -> None:
    """Five goals reached in every episode, the sixth in none of three: over episodes the failures weigh more than over goals."""
    won = [record(goal, 0.5) for goal in range(3)] + [record(goal, 1.0) for goal in (3, 4)]
    lost = [record(5, 0.0)] * 3
    values = assigned_goal_metrics(won + lost, SPACE)
    assert values["return.per_goal"] == pytest.approx((3 * 1.0 + 2 * 2.0) / 6 / 1.5)
    assert values["return.normalised"] == pytest.approx((3 * 1.0 + 2 * 2.0) / 8 / 1.5)
    assert values["diversity"] == pytest.approx(5 / 6)
    assert values["success.goal.2"] == 1.0 and values["success.goal.1-2"] == 0.0
    fewer = assigned_goal_metrics(won, SPACE)
    assert "return.per_goal" not in fewer and "diversity" not in fewer, "goal {1,2} was not evaluated"


def test_a_goal_is_mastered_from_nine_of_ten() -> None:
    nine = [record(0, 0.5)] * 9 + [record(0, 0.0)]
    eight = [record(1, 0.5)] * 8 + [record(1, 0.0)] * 2
    success = goal_metrics.success_by_goal(nine + eight)
    assert success == {0: 0.9, 1: 0.8}
    assert goal_metrics.diversity(success, FeatureSets(2, largest=1)) == 0.5
    assert goal_metrics.diversity(success, SPACE) is None


def test_specialization_in_both_definitions() -> None:
    """Goal {0,1}: a stands three times on 0 and once on 1, b the other way round: 3/4, and for the published figure two values that occur
    once each: 1/2. Goal {0,2}: a on each once, as b: 1/2, and a tie: 1. Goal {1,2}: always the same, 1 and 1."""
    records = [record(3, 1.0, ((0,), (1,)))] * 3 + [record(3, 1.0, ((1,), (0,)))]
    records += [record(4, 1.0, ((0,), (2,))), record(4, 1.0, ((2,), (0,)))]
    records += [record(5, 1.0, ((1,), (2,)))] * 2
    # None of these counts: a failure, an individual goal, and a body that was on no landmark of the goal.
    records += [record(3, 0.0, ((1,), (1,))), record(0, 0.5, ((0,), (1,))), record(3, 1.0, ((2,), ()))]
    found = goal_metrics.specialization(records, SPACE)
    assert found["specialization"] == pytest.approx((3 / 4 + 1 / 2 + 1) / 3)
    assert found["specialization.published"] == pytest.approx((1 / 2 + 1 + 1) / 3)
    assert goal_metrics.specialization([record(0, 0.5, ((0,), (1,)))], SPACE) == {}


def test_every_agent_specializes_by_itself() -> None:
    """a and c share the same goal with b: what c does is no part of a's histogram."""
    records = [record(3, 1.0, ((0,), (1,)), "ab"), record(3, 1.0, ((1,), (0,)), "cb")]
    found = goal_metrics.specialization(records, SPACE)
    assert found == {"specialization": pytest.approx((1 + 1 / 2 + 1) / 3), "specialization.published": 1.0}


def test_entropy_of_pursued_goals() -> None:
    assert goal_metrics.pursued_entropy([record(goal, 0.0) for goal in range(6)], SPACE) == pytest.approx(1.0)
    assert goal_metrics.pursued_entropy([record(2, 0.0)] * 4, SPACE) == 0.0
    half = goal_metrics.pursued_entropy([record(2, 0.0), record(5, 0.0)], SPACE)
    assert half == pytest.approx(log(2) / log(6))
