"""When a run has come far enough."""

from __future__ import annotations

import pytest

from orchestrator.config.configuration import Until
from orchestrator.run_server.lead.run_progress import RunProgress


def test_whichever_comes_first() -> None:
    progress = RunProgress(Until.model_validate({"episodes": 100, "steps": 1000, "time": "10s"}))
    assert progress.reached(1e9) is None and progress.share(1e9) == 0 and progress.left(1e9) is None, "not begun"
    progress.begin(50.0)
    progress.count(1, episodes=20, steps=500)
    assert progress.share(52.0) == pytest.approx(0.5)
    assert progress.left(52.0) == pytest.approx(2.0)
    assert progress.reached(52.0) is None
    assert progress.reached(60.0) == "10 s of training"
    progress.count(1, steps=1000)
    assert progress.reached(52.0) == "1000 steps" and progress.share(52.0) == 1.0 and progress.left(52.0) == 0.0
    progress.count(1, episodes=100)
    assert progress.reached(52.0) == "100 episodes"
    progress.end(53.0)
    progress.end(70.0)
    assert progress.seconds(99.0) == 3.0


def test_counts_survive_a_restart_of_the_server() -> None:
    progress = RunProgress(Until(episodes=1000))
    progress.begin(0.0)
    progress.count(1, episodes=400)
    progress.count(1, episodes=390)
    assert progress.episodes == 400, "late news do not turn it back"
    progress.count(2, episodes=0)
    progress.count(2, episodes=30)
    assert progress.episodes == 430, "it forgot"
    progress.count(3, episodes=425)
    progress.count(3, episodes=440)
    assert progress.episodes == 440, "it remembered"
