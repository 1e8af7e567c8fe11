"""The engine for Slurm alone, on a real Slurm: what it asks for, what it is refused, what it gives back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.configuration import Configuration
from orchestrator.launch.slurm import slurm_script
from orchestrator.launch.slurm.slurm_allocation import NOTE, NodeShare
from orchestrator.launch.slurm.slurm_commands import expand
from orchestrator.launch.slurm.slurm_engine import SlurmEngine
from protocols.runtime.errors import ResourceError
from tests.engines.slurm_cluster import SlurmCluster
from tests.orchestrator.run_server.cluster import ROOT, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]
SLURM = {"engine": "slurm", "hosts": 2, "placement": {"policy": "spread"}}


@pytest.fixture
def make(slurm: SlurmCluster, tmp_path: Path) -> Iterator[Callable[..., SlurmEngine]]:
    """Makes engines that have requested what `launch` specifies."""
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
    settings = {"version": 2, "environment": {"id": "landmarks"}, "agents": {"count": 3}, "until": {"time": "1s"}}
    return Configuration.model_validate({**settings, "launch": {**SLURM, **launch}})


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
    note = json.loads((engine.directory / NOTE).read_text())
    assert note["job"] == "" and note["own"], "it was noted before it was requested, and not updated since"
    assert SlurmEngine(engine.directory).release() == []
    eventually("no job is left", lambda: not slurm.jobs(), 10)


def test_addresses_and_problems(slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm.repair()
    engine = SlurmEngine(tmp_path)
    assert engine.problems(configuration()) == [] and engine.release() == []
    assert engine.address(configuration()) == slurm.site.address
    with pytest.raises(ResourceError, match=r"network\.bind"):
        engine.address(configuration(slurm={"partition": "nowhere"}))
    say = "from tests.engines.test_slurm_engine import *; print(SlurmEngine(Path()).address(configuration()))"
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
    assert slurm_script.needs(configuration()) == (1, 3 * need + 256, "")
    assert slurm_script.needs(configuration(hosts=1)) == (2, 3 * need + 256, "")
    assert slurm_script.needs(configuration(hosts=3)) == (1, 2 * need + 256, "")
    assert slurm_script.needs(configuration(placement={"relocate": False})) == (1, 2 * need + 256, "")
    assert slurm_script.needs(configuration(resources={"agent": {"gpus": 1}}))[2] == "gpu:3"
    assert slurm_script.needs(configuration(slurm={"cores": 4, "memory": "1GiB", "gres": "gpu:a100:1"})) == (4, 1024, "gpu:a100:1")
    assert [NodeShare("h1", 1, 0, gres).gpus for gres in ("gpu:2", "gpu:a100:2,disk:1", "gpu", "disk:3", "")] == [2, 2, 1, 0, 0]
