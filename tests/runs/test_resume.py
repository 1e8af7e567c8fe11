"""A run under the wall clock that was stopped goes on from every node's own checkpoint, and may be given more to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runs.system import CONFIG, SMALL, events, metrics, orchestrate

pytestmark = [pytest.mark.runs, pytest.mark.cluster, pytest.mark.timeout(150)]


def test_a_finished_run_goes_on_when_it_is_given_more_to_do(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    first = orchestrate(runs, "up", str(CONFIG), "--name", "more", *SMALL, "until={episodes: 60, time: 90s}", "--plain", timeout=120)
    assert first.returncode == 0, first.stdout + first.stderr
    directory = runs / "more"
    nothing = orchestrate(runs, "up", "--resume", "more", "--plain")
    assert nothing.returncode == 0 and "nothing to do" in nothing.stdout and "until.episodes=120" in nothing.stdout, nothing.stdout
    assert not events(directory, "run.resumed")
    steps, updates = metrics(directory, "env-0", "steps"), metrics(directory, "agent-0", "updates")
    again = orchestrate(runs, "up", "--resume", "more", "until={episodes: 120, time: 90s}", "--plain", timeout=120)
    assert again.returncode == 0, again.stdout + again.stderr
    assert len(events(directory, "run.resumed")) == 1
    assert {event["node"] for event in events(directory, "node.restored")} == {f"agent-{i}" for i in range(4)}
    later = metrics(directory, "env-0", "steps")[len(steps) :]
    assert later and min(later) >= max(steps) and max(later) > max(steps)
    assert metrics(directory, "agent-0", "updates")[len(updates) :][-1] > updates[-1]
