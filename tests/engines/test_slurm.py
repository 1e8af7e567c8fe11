"""Runs on a real Slurm: one slurmd on each of two hosts of a site, slurmctld and the run server in the root namespace."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.launch.engine import make_engine
from orchestrator.launch.slurm.slurm_allocation import NOTE
from protocols.runtime.errors import ExitCode
from tests.engines.site import Host
from tests.engines.slurm_cluster import PATIENCE, SlurmCluster
from tests.orchestrator.run_server.cluster import ROOT, Cluster, eventually, starting

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]
Start = Callable[..., Cluster]
UP = 60.0
"""seconds in which all nodes of a run must be up, on a machine that does other things too"""
SLURM = {"engine": "slurm", "hosts": 2, "placement": {"policy": "spread"}}


@pytest.fixture
def start(slurm: SlurmCluster, tmp_path: Path) -> Iterator[Start]:
    """Starts runs on both nodes."""
    slurm.repair()
    with starting(tmp_path, lambda cluster: make_engine("slurm", cluster.directory).release(), launch=SLURM) as start_one:
        yield start_one


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
    assert psutil.Process(pids["agent-0"]).environ()["CUDA_VISIBLE_DEVICES"] == "0", "Slurm's variables of the step reach the nodes"
    # What Slurm does a minute before the end.
    slurm.run("scancel", "--batch", "--signal=TERM", job_of(cluster.directory))
    cluster.ended(40)
    assert (cluster.record()["exit_code"], cluster.record()["reason"]) == (ExitCode.INTERRUPTED, "stopped by orchestrate down")
    for node, life in (("agent-0", 1), ("agent-1", 2)):
        assert f"{life} stopped" in (cluster.directory / "nodes" / node / "seen.txt").read_text(), "they could leave in their own time"
    nothing_left(slurm, cluster)


@pytest.mark.slow
def test_the_machine_that_runs_the_jobs_script_dies_and_the_run_goes_on(slurm: SlurmCluster, start: Start) -> None:
    cluster = start(agents=3, supervision={"dead": "4s"})
    running(cluster)
    job = job_of(cluster.directory)
    lost = host(slurm, re.findall(r"BatchHost=(\w+)", slurm.run("scontrol", "show", "job", job))[0])
    moving = [node for node, name in where(cluster).items() if name == lost.name]
    began = time.monotonic()
    lost.kill_all()

    def back() -> bool:
        return all(cluster.node(name)["incarnation"] == 2 and cluster.node(name)["state"] == "alive" for name in moving)

    eventually(f"{moving} are on the other host", back, 40)
    print(f"up on the other host after {time.monotonic() - began:.1f} s")
    assert lost.name not in where(cluster).values()
    eventually("Slurm has noticed too", lambda: slurm.nodes()[lost.name].startswith("down"), 3 * PATIENCE)
    assert slurm.jobs() == [job]
    grown(cluster)
    lost.heal()
    slurm.start_node(lost)
    eventually("it is back", lambda: slurm.nodes()[lost.name] == "idle", 30)
    grown(cluster)
    cluster.process.terminate()
    assert cluster.ended(60) == ExitCode.INTERRUPTED
    nothing_left(slurm, cluster)


def test_a_node_that_slurm_gives_up_is_lost_at_once_with_its_reason(slurm: SlurmCluster, start: Start) -> None:
    cluster = start(agents=3, supervision={"dead": "30s"})
    running(cluster)
    placed = where(cluster)
    # Not that of the job's script: where an administrator does this, slurmd keeps running, kills the script, and the job is over.
    slurm.run("scontrol", "update", "nodename=h2", "state=down", "reason=smoke")
    moving = [node for node, name in placed.items() if name == "h2"]
    eventually("its nodes move", lambda: all(cluster.node(name)["incarnation"] == 2 for name in moving), 20)
    (event,) = cluster.events("host.lost")
    assert "Slurm reports: Node failure on h2" in event["text"] and "agent-" in event["text"]
    cluster.process.terminate()
    assert cluster.ended(30) == ExitCode.INTERRUPTED
    nothing_left(slurm, cluster)


def test_a_run_waits_for_nodes_a_cut_of_ten_seconds_costs_nobody_and_it_outlives_slurmctld(slurm: SlurmCluster, start: Start) -> None:
    occupied = slurm.run("sbatch", "--parsable", "-N2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1000").strip()
    slurm.wait_for_nodes("allocated")
    cluster = start(agents=4, until={"time": "120s"}, supervision={"dead": "20s", "orphan": "60s"})
    eventually("it reports what it waits for", lambda: any(": Resources" in event["text"] for event in cluster.events("run.queued")))
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


# --- in an existing allocation ------------------------------------------------------------------------------------------------------


def test_a_run_in_the_allocation_around_it_leaves_that_alone(slurm: SlurmCluster, start: Start, tmp_path: Path) -> None:
    script = tmp_path / "own.sh"
    script.write_text(f"#!/bin/sh\ncd {ROOT}\n{sys.executable} -m tests.orchestrator.run_server.lead {tmp_path}/run-0\nsleep 1000\n")
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
