"""Retry times: first interval, growth, cap, jitter, and what is learnt of the round trip."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.conversations.retries import RetryTimer


def still(**options: float) -> RetryTimer:
    return RetryTimer(np.random.default_rng(0), jitter=0.0, **options)


def test_intervals_grow_by_the_factor_up_to_the_cap() -> None:
    timer = still()
    attempt = timer.start(10.0)
    now, gaps = 10.0, []
    for _ in range(8):
        gaps.append(attempt.due - now)
        now = attempt.due
        timer.again(attempt, now)
    assert gaps == pytest.approx([0.2, 0.32, 0.512, 0.8192, 1.31072, 2.0, 2.0, 2.0])
    assert attempt.retries == 8


def test_first_interval_is_four_smoothed_round_trips_within_bounds() -> None:
    timer = still()
    for measured, smoothed in ((0.1, 0.1), (0.18, 0.11), (0.03, 0.1)):
        timer.answered(timer.start(0.0), measured)
        assert timer.smoothed == pytest.approx(smoothed)
    assert timer.start(0.0).due == pytest.approx(0.4)
    timer.smoothed = 3.0
    assert timer.start(0.0).due == 2.0


def test_an_ambiguous_answer_is_not_measured_but_its_back_off_is_kept() -> None:
    timer = still()
    attempt = timer.start(0.0)
    timer.again(attempt, 0.2)
    timer.again(attempt, 0.52)
    timer.answered(attempt, 0.6)
    assert timer.smoothed is None
    slow = timer.start(1.0)
    assert slow.interval == pytest.approx(0.512)
    timer.answered(slow, 1.5)
    assert timer.smoothed == pytest.approx(0.5)
    assert timer.start(2.0).interval == 2.0


def test_a_round_trip_above_the_first_retry_is_learnt_in_a_few_requests() -> None:
    timer = still()
    for request in range(4):
        now = 10.0 * request
        attempt = timer.start(now)
        while attempt.due < now + 0.9:
            timer.again(attempt, attempt.due)
        timer.answered(attempt, now + 0.9)
    assert timer.smoothed == pytest.approx(0.9)


def test_jitter_covers_half_to_one_and_a_half_and_comes_from_the_generator() -> None:
    timer = RetryTimer(np.random.default_rng(1))
    due = np.array([timer.start(0.0).due for _ in range(4000)])
    assert 0.1 <= due.min() < 0.102 and 0.298 < due.max() <= 0.3
    assert abs(due.mean() - 0.2) < 4 * (0.2 / np.sqrt(12)) / np.sqrt(4000)
    again = RetryTimer(np.random.default_rng(1))
    assert [again.start(0.0).due for _ in range(10)] == due[:10].tolist()
