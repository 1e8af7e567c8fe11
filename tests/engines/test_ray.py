"""What is Ray's own beside the contract of engines: actors, driver and head that die, capacity that is not there, versions, amounts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.config.configuration import Configuration
from orchestrator.launch.engine import HostPhase, Invitation, make_engine
from orchestrator.launch.placement import Slot, node_requests, place
from orchestrator.launch.process_control import WITH_PARENT
from orchestrator.launch.ray import ray_engine
from orchestrator.launch.ray.ray_actor import versions
from orchestrator.launch.ray.ray_engine import bundles, room, slot_name
from protocols.runtime.errors import ExitCode
from tests.engines.conftest import skip_without_site
from tests.engines.ray_cluster import RayCluster, why_no_ray
from tests.engines.site import Site
from tests.orchestrator.run_server.cluster import Cluster, eventually, starting

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    if reason := why_no_ray():
        pytest.skip(reason)
    skip_without_site()
    with Site(2) as site:
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
    launch = {"engine": "ray", "hosts": 2, "ray": {"address": cluster.address, "gpus": 1}, "placement": {"policy": "spread"}}
    with starting(tmp_path, launch=launch) as begin:
        yield begin


def configuration(address: str, **launch: Any) -> Configuration:
    return Configuration.model_validate(
        {
            "version": 2,
            "until": {"time": "50s"},
            "environment": {"id": "landmarks"},
            "agents": {"count": 4},
            "launch": {"engine": "ray", "hosts": 2, **launch, "ray": {"address": address, **launch.get("ray", {})}},
        }
    )


def placed(run: Cluster) -> dict[str, str]:
    return dict(json.loads((run.directory / "placement.json").read_text()))


def running(run: Cluster) -> dict[str, Any]:
    def ready() -> dict[str, Any] | None:
        assert run.process.poll() is None, run.log()
        snapshot = run.snapshot()
        return snapshot if snapshot["state"] == "RUNNING" else None

    return eventually("the run is RUNNING", ready, 60)


def host_process(pid: int) -> psutil.Process:
    """The host program above a node's process."""
    return next(p for p in psutil.Process(pid).parents() if WITH_PARENT in p.cmdline())


def test_an_actor_that_ray_kills_takes_its_host_with_it_and_the_nodes_go_on_elsewhere(cluster: RayCluster, start: Any) -> None:
    run = start()
    nodes = {node["name"]: node for node in running(run)["nodes"]}
    where = placed(run)
    moving = next(name for name, host in where.items() if host != where["env-0"])
    pid = nodes[moving]["pid"]
    host = host_process(pid)
    assert host.environ()["CUDA_VISIBLE_DEVICES"] == "0", "the GPU that Ray has given its actor"
    host.parent().kill()
    eventually("the host and its nodes are gone", lambda: not host.is_running() and not psutil.pid_exists(pid), 5)
    eventually(f"{moving} is back", lambda: (n := run.node(moving)).get("incarnation") == 2 and n["state"] == "alive", 40)
    (lost,) = run.events("host.lost")
    assert "Ray reports: " in lost["text"]
    run.process.terminate()
    assert run.ended(60) == ExitCode.INTERRUPTED
    run.assert_nothing_left()


def test_a_driver_that_is_gone_takes_its_hosts_with_it(cluster: RayCluster, start: Any) -> None:
    run = start()
    running(run)
    (driver,) = [process for process in run.processes() if "orchestrator.launch.ray.ray_driver" in process.cmdline()]
    hosts = [process for process in run.processes() if WITH_PARENT in process.cmdline()]
    assert len(hosts) == 2
    driver.kill()
    eventually("Ray has ended its actors, and the system their hosts", lambda: not any(host.is_running() for host in hosts), 10)
    assert run.ended(60) == ExitCode.CRASH
    assert "is lost" in run.record()["reason"]
    run.assert_nothing_left()


def test_capacity_that_is_not_there_is_waited_for_in_words(cluster: RayCluster, tmp_path: Path) -> None:
    cluster.start()
    engine = make_engine("ray", tmp_path)
    wanted = configuration(cluster.address, hosts=3)
    try:
        assert engine.problems(wanted) == []
        assert engine.address(wanted) == cluster.site.address
        engine.request(wanted, 5)
        eventually("it reports what it waits for", lambda: engine.granted() is not None or engine.waiting, 20)
        assert engine.granted() is None
        assert "3 hosts with 0.67 cores, " in engine.waiting and "would not have it if all were free" in engine.waiting
        assert "Free on 3 nodes: 4 cores of 4 cores" in engine.waiting
    finally:
        assert engine.release() == []
    assert engine.release() == []


