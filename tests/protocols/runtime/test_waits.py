"""The registry of waits: since when, until when, what is usual, and the stack of a main thread that is away."""

from __future__ import annotations

import threading

from protocols.runtime.waits import AWAY, LONGEST_TEXT, PERIOD, PendingWait, WaitRegistry, frame_text


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def turned(registry: WaitRegistry, clock: Clock, seconds: float, *waits: PendingWait) -> None:
    """The main loop turns often for so many seconds, always with these waits."""
    end = clock.now + seconds
    while clock.now < end:
        clock.now += PERIOD / 2
        registry.turn(lambda: waits)


def test_waits_count_from_their_first_report_and_end_with_the_last() -> None:
    clock = Clock()
    registry = WaitRegistry(clock)
    start = PendingWait("the start of the run", ("run",))
    turned(registry, clock, 3.0, start, PendingWait("the actions of tick 12", ("agent-1",), since=102.5, deadline=104.0))
    older, newer = registry.report().waits
    assert (older.operation, older.peers, older.left) == ("the start of the run", ("run",), None) and 2.7 < older.seconds <= 3.0
    assert abs(newer.seconds - (clock.now - 102.5)) < 1e-9 and newer.left is not None and abs(newer.left - (104.0 - clock.now)) < 1e-9
    turned(registry, clock, 1.0)
    assert registry.report().waits == () and registry.report().stack == ()


def test_what_is_usual_is_learnt_for_each_operation_whatever_its_number() -> None:
    clock = Clock()
    registry = WaitRegistry(clock)
    for tick in range(10):
        turned(registry, clock, 2.0, PendingWait(f"the actions of tick {tick}", ("agent-1",)))
    turned(registry, clock, 1.0, PendingWait("the actions of tick 10", ("agent-1",)), PendingWait("the end of training", ("run",)))
    usual = {wait.operation: wait.usual for wait in registry.report().waits}
    assert 1.5 < usual["the actions of tick 10"] < 2.5 and usual["the end of training"] == 0.0


def test_between_two_lists_nothing_is_computed() -> None:
    clock, calls = Clock(), []
    registry = WaitRegistry(clock)
    for _ in range(100):
        clock.now += PERIOD / 50
        registry.turn(lambda: calls.append(1) or ())
    assert len(calls) <= 3


def test_a_main_thread_that_is_away_is_reported_with_its_activity_and_its_stack() -> None:
    clock = Clock()
    registry = WaitRegistry(clock)
    registry.activity = lambda: ("step", 7.0, 0.25)
    turned(registry, clock, 1.0, PendingWait("the actions of tick 1", ("agent-1",), since=100.0))
    assert not any(wait.own for wait in registry.report().waits)
    clock.now += AWAY
    reports = []

    def stands_still() -> None:
        other = threading.Thread(target=lambda: reports.append(registry.report()))
        other.start()
        other.join(10)

    stands_still()
    (report,) = reports
    assert (report.waits[0].operation, report.waits[0].seconds, report.waits[0].usual, report.waits[0].own) == ("step", 7.0, 0.25, True)
    assert [wait.operation for wait in report.waits[1:]] == ["the actions of tick 1"], "what it waited for before is still there"
    (frame,) = [frame for frame in report.stack if "stands_still" in frame]
    assert "test_waits.py:" in frame


def test_frames_keep_the_end_of_a_long_path() -> None:
    text = frame_text("f" * 200, "/somewhere" * 50 + "/my_env.py", 31)
    assert len(text) == LONGEST_TEXT and text.endswith("/my_env.py:31")
