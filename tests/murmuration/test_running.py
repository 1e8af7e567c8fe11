"""`murmuration.run` with real processes: a short run, callbacks that watch, stop and fail, an interrupt, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import murmuration
from murmuration import Callback, Progress

pytestmark = pytest.mark.cluster

SMALL: dict[str, Any] = {
    "agents.count": np.int64(2),
    "until": {"episodes": 60, "time": "60s"},
    "environment.copies": 8,
    "environment.options.horizon": 20,
    "agents.learner.learning_starts": 300,
    "agents.learner.replay_ratio": 0.125,
    "agents.learner.batch_size": 32,
    "agents.learner.hidden": (16,),
    "agents.world_model.hidden": np.array([16]),
    "evaluation": {"every": 1000, "episodes": 8, "final_episodes": 8},
    "metrics.every": "200ms",
    "metrics.sinks": ["csv"],
}
"""overrides with which the main configuration lasts seconds"""


class Recorder(Callback):
    """Notes what it is called with; calls `act` at every progress."""

    def __init__(self, act: Any = lambda progress: None) -> None:
        self.progress: list[Progress] = []
        self.events: list[Mapping[str, Any]] = []
        self.ended: list[murmuration.Run] = []
        self._act = act

    def on_progress(self, progress: Progress) -> Any:
        self.progress.append(progress)
        return self._act(progress)

    def on_event(self, event: Mapping[str, Any]) -> None:
        self.events.append(event)

    def on_end(self, run: murmuration.Run) -> None:
        self.ended.append(run)


def trained(progress: Progress) -> bool:
    return progress.state == "RUNNING" and progress.episodes > 0


def test_a_run_with_callbacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorder, called = Recorder(), []
    run = murmuration.run("4agents_ring", SMALL, name="short", seed=7, runs_dir=tmp_path, callbacks=[recorder, called.append], verbose=True)
    assert (run.state, run.exit_code, run.directory) == ("DONE", 0, tmp_path / "short")
    assert run.config["seed"] == 7 and run.config["agents"]["world_model"]["hidden"] == [16] and run.agents == ["agent-0", "agent-1"]
    assert recorder.ended == [run] and called == recorder.progress
    last = recorder.progress[-1]
    assert last.fraction == 1.0 and last.episodes >= 60 and {"agent-0", "agent-1", "env-0", "run"} <= last.metrics.keys()
    numbers = [event["id"] for event in recorder.events]
    assert numbers == sorted(set(numbers)) and [event["id"] for event in run.events] == numbers
    assert "short done" in capsys.readouterr().out
    # What was recorded, by other means: rows of metrics.csv, and the summary of the run server.
    table = run.metrics
    assert len(table) == len((run.directory / "metrics.csv").read_text().splitlines()) - 1
    assert set(table["node"]) == {"agent-0", "agent-1", "env-0", "run"} and table["time"].is_monotonic_increasing
    wide = run.metrics_wide("return", "success")
    assert list(wide.columns) == ["return", "success"]
    last_return = run.summary["nodes"]["env-0"]["metrics"]["return"]["last"]
    assert wide.loc["env-0"]["return"].dropna().iloc[-1] == last_return
    assert len(run.faults) == 0 and not run.verdict
    # The policy of a finished run acts in its environment.
    played = run.evaluate(3)
    assert list(played["episode"]) == [0, 1, 2] and played["length"].between(1, 20).all()
    loaded = murmuration.load("short", runs_dir=tmp_path)
    assert loaded.policy("agent-1").training["updates"] == run.policy("agent-1").training["updates"] > 0


def test_a_callback_stops_the_run_in_order(tmp_path: Path) -> None:
    recorder = Recorder(lambda progress: not trained(progress))
    run = murmuration.run("4agents_ring", {**SMALL, "until": {"time": "10min"}}, runs_dir=tmp_path, callbacks=recorder)
    assert run.state == "STOPPED" and "stopped by a callback" in run.reason and recorder.ended == [run]
    assert run.checkpoints("agent-0") and run.summary["episodes"] > 0


def test_an_exception_of_a_callback_stops_the_run_and_is_raised(tmp_path: Path) -> None:
    def fails(progress: Progress) -> None:
        if trained(progress):
            raise LookupError("what the callback wanted is missing")

    with pytest.raises(LookupError, match="wanted is missing"):
        murmuration.run("4agents_ring", {**SMALL, "until": {"time": "10min"}}, runs_dir=tmp_path, callbacks=fails)
    run = murmuration.load(runs_dir=tmp_path)
    assert run.state == "STOPPED" and "a callback raised LookupError" in run.reason


def test_an_interrupt_stops_the_run_in_order(tmp_path: Path) -> None:
    sent = threading.Event()

    def interrupt(progress: Progress) -> None:
        if trained(progress) and not sent.is_set():
            sent.set()
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        murmuration.run("4agents_ring", {**SMALL, "until": {"time": "10min"}}, runs_dir=tmp_path, callbacks=interrupt)
    run = murmuration.load(runs_dir=tmp_path)
    assert (run.state, run.exit_code) == ("STOPPED", 130) and run.checkpoints("agent-1")


def test_a_run_that_fails_raises_its_reason_and_the_end_of_the_log(tmp_path: Path) -> None:
    killed = threading.Event()

    def kill(progress: Progress) -> None:
        if trained(progress) and not killed.is_set():
            killed.set()
            processes = json.loads((progress.directory / "processes.json").read_text())
            os.kill(next(process["pid"] for process in processes if process["name"] == "agent-1"), signal.SIGKILL)

    once = {**SMALL, "until": {"time": "10min"}, "supervision": {"max_restarts": 0, "min_agents": 2}}
    with pytest.raises(murmuration.RunFailedError, match="fewer than 2 agents are left") as failed:
        murmuration.run("4agents_ring", once, runs_dir=tmp_path, name="failing", callbacks=kill)
    run = failed.value.run
    assert run.state == "FAILED" and failed.value.exit_code == run.exit_code == 20
    text = str(failed.value).splitlines()
    assert text[0] == f"failing: {run.reason}" and text[1].startswith("the end of ") and len(text) > 2


@pytest.mark.parametrize(
    ("config", "keys", "error", "text"),
    [
        ("4agents_rig", {}, murmuration.UsageError, 'did you mean "4agents_ring"?'),
        ("missing.yaml", {}, murmuration.ConfigurationError, "there is no such file"),
        ("4agents_ring", {"agents__cuont": 3}, murmuration.ConfigurationError, 'agents.cuont: unknown key; did you mean "count"?'),
        ("4agents_ring", {"until__time": 20}, murmuration.ConfigurationError, "until.time: 20 has no unit; write 20ms or 20s"),
        ("4agents_ring", {"name": "No Name"}, murmuration.ConfigurationError, "No Name"),
        ({"extends": "4agents_ring", "agents": {"cuont": 3}}, {}, murmuration.ConfigurationError, "dictionary  agents.cuont: unknown key"),
        ("4agents_ring", {"callbacks": 3}, TypeError, "3 is not a callback"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_starts(
    tmp_path: Path, config: Any, keys: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error) as refused:
        murmuration.run(config, runs_dir=tmp_path, **keys)
    assert text in str(refused.value) and not list(tmp_path.iterdir())


def test_shipped_configurations_are_listed() -> None:
    names = murmuration.configurations()
    assert {"4agents_ring", "odmar/far"} <= set(names) and not [name for name in names if name.startswith("experiments")]
