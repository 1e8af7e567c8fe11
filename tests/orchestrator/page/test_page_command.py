"""`orchestrate dash` and `orchestrate up --dashboard` as users start them."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.launch.process_control import sweep
from orchestrator.results.run_files import read_json
from tests.orchestrator.cli.conftest import CONFIG, Orchestrate, environment, orchestrate, runs
from tests.orchestrator.page.page_client import Page, Stream, names, page
from tests.orchestrator.page.played_run import PlayedRun
from tests.orchestrator.run_server.cluster import eventually

__all__ = ["orchestrate", "runs"]

SMALL = ("agents.count=2", "supervision.orphan=3s")


def test_what_can_not_be_shown(tmp_path: Path, runs: Path, orchestrate: Orchestrate) -> None:
    empty = orchestrate("dash")
    assert empty.returncode == 2 and "start one with: orchestrate up" in empty.stderr
    (tmp_path / "folder").mkdir()
    assert "has no runs in it" in orchestrate("dash", "folder").stderr
    PlayedRun(runs / "night").record("DONE")
    missing = orchestrate("dash", "nigth")
    assert missing.returncode == 2 and "night" in missing.stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = orchestrate("dash", "night", "--port", str(port))
        assert refused.returncode == 6 and f"127.0.0.1:{port}" in refused.stderr and "--port 0" in refused.stderr
        refused = orchestrate("up", str(CONFIG), f"--dashboard={port}")
        assert refused.returncode == 6 and [one.name for one in runs.iterdir()] == ["night"], "nothing was started"
    detached = orchestrate("up", str(CONFIG), "-d", "--dashboard")
    assert detached.returncode == 2 and "orchestrate dash RUN" in detached.stderr


def test_finished_runs_and_their_comparison(tmp_path: Path) -> None:
    for seed in range(6):
        run = PlayedRun(tmp_path / f"run-{seed}", seed=seed, agents=2)
        run.event(1.0, "run.running")
        for step in range(50):
            run.metric(2.0 + step, "env-0", "return", step / 50 + seed / 100, step)
        run.event(60.0, "run.ended")
        run.record("DONE", exit_code=0)
    with page(tmp_path) as (site, process):
        assert names(site.json("/api/runs")) == [f"run-{seed}" for seed in range(6)]
        facts = site.json("/api/runs/run-0")
        assert (facts["mode"], facts["span"], facts["control"]) == ("replay", [0.0, 60.0], False)
        assert site.json("/api/runs/run-0/state?at=10")["step"] is None and site.json("/api/runs/run-0/state")["run_state"] == "DONE"
        stream = Stream(site, "run-0")
        assert stream.until("a snapshot", lambda state: state["run_state"] == "DONE")["answers"]["learning"]["level"] == "good"
        window = site.json("/api/runs/run-0/metrics?name=return&since=40&points=1000")["series"][0]
        assert window["node"] == "env-0" and window["t"][0] == 41.0 and len(window["v"]) == 11
        both = site.json("/api/runs/run-0/metrics?name=return&name=none")
        assert [len(one["series"]) for one in both] == [1, 0]
        few = site.json("/api/compare?runs=run-0,run-1,run-2,run-3&name=return")
        assert few["report"] is None
        one = site.json("/api/compare?runs=run-3&name=return")["report"]
        assert one == {"url": "/api/runs/run-3/report", "text": "Report of the run run-3"}
        assert few["table"][0]["low"] is None and few["groups"][0]["low"] is None, "no interval from fewer than five runs"
        six = site.json("/api/compare?runs=" + ",".join(f"run-{seed}" for seed in range(6)))
        (group,), (row,) = six["groups"], six["table"]
        assert group["runs"] == row["runs"] == [f"run-{seed}" for seed in range(6)]
        assert row["low"] < row["value"] < row["high"] and len(group["median"]) == len(group["step"]) == len(group["high"])
        assert site.order("run-0", {"action": "heal"})[0] == 403, "the page was started without --control"
        for wrong in (
            "/api/runs/run-0/state?at=x",
            "/api/runs/run-0/state?at=nan",
            "/api/runs/run-0/state?at=inf",
            "/api/runs/run-0/metrics",
            "/api/compare?runs=run-0&name=none",
            "/api/runs/run-0/edge?a=x",
        ):
            assert site.ask(wrong)[0] == 400, wrong
        process.terminate()  # while the stream is open
        assert process.wait(20) is not None
        stream.close()


@pytest.mark.cluster
@pytest.mark.runs
def test_a_run_with_its_page_and_its_resumption(tmp_path: Path, runs: Path) -> None:
    def small(*arguments: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "tests.orchestrator.cli.small_up", "--json", *arguments]
        return subprocess.Popen(words, cwd=tmp_path, env=environment(runs), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    leader = small("up", str(CONFIG), *SMALL, "--name", "night", "--dashboard")
    try:
        assert leader.stdout is not None
        started = json.loads(leader.stdout.readline())
        assert started["kind"] == "page" and started["url"].endswith("/?run=night")
        stream = Stream(Page(started["url"]), "night")
        stream.until("the run goes on", lambda state: state["run_state"] == "RUNNING" and state["phase"] == "training")
        leader.terminate()
        leader.communicate(timeout=60)
        eventually("the page ends with the command", lambda: not _listens(Page(started["url"])))
        stream.close()
        assert (runs / "night" / "page.log").read_text() == ""

        with page(runs, "night") as (site, _):
            again = Stream(site, "night")
            again.until("it is stopped", lambda state: state["run_state"] == "STOPPED")
            resumed = small("up", "--resume", "night", "-d")
            assert resumed.communicate(timeout=60)[0]
            again.until("it goes on", lambda state: state["run_state"] == "RUNNING" and state["phase"] == "training")
            assert site.json("/api/runs/night")["mode"] == "live"
            assert read_json(runs / "night" / "run.json")["segment"] == 2
            again.close()
    finally:
        if leader.poll() is None:
            leader.kill()
            leader.communicate(timeout=10)
        sweep(runs / "night")


def _listens(site: Page) -> bool:
    try:
        socket.create_connection((site.host, site.port), 5).close()
    except OSError:
        return False
    return True
