"""Hosts that do not share the run's directory: all files are returned, and a node that moves gets what it has written."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.launch.host.host_files import own_directory
from protocols.runtime.errors import ExitCode, ResourceError
from tests.orchestrator.run_server.cluster import Cluster, eventually

pytestmark = pytest.mark.cluster


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Starts a run on two hosts that have a directory each in `elsewhere`."""
    # Short, since the sockets of warm parents lie there too.
    elsewhere = tempfile.TemporaryDirectory(prefix="apart-")
    monkeypatch.setenv("TMPDIR", elsewhere.name)
    clusters: list[Cluster] = []

    def start(**arguments: Any) -> Cluster:
        launch = {"hosts": 2, "home": "server", "placement": {"policy": "spread"}}
        clusters.append(Cluster(tmp_path / f"run-{len(clusters)}", launch=launch, **arguments))
        return clusters[-1]

    yield start
    for cluster in clusters:
        cluster.close()
    elsewhere.cleanup()


def kept_elsewhere() -> list[Path]:
    return [path for path in Path(os.environ["TMPDIR"]).rglob("murmuration-*/**/*") if path.is_file()]


def test_everything_comes_home_and_nothing_stays(apart: Any) -> None:
    cluster = apart(until={"time": "1s"}, exchange={"consensus": {}}, metrics={})
    assert cluster.ended(60) == 0
    cluster.assert_nothing_left()
    for node in ("env-0", "agent-0", "agent-1", "agent-2"):
        assert (cluster.directory / "nodes" / node / "seen.txt").read_text().splitlines()[-1].endswith("stopped"), (
            "what was written last too"
        )
        assert (cluster.directory / "nodes" / node / "log.txt").exists()
    summary = json.loads((cluster.directory / "summary.json").read_text())
    assert summary["nodes"]["agent-0"]["metrics"]["return"]["last"] == 0.5
    assert summary["nodes"]["agent-0"]["usage"]["peak_resident"] > 2**20
    assert not kept_elsewhere()


def test_a_node_that_moves_finds_what_it_has_written(apart: Any) -> None:
    cluster = apart(supervision={"dead": "4s"})
    nodes = {node["name"]: node for node in cluster.running()["nodes"]}
    placed = json.loads((cluster.directory / "placement.json").read_text())
    moving = next(name for name, host in placed.items() if host != placed["env-0"])
    seen = cluster.directory / "nodes" / moving / "seen.txt"
    eventually("its file is home", lambda: seen.exists() and seen.read_text().startswith("1 "))
    assert any(path.parts[-2:] == (moving, "seen.txt") for path in kept_elsewhere()), "it wrote elsewhere, and what is home is a copy"
    os.kill(psutil.Process(nodes[moving]["pid"]).parent().ppid(), signal.SIGKILL)
    eventually(f"{moving} is back", lambda: (n := cluster.node(moving))["incarnation"] == 2 and n["state"] == "alive")
    cluster.process.terminate()
    assert cluster.ended(60) == ExitCode.INTERRUPTED
    cluster.assert_nothing_left()
    lives = [line.split(" ", 1)[0] for line in seen.read_text().splitlines()]
    assert lives[0] == "1" and lives[-1] == "2" and lives == sorted(lives), "its second incarnation continued the file of the first"


def test_a_path_too_long_for_sockets_is_an_error_with_its_cure(apart: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    cluster = apart()
    assert cluster.ended(60) == ExitCode.RESOURCES
    cluster.assert_nothing_left()
    log = "".join(path.read_text() for path in (cluster.directory / "hosts").glob("*.log"))
    assert "set TMPDIR to a short path" in log and "Traceback" not in log


def test_a_directory_that_others_can_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    made = own_directory("run-1", "host-1")
    assert made.stat().st_mode & 0o777 == 0o700
    (made / "left").write_text("of a former incarnation")
    assert not list(own_directory("run-1", "host-1").iterdir())
    made.parent.chmod(0o755)
    with pytest.raises(ResourceError, match="TMPDIR"):
        own_directory("run-1", "host-1")
