"""Accuracy of the population's convention, from choices and numbers computed by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from orchestrator.run_server.metrics.disagreement_tracker import PENDING_REPORTS, ConventionTracker
from orchestrator.run_server.metrics.metrics_collector import MetricsCollector
from protocols.conversations.control.control_messages import Metrics
from protocols.conversations.signalling_convention import accuracy, leading_choices, reading_choices

Choices = tuple[np.ndarray, np.ndarray]


def choices(leading: list[int], reading: list[int]) -> Choices:
    return np.array(leading, np.int32), np.array(reading, np.int32)


ONE = choices([2, 0, 1], [1, 2, 0, -1])
"""goals 0, 1, 2 are messages 2, 0, 1; message 3 means nothing"""
OTHER = choices([2, 0, 3], [1, -1, 0, 2])
"""the same for two goals, and goal 2 is message 3"""
NOTHING = choices([-1, -1, -1], [-1, -1, -1, -1])


def test_choices_of_a_table() -> None:
    table = np.array([[0.0, 0.5, 0.2], [0.0, 0.0, 0.9], [0.0, 0.0, 0.0]])
    assert leading_choices(table).tolist() == [1, 2, -1]
    assert reading_choices(table).tolist() == [-1, 0, 1]
    assert leading_choices(table).dtype == reading_choices(table).dtype == np.int32
    assert accuracy(leading_choices(table), reading_choices(table)) == pytest.approx(2 / 3)


def test_a_table_of_zeros_conveys_nothing() -> None:
    zeros = np.zeros((3, 4))
    assert accuracy(leading_choices(zeros), reading_choices(zeros)) == 0.0, "argmax alone would find goal 0 in message 0"
    assert accuracy(ONE[0], NOTHING[1]) == accuracy(NOTHING[0], ONE[1]) == 0.0
    # Nor does the goal without message become the one that the last message means.
    assert accuracy(np.array([-1, 1]), np.array([-1, 1, 0])) == 0.5


def test_accuracy_over_ordered_pairs_by_hand() -> None:
    tracker = ConventionTracker()
    tracker.add("a", 100, 8, ONE, at=0.0)
    assert tracker.complete(["a", "b"]) == []
    tracker.add("b", 120, 9, OTHER, at=0.0)
    (done,) = tracker.complete(["a", "b"])
    # One leads: 2 -> 0, 0 -> 1, 1 -> nothing. Other leads: 2 -> 0, 0 -> 1, 3 -> nothing.
    assert (done.steps, done.episodes, done.agents) == (120, 9, 2) and done.value == pytest.approx(2 / 3)
    assert tracker.complete(["a", "b"]) == [], "handed out once"
    for agent, its in (("a", ONE), ("b", ONE), ("c", NOTHING)):
        tracker.add(agent, 200, 0, its, at=0.0)
    (done,) = tracker.complete(["a", "b", "c"])
    assert done.value == pytest.approx(2 / 6), "a and b understand each other perfectly, in two of six pairs"


def test_reports_of_the_same_step_meet_whatever_comes_first() -> None:
    """Under the logical clock: a's second report may overtake b's first."""
    tracker = ConventionTracker()
    for steps, its in ((10, NOTHING), (20, ONE)):
        tracker.add("a", steps, 0, its, at=0.0)
    tracker.add("b", 10, 0, NOTHING, at=0.0)
    assert [(d.steps, d.value) for d in tracker.complete(["a", "b"])] == [(10, 0.0)]
    tracker.add("b", 20, 0, ONE, at=0.0)
    assert [(d.steps, d.value) for d in tracker.complete(["a", "b"])] == [(20, 1.0)]


def test_a_slow_agent_meets_the_newest_of_the_others() -> None:
    tracker = ConventionTracker()
    for steps in range(0, 100, 10):
        tracker.add("a", steps, 0, ONE if steps >= 50 else NOTHING, at=0.0)
    tracker.add("b", 55, 0, ONE, at=0.0)
    assert [(d.steps, d.value) for d in tracker.complete(["a", "b"])] == [(55, 1.0)]


def test_who_died_is_not_waited_for_and_who_comes_back_begins_anew() -> None:
    tracker = ConventionTracker()
    tracker.add("a", 10, 0, ONE, at=0.0)
    tracker.add("b", 10, 0, ONE, at=0.0)
    assert tracker.complete(["a", "b", "c"]) == [] and tracker.complete(["a"]) == []
    assert [d.agents for d in tracker.complete(["a", "b"])] == [2]
    tracker.add("a", 20, 0, NOTHING, at=0.0)
    tracker.forget("a")
    tracker.add("b", 30, 0, ONE, at=0.0)
    assert tracker.complete(["a", "b"]) == []
    tracker.add("a", 5, 0, ONE, at=0.0)
    assert [(d.steps, d.value) for d in tracker.complete(["a", "b"])] == [(30, 1.0)]


def test_memory_is_bounded_and_repeated_reports_count_once() -> None:
    tracker = ConventionTracker()
    for steps in range(10 * PENDING_REPORTS):
        tracker.add("a", steps, 0, ONE, at=0.0)
        tracker.add("a", steps, 0, NOTHING, at=0.0)
        tracker.add("a", steps - 1, 0, NOTHING, at=0.0)
    for steps in range(10 * PENDING_REPORTS):
        tracker.add("b", steps, 0, ONE, at=0.0)
    done = tracker.complete(["a", "b"])
    assert len(done) == PENDING_REPORTS and {d.value for d in done} == {1.0}


def test_what_does_not_fit_is_refused() -> None:
    tracker = ConventionTracker()
    for leading, reading in (
        choices([4, 0, 1], [1, 2, 0, -1]),  # there are four messages
        choices([2, 0, 1], [1, 3, 0, -1]),  # and three goals
        choices([-2, 0, 1], [1, 2, 0, -1]),
        choices([], [0]),
        (ONE[0].astype(np.int64), ONE[1]),
        (ONE[0][None], ONE[1]),
    ):
        with pytest.raises(ValueError, match="choice"):
            tracker.add("a", 1, 0, (leading, reading), at=0.0)
    tracker.add("a", 1, 0, ONE, at=0.0)
    with pytest.raises(ValueError, match="number of goals"):
        tracker.add("b", 1, 0, choices([0, 1], [0, 1, -1, -1]), at=0.0)


def test_it_is_a_figure_of_the_run(tmp_path: Path) -> None:
    warnings: list[str] = []
    collector = MetricsCollector(tmp_path, [], warnings.append)
    message = Metrics(step=7, episode=3, names=["environment.steps", "environment.episodes"], stamp=1.5)
    for agent, its in (("agent-0", ONE), ("agent-1", OTHER)):
        frames = {"values": np.array([640.0, 12.0]), "leading": its[0], "reading": its[1]}
        collector.receive(agent, message, frames, ["agent-0", "agent-1"])
    assert collector.newest["run"] == {"convention.accuracy": pytest.approx(2 / 3)}
    (line,) = (tmp_path / "nodes" / "run" / "metrics.jsonl").read_text().splitlines()
    assert {key: json.loads(line)[key] for key in ("t", "step", "episode")} == {"t": 1.5, "step": 640, "episode": 12}
    collector.receive("agent-0", message, {**frames, "leading": np.zeros(3)}, [])
    assert len(warnings) == 1 and "choices that do not fit" in warnings[0]
    collector.close()
