"""An experiment whose process is killed at any moment and started again comes to the same as one that never was (O14)."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.experiments.results.experiment_results import load
from orchestrator.launch.process_control import MARK
from tests.orchestrator.experiments.small import PLAYED, orchestrate, start, written

pytestmark = [pytest.mark.runs, pytest.mark.cluster, pytest.mark.timeout(400)]
MOMENTS = 3


def processes_below(home: Path) -> list[psutil.Process]:
    """All running processes that were started for a run below this directory."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK, "").startswith(str(home)) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def finished(experiment: Path) -> dict[str, Any]:
    """Identity -> how the run of a finished cell ended, and in which segment."""
    if not (experiment / "experiment.sqlite").is_file():
        return {}
    done = {}
    for cell in load(experiment).cells:
        if cell.state == "DONE" and cell.directory is not None:
            record = json.loads((cell.directory / "run.json").read_text())
            done[cell.identity] = (record["segment"], record["started"], record["ended"])
    return done


def kill_after(process: subprocess.Popen[str], seconds: float) -> bool:
    """SIGKILL after so many seconds; False when it had ended before."""
    try:
        process.communicate(timeout=seconds)
        return False
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
        return True


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("killed")
    yield path
    assert not processes_below(path), "something of an experiment was left behind"
    shutil.rmtree(path)


def play_under_fire(home: Path, moments: int, **changes: Any) -> None:
    whole = home / f"whole-{moments}"
    began = time.monotonic()
    done = orchestrate(whole, "experiment", str(written(whole, PLAYED, **changes)), "--jobs", "1", timeout=300)
    assert done.returncode == 0, done.stdout
    lasted = time.monotonic() - began

    fired = home / f"fired-{moments}"
    file, experiment = str(written(fired, PLAYED, **changes)), fired / "experiments" / "tiny"
    draw = random.Random(moments)
    before: dict[str, Any] = {}
    kills = 0
    for _ in range(5 * moments):
        # Some just after the start, some while a cell plays, some between two.
        kills += kill_after(start(fired, "experiment", file, "--jobs", "1"), draw.uniform(0.2, 0.6 * lasted))
        now = finished(experiment)
        assert before.items() <= now.items(), "a cell that was done was played again"
        before = now
        if kills == moments:
            break
    assert kills == moments
    done = orchestrate(fired, "experiment", file, "--jobs", "1", timeout=300)
    assert done.returncode == 0, done.stdout
    assert before.items() <= finished(experiment).items()
    assert (experiment / "results.csv").read_bytes() == (whole / "experiments" / "tiny" / "results.csv").read_bytes()
    assert all(cell.attempts == 1 for cell in load(experiment).cells)


def test_killed_at_three_moments(home: Path) -> None:
    play_under_fire(home, MOMENTS)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_ten_moments(home: Path) -> None:
    play_under_fire(home, 10, seeds="0..1")
