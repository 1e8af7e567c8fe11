"""Runs on a real Slurm: one slurmd on each of two hosts of a site, slurmctld and the run server in the root namespace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.config import Configuration
from orchestrator.launch import slurm_script
from orchestrator.launch.engines import make_engine
from orchestrator.launch.slurm import SlurmEngine
from orchestrator.launch.slurm_commands import expand
from orchestrator.launch.slurm_job import NOTE
from protocols.errors import ExitCode, ResourceError
from tests.orchestrator.cluster import ROOT, Cluster, eventually

from .site import Host, Site
from .slurm_cluster import CORES, SlurmCluster, why_no_slurm

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]
Start = Callable[..., Cluster]
UP = 60.0
"""seconds in which all nodes of a run must be up, on a machine that does other things too"""
SLURM = {"engine": "slurm", "hosts": 2, "placement": {"policy": "spread"}}


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    if reason := why_no_slurm():
        pytest.skip(reason)
    with (
        Site(2) as site,
        SlurmCluster(site, tmp_path_factory.mktemp("slurm")) as cluster,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("SLURM_CONF", str(cluster.configuration))
        yield cluster


@pytest.fixture
def start(slurm: SlurmCluster, tmp_path: Path) -> Iterator[Start]:
    """Starts runs on both nodes."""
    slurm.repair()
    clusters: list[Cluster] = []

    def start_one(**arguments: Any) -> Cluster:
        launch = {**SLURM, **arguments.pop("launch", {})}
        clusters.append(Cluster(tmp_path / f"run-{len(clusters)}", launch=launch, **arguments))
        return clusters[-1]

    yield start_one
    for cluster in clusters:
        cluster.close()
        make_engine("slurm", cluster.directory).release()


@pytest.fixture
def make(slurm: SlurmCluster, tmp_path: Path) -> Iterator[Callable[..., SlurmEngine]]:
    """Makes engines that have asked for what `launch` says."""
    slurm.repair()
    engines: list[SlurmEngine] = []

    def make_one(**launch: Any) -> SlurmEngine:
        directory = tmp_path / f"engine-{len(engines)}"
        directory.mkdir()
        engines.append(SlurmEngine(directory))
        engines[-1].request(configuration(**launch), 4)
        return engines[-1]

    yield make_one
    for engine in engines:
        engine.release()


def configuration(**launch: Any) -> Configuration:
    settings = {"version": 1, "environment": {"id": "landmarks"}, "agents": {"count": 3}, "until": {"time": "1s"}}
    return Configuration.model_validate({**settings, "launch": {**SLURM, **launch}})


def running(cluster: Cluster) -> dict[str, int]:
    """Wait until all are up; the process numbers of the nodes."""

    def ready() -> bool:
        assert cluster.process.poll() is None, cluster.log()
        return bool(cluster.snapshot()["state"] == "RUNNING")

    eventually("the run is RUNNING", ready, UP)
    return {node["name"]: node["pid"] for node in cluster.snapshot()["nodes"]}


def job_of(directory: Path) -> str:
    return str(json.loads((directory / NOTE).read_text())["job"])


def where(cluster: Cluster) -> dict[str, str]:
    return dict(json.loads((cluster.directory / "placement.json").read_text()))


def host(slurm: SlurmCluster, name: str) -> Host:
    return next(host for host in slurm.site.hosts if host.name == name)


def nothing_left(slurm: SlurmCluster, cluster: Cluster) -> None:
    cluster.assert_nothing_left()
    eventually("no job is left", lambda: not slurm.jobs(), 10)
    assert not (cluster.directory / NOTE).exists()


def grown(cluster: Cluster, more: int = 5) -> None:
    """Agents go on stepping."""

    def steps() -> dict[str, float]:
        return {node["name"]: node["metrics"].get("steps", 0.0) for node in cluster.snapshot()["nodes"] if node["role"] == "agent"}

    before = steps()

    def further() -> bool:
        return all(count >= before[name] + more for name, count in steps().items())

    eventually("all agents have gone on", further)


# --- runs in a job of their own ---------------------------------------------------------------------------------------------------


def test_a_run_in_a_job_of_its_own_is_stopped_with_checkpoints_before_its_time_is_over(slurm: SlurmCluster, start: Start) -> None:
    cluster = start(agents=4, launch={"slurm": {"gres": "gpu:1"}})
    pids, placed = running(cluster), where(cluster)
    assert set(placed.values()) == {"h1", "h2"}
    for node, pid in pids.items():
        assert pid in [process.pid for process in host(slurm, placed[node]).processes()], "it runs where it was placed"
    hosts = {entry["name"]: entry for entry in json.loads((cluster.directory / "hosts.json").read_text())}
    assert {name: (entry["machine"], entry["cores"], entry["gpus"]) for name, entry in hosts.items()} == {
        "h1": ("h1", 1.0, 1),
        "h2": ("h2", 1.0, 1),
    }
    assert slurm.jobs() == [job_of(cluster.directory)]
    os.kill(pids["agent-1"], signal.SIGKILL)
    eventually("agent-1 is back", lambda: (n := cluster.node("agent-1"))["incarnation"] == 2 and n["state"] == "alive")
    assert psutil.Process(pids["agent-0"]).environ()["CUDA_VISIBLE_DEVICES"] == "0", "what Slurm says of the step reaches the nodes"
    # What Slurm does a minute before the end.
    slurm.run("scancel", "--batch", "--signal=TERM", job_of(cluster.directory))
    cluster.ended(40)
    assert (cluster.record()["exit_code"], cluster.record()["reason"]) == (ExitCode.INTERRUPTED, "stopped by orchestrate down")
    for node, life in (("agent-0", 1), ("agent-1", 2)):
        assert f"{life} stopped" in (cluster.directory / "nodes" / node / "seen.txt").read_text(), "they could leave in their own time"
    nothing_left(slurm, cluster)


def test_a_machine_that_dies_loses_its_nodes_to_the_other(slurm: SlurmCluster, start: Start) -> None:
    cluster = start(agents=4, supervision={"dead": "4s"})
    running(cluster)
    placed = where(cluster)
    lost = host(slurm, "h2" if placed["env-0"] == "h1" else "h1")
    moving = [node for node, name in placed.items() if name == lost.name]
    began = time.monotonic()
    lost.kill_all()

    def back() -> bool:
        return all(cluster.node(name)["incarnation"] == 2 and cluster.node(name)["state"] == "alive" for name in moving)

    eventually(f"{moving} are on the other host", back, 40)
    took = time.monotonic() - began
    assert set(where(cluster).values()) == {placed["env-0"]}
    # Slurm takes longer to notice; the run goes on in what is left of its job.
    grown(cluster)
    cluster.process.terminate()
    assert cluster.ended(60) == ExitCode.INTERRUPTED
    cluster.assert_nothing_left()
    print(f"nodes of the lost host were up on the other after {took:.1f} s")


def test_a_node_that_slurm_gives_up_is_lost_at_once_with_its_reason(slurm: SlurmCluster, start: Start) -> None:
    cluster = start(agents=3, supervision={"dead": "30s"})
    running(cluster)
    placed = where(cluster)
    # Not that of the job's script: where an administrator does this, slurmd lives, kills the script, and the job is over.
    slurm.run("scontrol", "update", "nodename=h2", "state=down", "reason=smoke")
    moving = [node for node, name in placed.items() if name == "h2"]
    eventually("its nodes move", lambda: all(cluster.node(name)["incarnation"] == 2 for name in moving), 20)
    (event,) = cluster.events("host.lost")
    assert "Slurm says: Node failure on h2" in event["text"] and "agent-" in event["text"]
    cluster.process.terminate()
    assert cluster.ended(30) == ExitCode.INTERRUPTED
    nothing_left(slurm, cluster)


def test_a_run_waits_for_nodes_a_cut_of_ten_seconds_costs_nobody_and_it_outlives_slurmctld(slurm: SlurmCluster, start: Start) -> None:
    occupied = slurm.run("sbatch", "--parsable", "-N2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1000").strip()
    slurm.wait_for_nodes("allocated")
    cluster = start(agents=4, until={"time": "120s"}, supervision={"dead": "20s", "orphan": "60s"})
    eventually("it says for what it waits", lambda: any(": Resources" in event["text"] for event in cluster.events("run.queued")))
    assert cluster.record()["state"] == "QUEUED"
    slurm.run("scancel", occupied)
    pids = running(cluster)

    cut = host(slurm, "h2")
    cut.cut()
    end = time.monotonic() + 10.0
    eventually("h2 is silent", lambda: cluster.events("node.suspect"))
    eventually("ten seconds are over", lambda: time.monotonic() > end)
    cut.heal()
    eventually("all are alive", lambda: all(node["state"] == "alive" for node in cluster.snapshot()["nodes"]), 20)
    grown(cluster)
    assert {node["name"]: node["pid"] for node in cluster.snapshot()["nodes"]} == pids
    assert not [*cluster.events("node.dead"), *cluster.events("host.lost"), *cluster.events("node.restart")]
    assert set(slurm.nodes().values()) == {"mixed"}, "Slurm has given up no node either"

    slurm.kill_controller()
    grown(cluster)
    cluster.process.terminate()
    assert cluster.ended(60) == ExitCode.INTERRUPTED
    cluster.assert_nothing_left()
    (left,) = cluster.events("host.left")
    job = job_of(cluster.directory)
    assert f"job {job}" in left["text"] and f"scancel {job}" in left["text"], "who must end it later, and how"
    slurm.start_controller()
    assert slurm.jobs() == [job]
    assert make_engine("slurm", cluster.directory).release() == []
    nothing_left(slurm, cluster)


def test_what_a_killed_run_server_leaves_is_released_once_and_again(slurm: SlurmCluster, start: Start) -> None:
    cluster = start(agents=3, supervision={"orphan": "60s"})
    pids = running(cluster)
    sruns = [process for process in psutil.Process(cluster.process.pid).children() if process.name() == "srun"]
    cluster.process.kill()
    cluster.process.wait(5)
    for srun in sruns:
        srun.kill()
    assert all(psutil.pid_exists(pid) for pid in pids.values()) and slurm.jobs(), "it is not their end"
    for _ in range(2):
        assert make_engine("slurm", cluster.directory).release() == []
        eventually("no process of a node is left", lambda: not any(psutil.pid_exists(pid) for pid in pids.values()), 5)
    nothing_left(slurm, cluster)


# --- in somebody's allocation -----------------------------------------------------------------------------------------------------


def test_a_run_in_the_allocation_around_it_leaves_that_alone(slurm: SlurmCluster, start: Start, tmp_path: Path) -> None:
    script = tmp_path / "own.sh"
    script.write_text(f"#!/bin/sh\ncd {ROOT}\n{sys.executable} -m tests.orchestrator.lead {tmp_path}/run-0\nsleep 1000\n")
    prepared = start(until={"time": "2s"}, launch={"hosts": 2, "slurm": {"partition": "none-of-that-name"}})
    assert prepared.ended(40) == ExitCode.RESOURCES, "outside, the job is refused"
    command = ["sbatch", "--parsable", "--no-kill", "-N2", "-n2", "-c2", "--mem=3000", f"--output={tmp_path}/own.log", str(script)]
    job = slurm.run(*command, cwd=ROOT).strip()
    record = prepared.directory / "run.json"
    eventually("the run is over", lambda: json.loads(record.read_text())["state"] == "DONE", UP)
    assert set(where(prepared).values()) == {"h1", "h2"}
    prepared.assert_nothing_left()
    assert slurm.jobs() == [job], "the allocation was not ours"
    assert not [step for step in slurm.run("squeue", "-h", "-s", "-o", "%j").split() if step not in ("batch", "extern")]
    slurm.run("scancel", job)
    nothing_left(slurm, prepared)


# --- the engine alone -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("launch", "says"),
    [
        ({"slurm": {"partition": "nowhere"}}, "invalid partition.*launch.slurm.partition"),
        ({"hosts": 7}, "fewer launch.hosts"),
        ({"slurm": {"gres": "gpu:9"}}, "fewer launch.hosts|launch.slurm.gres"),
        ({"slurm": {"extra": ["--no-such-option"]}}, "no-such-option"),
        ({"slurm": {"time": "3h", "partition": "short"}}, "launch.slurm.time"),
    ],
)
def test_a_job_that_can_never_run_is_refused_with_its_cure(make: Any, launch: dict[str, Any], says: str) -> None:
    engine = make(**launch)
    with pytest.raises(ResourceError, match=f"(?i){says}"):
        eventually("it is refused", engine.granted)
    assert engine.release() == []


def test_a_job_whose_run_server_never_comes_ends_by_itself(slurm: SlurmCluster, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_script, "LOOK", 1)
    monkeypatch.setattr(slurm_script, "IDLE", 3)
    engine = make()
    slots = eventually("it is granted", engine.granted)
    assert [slot.name for slot in slots] == ["h1", "h2"]
    eventually("the job has ended", lambda: not slurm.jobs(), 15)


def test_a_submission_of_which_no_number_is_known_is_found_by_its_name(slurm: SlurmCluster, make: Any) -> None:
    engine = make()
    eventually("it is there", slurm.jobs)
    note = json.loads((engine._directory / NOTE).read_text())
    assert note["job"] == "" and note["own"], "it was noted before it was asked for, and nobody has looked since"
    assert SlurmEngine(engine._directory).release() == []
    eventually("no job is left", lambda: not slurm.jobs(), 10)


def test_addresses_and_problems(slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm.repair()
    engine = SlurmEngine(tmp_path)
    assert engine.problems(configuration()) == [] and engine.release() == []
    assert engine.address(configuration()) == slurm.site.address
    with pytest.raises(ResourceError, match=r"network\.bind"):
        engine.address(configuration(slurm={"partition": "nowhere"}))
    say = "from tests.engines.test_slurm import *; print(SlurmEngine(Path()).address(configuration()))"
    inside = slurm.run("srun", "-N2", "-n2", sys.executable, "-c", say, cwd=ROOT).split()
    assert sorted(inside) == sorted(host.address for host in slurm.site.hosts)
    slurm.kill_controller()
    (problem,) = engine.problems(configuration())
    assert "DOWN" in problem and "scontrol ping" in problem
    monkeypatch.setenv("PATH", str(tmp_path))
    (problem,) = engine.problems(configuration())
    assert "sbatch, srun" in problem and "PATH" in problem


@pytest.mark.parametrize("hosts", ["h1", "h[1-3,07],login", "r[1-2]n[08-11],x", "a,b[9-10]"])
def test_lists_of_hosts_mean_what_slurm_means(slurm: SlurmCluster, hosts: str) -> None:
    assert expand(hosts) == slurm.run("scontrol", "show", "hostnames", hosts).split()


def test_the_script_is_one_that_a_shell_understands(tmp_path: Path) -> None:
    text = slurm_script.script(tmp_path / "a run's directory", "run-1", NOTE)
    assert subprocess.run(["sh", "-n"], input=text, text=True, capture_output=True, timeout=10).stderr == ""


def test_what_is_asked_for_lets_the_nodes_of_one_host_go_to_the_others() -> None:
    need = 512
    assert slurm_script.needs(configuration()) == (1, 3 * need + 256)
    assert slurm_script.needs(configuration(hosts=1)) == (2, 3 * need + 256)
    assert slurm_script.needs(configuration(hosts=3)) == (1, 2 * need + 256)
    assert slurm_script.needs(configuration(placement={"relocate": False})) == (1, 2 * need + 256)
    assert slurm_script.needs(configuration(slurm={"cores": CORES, "memory": "1GiB"})) == (CORES, 1024)