def test_other_versions_of_this_package_are_refused_with_both_named(
    cluster: RayCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_engine, "versions", lambda: {**versions(), "murmuration": "0.0.9"})
    cluster.start()
    engine = make_engine("ray", tmp_path)
    wanted = configuration(cluster.address, hosts=1)
    try:
        assert engine.problems(wanted) == []
        engine.request(wanted, 5)
        (slot,) = eventually("there is capacity", engine.granted, 20)
        invitation = Invitation(run="r", directory=str(tmp_path), control="tcp://x:1", telemetry="", token_file="", host=slot.name)
        host = engine.start_host(slot, invitation, tmp_path / "host.log")
        eventually("the host was refused", lambda: engine.poll(host).phase != HostPhase.RUNNING, 60)
        state = engine.poll(host)
        assert (state.phase, state.code) == (HostPhase.ENDED, ExitCode.SCHEMA)
        assert f"on {slot.name}: " in state.reason and "the run server has murmuration 0.0.9" in state.reason
        assert f"there murmuration {versions()['murmuration']}" in state.reason
    finally:
        engine.release()


def test_a_run_outlives_the_head_of_the_cluster_for_a_while_and_ends_in_order(cluster: RayCluster, start: Any) -> None:
    run = start()
    before = {node["name"]: node["metrics"].get("steps", 0) for node in running(run)["nodes"]}
    cluster.kill_head()
    eventually("all go on", lambda: all(n["metrics"].get("steps", 0) > before[n["name"]] + 50 for n in run.snapshot()["nodes"]), 20)
    assert not run.events("host.lost")
    run.process.terminate()
    assert run.ended(60) == ExitCode.INTERRUPTED
    run.assert_nothing_left()


def test_an_address_where_nobody_answers_is_refused_with_its_cure(tmp_path: Path) -> None:
    if reason := why_no_ray():
        pytest.skip(reason)
    for address, says in (("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1"), ("ray://head:10001", "is not auto or HOST:PORT")):
        engine = make_engine("ray", tmp_path)
        try:
            (problem,) = engine.problems(configuration(address))
            assert says in problem and "ray start" in problem
        finally:
            assert engine.release() == []


def test_without_ray_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    engine = make_engine("ray", tmp_path)
    (problem,) = engine.problems(configuration("auto"))
    assert "pip install 'murmuration-rl[ray]'" in problem
    assert engine.release() == []


def test_machines_give_hosts_their_names() -> None:
    taken: list[str] = []
    for machine in ("Box-A.example.org", "box-a.example.com", "box-a-2", "agent-0", "run", "10", ""):
        taken.append(slot_name(machine, taken))
    assert taken == ["box-a", "box-a-2", "box-a-2-2", "host-agent-0", "host-run", "10", "host"]


def test_hosts_ask_for_room_for_the_nodes_of_one_that_is_lost() -> None:
    wanted = configuration("auto", hosts=3)  # five nodes, 0.4 cores each; 256 MiB for the environment server, 512 MiB for others
    wish, least = bundles(wanted)
    assert (wish.cores, least.cores) == (0.67, 0.67)
    assert (wish.memory, least.memory) == (3 * 512 * 2**20, 2 * 512 * 2**20)
    one, same = bundles(configuration("auto", hosts=1))
    assert one == same and (one.cores, one.memory) == (2.0, (4 * 512 + 256) * 2**20)
    told, _ = bundles(configuration("auto", ray={"cores": 3, "memory": "2GiB", "gpus": 1, "resources": {"disk": 1}}))
    assert told.amounts() == {"CPU": 3, "memory": 2**31, "GPU": 1, "disk": 1}
    nodes, rules = node_requests(wanted), wanted.launch.placement
    before = place(nodes, [Slot(name, wish.cores, wish.memory) for name in "abc"], rules)
    after = place(nodes, [Slot(name, wish.cores, wish.memory) for name in "ab"], rules, before)
    assert set(after.values()) == {"a", "b"}
    one_each, _ = bundles(configuration("auto", hosts=3, resources={"agent": {"gpus": 1}}))
    assert one_each.gpus == 2


def test_how_many_bundles_a_cluster_holds() -> None:
    nodes = [{"CPU": 4.0, "memory": 8.0}, {"CPU": 1.0, "memory": 8.0}, {"memory": 8.0}]
    bundle = {"CPU": 1.0, "memory": 3.0}
    assert [room(bundle, nodes, strategy) for strategy in ("STRICT_SPREAD", "SPREAD", "PACK", "STRICT_PACK")] == [2, 3, 3, 2]
    assert room({"GPU": 1.0}, nodes, "PACK") == 0 and room(bundle, [], "STRICT_PACK") == 0
