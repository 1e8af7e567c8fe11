"""When goals become harder or easier: both rules, fed with batches made by hand."""

import numpy as np
import pytest

from agent_node.intrinsic.goal_difficulty import ThresholdDifficulty, WindowDifficulty
from agent_node.intrinsic.settings import ThresholdSettings, WindowSettings

BETA = 0.3


def earned(share: float) -> float:
    """What a batch pays in which this share of the goals was right."""
    return share - BETA


def test_a_goal_is_hard_from_the_target_on() -> None:
    rule = ThresholdDifficulty(ThresholdSettings(start=7), 270)
    durations, reached = np.array([6, 7, 8, 50]), np.array([True, True, True, False])
    assert rule.hits(durations, reached).tolist() == [False, True, True, False]


def test_with_the_published_bar_the_target_rises_whatever_happens() -> None:
    """At -0.5 every batch is enough, since nothing pays less than -0.3: one step in ten batches."""
    rule = ThresholdDifficulty(ThresholdSettings(threshold=-0.5), 270)
    seen = []
    for _ in range(40):
        rule.update(earned(0.0), 0.0)
        seen.append(rule.target)
    assert seen == [7] * 9 + [8] * 10 + [9] * 10 + [10] * 10 + [11]


def test_below_a_fifth_of_hard_successes_the_target_stays_where_it_is() -> None:
    rule = ThresholdDifficulty(ThresholdSettings(threshold=-0.1), 270)
    for _ in range(100):
        rule.update(earned(0.19), 0.0)
    assert rule.target == 7
    for _ in range(10):
        rule.update(earned(0.21), 0.0)
    assert rule.target == 8


def test_the_batches_must_be_in_a_row() -> None:
    rule = ThresholdDifficulty(ThresholdSettings(threshold=-0.1), 270)
    for number in range(100):
        rule.update(earned(0.1 if number % 10 == 9 else 0.5), 0.0)
    assert rule.target == 7


def test_the_target_stops_one_above_the_maximum() -> None:
    rule = ThresholdDifficulty(ThresholdSettings(counts=1, maximum=100), 270)
    for _ in range(300):
        rule.update(earned(1.0), 0.0)
    assert rule.target == 101


def test_in_a_window_goals_must_be_reached_in_time_but_not_too_soon() -> None:
    rule = WindowDifficulty(WindowSettings(start=100, window=50), 270)
    durations, reached = np.array([49, 50, 150, 151, 100]), np.array([True, True, True, True, False])
    assert rule.hits(durations, reached).tolist() == [False, True, True, False, False]


def test_a_window_moves_both_ways_and_batches_of_one_kind_do_not_clear_the_other() -> None:
    rule = WindowDifficulty(WindowSettings(start=100, counts=10), 270)
    for _ in range(9):
        rule.update(earned(0.5), 0.0)
        rule.update(earned(0.0), 0.0)
    assert rule.target == 100
    rule.update(earned(0.5), 0.0)
    assert rule.target == 99, "the tenth that was enough"
    for _ in range(9):
        rule.update(earned(0.0), 0.0)
    assert rule.target == 99, "both counts began anew"
    rule.update(earned(0.0), 0.0)
    assert rule.target == 100


def test_a_window_stays_between_floor_and_ceiling() -> None:
    down = WindowDifficulty(WindowSettings(start=22, counts=1), 270)
    for _ in range(10):
        down.update(earned(1.0), 0.0)
    assert down.target == 20
    for _ in range(10):
        down.update(earned(1.0), 1.0)
    assert down.target == 20, "not even where the task is solved"
    for longest, maximum, wanted in ((105, None, 105), (270, 103, 103)):
        up = WindowDifficulty(WindowSettings(start=100, counts=1, maximum=maximum), longest)
        for _ in range(10):
            up.update(earned(0.0), 0.0)
        assert up.target == wanted


def test_a_window_shrinks_with_every_batch_once_the_task_is_solved() -> None:
    rule = WindowDifficulty(WindowSettings(start=100, solved=0.8), 270)
    for reward in (0.79, 0.8, 0.95):
        rule.update(earned(0.0), reward)
    assert rule.target == 98


@pytest.mark.parametrize("kind", ["threshold", "window"])
def test_rules_outlive_a_restart(kind: str) -> None:
    def rule() -> ThresholdDifficulty | WindowDifficulty:
        return ThresholdDifficulty(ThresholdSettings(), 270) if kind == "threshold" else WindowDifficulty(WindowSettings(), 270)

    one, other = rule(), rule()
    for number in range(27):
        one.update(earned(number % 3 / 3), 0.0)
    other.load_state(one.state())
    for number in range(60):
        assert one.target == other.target
        for each in (one, other):
            each.update(earned(0.5 if number % 7 else 0.0), 0.0)
    with pytest.raises(ValueError, match="target is missing"):
        other.load_state({})
