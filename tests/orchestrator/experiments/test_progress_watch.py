"""When a run of an experiment counts as standing still."""

from __future__ import annotations

from typing import Any

from orchestrator.experiments.running.cell_runners import ProgressWatch


def snapshot(phase: str, steps: int, done: int | None = None) -> dict[str, Any]:
    return {"phase": phase, "steps": steps, "episodes": 0, "evaluation": None if done is None else {"done": done}}


def test_a_run_stands_still_without_steps_in_training_and_without_episodes_in_an_evaluation() -> None:
    watch = ProgressWatch(10.0)
    assert not watch.over(1000.0), "nothing is known of it"
    watch.saw(snapshot("nodes", 0), 0.0)
    assert not watch.over(1000.0), "to come up has a deadline of its own"
    watch.saw(snapshot("training", 0), 1000.0)
    for now in (1005.0, 1010.0):
        watch.saw(snapshot("training", 100), now)
    assert not watch.over(1015.0) and watch.over(1015.1), "the second snapshot was no progress"
    watch.saw(snapshot("training", 101), 1020.0)
    assert not watch.over(1029.0)
    watch.saw(snapshot("evaluation", 101, done=3), 1030.0)
    watch.saw(snapshot("evaluation", 101, done=4), 1039.0)
    assert not watch.over(1048.0) and watch.over(1050.0), "a run server that does not answer makes no progress either"


def test_without_a_limit_a_run_may_stand_still() -> None:
    watch = ProgressWatch(None)
    watch.saw(snapshot("training", 5), 0.0)
    assert not watch.over(1e9)
