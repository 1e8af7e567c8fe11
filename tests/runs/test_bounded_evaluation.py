"""An evaluation that would last longer than its bound is cut short, with the number of its episodes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.runs.system import CONFIG, SMALL, events, metrics, orchestrate

pytestmark = [pytest.mark.runs, pytest.mark.cluster, pytest.mark.timeout(150)]


def test_a_last_evaluation_does_not_swallow_a_short_run(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    bound = "evaluation={every: 1000000, episodes: 4, final_episodes: 1000000, min_time: 2s}"
    done = orchestrate(runs, "up", str(CONFIG), "--name", "cut", *SMALL, "until={time: 4s}", bound, "--plain", timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    directory = runs / "cut"
    (event,) = events(directory, "evaluation.cut")
    summary = json.loads((directory / "summary.json").read_text())
    found = summary["last_evaluation"]
    assert 0 < found["episodes"] < found["planned"] == 2_000_000 and found["seconds"] == 2.0
    assert found["episodes"] == int(event["fields"]["episodes"])
    own, aligned = (metrics(directory, "env-0", f"eval.{half}.episodes") for half in ("own", "aligned"))
    assert own[-1] + aligned[-1] == found["episodes"] and own[-1] > 0 and aligned[-1] > 0, "both halves have half of the time"
    assert f"{found['episodes']} of 2000000 episodes, cut short after 2 s" in done.stdout
    assert "evaluating " in done.stdout or summary["wall_seconds"] < 30
