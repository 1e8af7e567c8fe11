"""When rounds close: what is learnt from arrivals, and who is waited for."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from protocols.averaging.round_deadline import LATE, LATEST, NEEDED, RoundDeadline


def rounds(pacing: RoundDeadline, arrivals: dict[str, float], count: int, start: float = 0.0, period: float = 10.0) -> list[float]:
    """`count` rounds of a period, in which each neighbour arrives so long after the beginning (inf: never); their durations."""
    durations = []
    for number in range(count):
        begun = start + number * period
        pacing.begin(sorted(arrivals), (), begun)
        closed = False
        for peer, wait in sorted(arrivals.items(), key=lambda item: item[1]):
            if not closed and pacing.closes <= begun + wait:
                durations.append(pacing.close(max(begun, pacing.closes)))
                closed = True
            if wait < inf:
                pacing.arrived(peer, begun + wait)
                if not closed and pacing.closes == -inf:
                    durations.append(pacing.close(begun + wait))
                    closed = True
        if not closed:
            durations.append(pacing.close(pacing.closes))
    return durations


def test_the_soft_deadline_is_the_median_and_four_mads() -> None:
    pacing = RoundDeadline(0.0, 5.0)
    assert pacing.soft == 5.0, "until enough have come"
    for i in range(NEEDED + 1):
        pacing.late(0.1 + 0.01 * i)
    pacing.begin("a", "a", 0.0)
    waits = 0.1 + 0.01 * np.arange(NEEDED + 1)
    assert pacing.soft == pytest.approx(np.median(waits) + 4 * np.median(np.abs(waits - np.median(waits))))


@pytest.mark.parametrize(("wait", "soft"), [(0.0001, 0.05), (0.3, 0.3), (60.0, 5.0)])
def test_its_limits(wait: float, soft: float) -> None:
    pacing = RoundDeadline()
    for _ in range(NEEDED):
        pacing.late(wait)
    pacing.begin((), (), 0.0)
    assert pacing.soft == pytest.approx(soft)
    pacing.leisure = 1.0
    assert pacing.soft == pytest.approx(max(soft, 1.0)), "leisure costs nothing"
    pacing.leisure = 100.0
    assert pacing.soft == 5.0
    with pytest.raises(ValueError, match="0 <= least <= most"):
        RoundDeadline(2.0, 1.0)


def test_only_the_last_fifty_arrivals_count() -> None:
    pacing = RoundDeadline()
    for _ in range(50):
        pacing.late(3.0)
    for _ in range(50):
        pacing.late(0.2)
    pacing.begin((), (), 0.0)
    assert pacing.soft == pytest.approx(0.2)


def test_a_round_closes_when_all_are_there() -> None:
    pacing = RoundDeadline()
    pacing.begin("abc", "b", 1.0)
    assert pacing.closes == 6.0
    pacing.arrived("a", 1.1)
    assert pacing.closes == 6.0
    pacing.arrived("c", 1.2)
    assert pacing.closes == -inf and pacing.close(1.2) == pytest.approx(0.2)
    pacing.begin("", "", 2.0)
    assert pacing.closes == -inf, "no neighbour is expected"


def test_a_straggler_is_found_out_and_believed_again() -> None:
    pacing = RoundDeadline()
    slow = rounds(pacing, {"a": 0.01, "b": 2.0}, 20)
    assert slow[0] == pytest.approx(2.0) and slow[-1] == pytest.approx(0.01), "only a is waited for"
    assert pacing.regularly_late("b") and not pacing.regularly_late("a")
    again = rounds(pacing, {"a": 0.01, "b": 0.02}, LATEST, start=1000.0)
    assert again[0] == pytest.approx(0.01) and again[-1] == pytest.approx(0.02) and not pacing.regularly_late("b")


def test_half_of_the_expected_are_always_waited_for() -> None:
    pacing = RoundDeadline()
    rounds(pacing, {"a": inf, "b": inf, "c": inf, "d": inf}, LATE + 1)
    assert all(pacing.regularly_late(peer) for peer in "abcd")
    durations = rounds(pacing, {"a": 0.1, "b": 0.2, "c": 0.3, "d": inf}, 1, start=1000.0)
    assert durations == [pytest.approx(0.2)]


def test_who_is_patient_waits_for_the_punctual_until_the_end() -> None:
    pacing = RoundDeadline(0.05, 2.0, patient=True)
    durations = rounds(pacing, {"a": 0.01, "b": 1.0}, 20)
    assert durations[0] == pytest.approx(1.0), "b would be lost"
    assert durations[-1] == pytest.approx(pacing.soft) == pytest.approx(0.05), "b is regularly late"
    lost = RoundDeadline(0.05, 2.0, patient=True)
    assert rounds(lost, {"a": 0.01, "b": inf}, 1) == [pytest.approx(2.0)]


def test_who_is_excused_is_not_late() -> None:
    pacing = RoundDeadline(patient=True)
    for number in range(2 * LATE):
        pacing.begin("ab", "", float(number))
        pacing.excuse("b")
        pacing.arrived("a", number + 0.1)
        assert pacing.closes == -inf
        pacing.close(number + 0.1)
    assert not pacing.regularly_late("b")
    rounds(pacing, {"a": 0.01, "b": inf}, LATE + 1, start=1000.0)
    assert pacing.regularly_late("b")
    pacing.forget("b")
    assert not pacing.regularly_late("b"), "another process of the same name"


def test_what_has_been_learnt_can_be_kept() -> None:
    pacing, other = RoundDeadline(), RoundDeadline()
    rounds(pacing, {"a": 0.01, "b": 2.0}, 13)
    other.load_state(pacing.state())
    assert rounds(other, {"a": 0.03, "b": 0.5}, 9, start=500.0) == rounds(pacing, {"a": 0.03, "b": 0.5}, 9, start=500.0)
    assert other.soft == pacing.soft
