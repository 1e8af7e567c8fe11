"""Runs on a Ray cluster of two nodes, each in a network namespace of its own: nodes, hosts, links and the cluster itself fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.config import Configuration
from tests.orchestrator.cluster import Cluster, eventually

from .conftest import skip_without_site
from .ray_cluster import ENVIRONMENT, RayCluster, why_no_ray
from .site import Host, Site

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    if reason := why_no_ray():
        pytest.skip(reason)
    skip_without_site()
    with Site(2) as site, pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        ray = RayCluster(site)
        try:
            ray.start()
            yield ray
        finally:
            ray.close()


@pytest.fixture
def start(cluster: RayCluster, tmp_path: Path) -> Iterator[Any]:
    """Starts a run of small nodes on both hosts."""
    cluster.start()
    runs: list[Cluster] = []

    def begin(**settings: Any) -> Cluster:
        launch = {"engine": "ray", "hosts": 2, "ray": {"address": cluster.address}, "placement": {"policy": "spread"}}
        runs.append(Cluster(tmp_path / f"run-{len(runs)}", launch=launch, **settings))
        return runs[-1]

    yield begin
    for run in runs:
        run.close()


def configuration(address: str, **launch: Any) -> Configuration:
    return Configuration.model_validate(
        {
            "version": 1,
            "until": {"time": "50s"},
            "environment": {"id": "landmarks"},
            "agents": {"count": 4},
            "launch": {"engine": "ray", "hosts": 2, **launch, "ray": {"address": address, **launch.get("ray", {})}},
        }
    )


def placed(run: Cluster) -> dict[str, str]:
    return dict(json.loads((run.directory / "placement.json").read_text()))


def machine(cluster: RayCluster, run: Cluster, slot: str) -> Host:
    """The host of the site on which that slot is."""
    names = {host["name"]: host["machine"] for host in json.loads((run.directory / "hosts.json").read_text())}
    return next(host for host in cluster.site.hosts if host.name == names[slot])


def running(run: Cluster) -> dict[str, Any]:
    def ready() -> dict[str, Any] | None:
        assert run.process.poll() is None, run.log()
        snapshot = run.snapshot()
        return snapshot if snapshot["state"] == "RUNNING" else None

    return eventually("the run is RUNNING", ready, 60)


def host_process(pid: int) -> psutil.Process:
    """The host program above a node's process."""
    return next(p for p in psutil.Process(pid).parents() if "orchestrator.launch.ray.host" in p.cmdline())


def test_a_run_on_two_nodes_from_its_start_to_its_end(cluster: RayCluster, start: Any) -> None:
    run = start(until={"time": "1s"}, exchange={"consensus": {}})
    assert run.ended(90) == 0, run.log()
    run.assert_nothing_left()
    assert set(placed(run).values()) == {"ray-0", "ray-1"}
    assert {machine(cluster, run, slot).name for slot in ("ray-0", "ray-1")} == {"h1", "h2"}
    for node in placed(run):
        assert (run.directory / "nodes" / node / "seen.txt").read_text().splitlines()[-1].endswith("stopped")
    assert "the host ends: the run is over" in (run.directory / "hosts" / "ray-0.log").read_text()
