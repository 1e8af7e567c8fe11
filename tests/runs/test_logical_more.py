"""Finished runs of the logical clock, resumed: with more to do they equal a run that had it from the start, else they end at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runs.system import REPOSITORY, SMALL, events, metrics, orchestrate, results

pytestmark = [pytest.mark.runs, pytest.mark.cluster, pytest.mark.timeout(320)]
CONFIG = REPOSITORY / "configs" / "logical_4agents_ring.yaml"
RUN = [
    *(change for change in SMALL if not change.startswith(("until", "supervision"))),
    "agents.count=2",
    "faults=null",
    "supervision.checkpoint_interval=300ms",
]


def up(runs: Path, *words: str) -> None:
    done = orchestrate(runs, "up", *words, "--plain", timeout=75)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_finished_run_ends_at_once_or_does_what_more_it_is_given(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    up(runs, str(CONFIG), "--name", "long", *RUN, "until={steps: 900}")
    up(runs, str(CONFIG), "--name", "short", *RUN, "until={steps: 500}")
    short = runs / "short"
    finished = results(short)
    assert finished != results(runs / "long")

    up(runs, "--resume", "short")
    assert results(short) == finished, "nothing was left to do"
    (ended,) = (event["text"] for event in events(short, "run.ended"))
    assert ended.startswith("DONE, exit 0: 5") and not events(short, "run.resumed"), "nothing was started"

    up(runs, "--resume", "short", "until.steps=900")
    assert results(short) == results(runs / "long")
    assert "from the checkpoint of tick" in events(short, "run.resumed")[-1]["text"] and not events(short, "training.reopened")


def test_without_a_checkpoint_from_before_the_end_it_learns_on_from_the_end(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    up(runs, str(CONFIG), "--name", "one", *RUN, "until={steps: 500}", "supervision.keep_checkpoints=1")
    updates = metrics(runs / "one", "agent-0", "updates")
    up(runs, "--resume", "one", "until.steps=700")
    assert len(events(runs / "one", "training.reopened")) == 1
    later = metrics(runs / "one", "agent-0", "updates")
    assert later[: len(updates)] == updates and later[-1] > updates[-1]
    assert metrics(runs / "one", "env-0", "steps")[-1] >= 700
