"""What every engine must do, tried on each: hosts are started and ended, what breaks is noticed or borne, and nothing is ever left."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.config.configuration import Configuration
from orchestrator.launch.engine import HostPhase, Invitation, clean_up, make_engine
from orchestrator.results.run_files import write_json
from protocols.runtime.errors import ExitCode
from protocols.runtime.key_pairs import KeyPair
from tests.engines.under_test import ENGINES, EngineUnderTest
from tests.orchestrator.run_server.cluster import Cluster, eventually, starting

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

Start = Callable[..., Cluster]


@pytest.fixture(scope="module", params=list(ENGINES))
def engine(request: pytest.FixtureRequest) -> Iterator[EngineUnderTest]:
    kind = ENGINES[request.param]
    if reason := kind.why_not():
        pytest.skip(f"engine {request.param}: {reason}")
    with kind() as ready:
        yield ready


@pytest.fixture
def start(engine: EngineUnderTest, tmp_path: Path) -> Iterator[Start]:
    """Starts runs on the engine; whatever a test that failed has left of them is killed."""
    with starting(tmp_path, lambda cluster: clean_up(cluster.directory, engine.name), launch=engine.launch()) as start_one:
        yield start_one
    for process in [process for machine in engine.machines for process in engine.processes(machine)]:
        process.send_signal(signal.SIGKILL)


def nothing_left(engine: EngineUnderTest, cluster: Cluster, within: float = 5.0) -> None:
    cluster.assert_nothing_left(within)
    eventually("no machine has anything of the run", lambda: not any(engine.processes(machine) for machine in engine.machines), within)


def placement(cluster: Cluster) -> dict[str, str]:
    return dict(json.loads((cluster.directory / "placement.json").read_text()))


def back(cluster: Cluster, name: str, incarnation: int) -> dict[str, Any]:
    """The node, once that incarnation of it takes part."""

    def there() -> dict[str, Any] | None:
        node = cluster.node(name)
        return node if node.get("incarnation") == incarnation and node.get("state") == "alive" else None

    found = eventually(f"{name} is back", there, 30)
    assert found is not None
    return found


def steps(cluster: Cluster) -> dict[str, float]:
    return {node["name"]: node["metrics"].get("steps", 0) for node in cluster.snapshot()["nodes"]}


def test_a_run_from_its_start_to_its_end(engine: EngineUnderTest, start: Start) -> None:
    cluster = start(until={"time": "2s"})
    assert cluster.ended(60) == 0, cluster.log()
    nothing_left(engine, cluster)
    assert set(placement(cluster).values()) == set(engine.machines)
    for node in ("env-0", "agent-0", "agent-1", "agent-2"):
        assert (cluster.directory / "nodes" / node / "seen.txt").read_text().splitlines()[-1].endswith("stopped")
    for machine in engine.machines:
        assert "the host ends: the run is over" in (cluster.directory / "hosts" / f"{machine}.log").read_text()
    assert cluster.record()["engine"] == engine.name
    assert clean_up(cluster.directory, engine.name) == ([], []), "there was nothing left to release"


def test_nodes_die_and_ways_break_and_the_run_goes_on(engine: EngineUnderTest, start: Start) -> None:
    cluster = start(supervision={"suspect": "2s", "dead": "40s", "orphan": "40s"})
    pids = {node["name"]: node["pid"] for node in cluster.running(60)["nodes"]}
    where = placement(cluster)
    # A node that is killed comes back where it was.
    os.kill(pids["agent-1"], signal.SIGKILL)
    pids["agent-1"] = back(cluster, "agent-1", 2)["pid"]
    deaths = cluster.events("node.dead")
    assert placement(cluster) == where
    # Without the engine's own way to the hosts the run loses nothing: its messages go another one.
    broken = engine.break_channels(cluster)
    # Ten seconds of silence are no death, where the run bears them.
    away = next(machine for machine in engine.machines if machine != where["env-0"])
    engine.cut(away, cluster)
    silent = time.monotonic()
    eventually("the nodes there are suspected", lambda: len(cluster.events("node.suspect")) >= list(where.values()).count(away))
    eventually("ten seconds have passed", lambda: time.monotonic() > silent + 10)
    engine.heal(away, cluster)
    seen = steps(cluster)
    eventually("all go on", lambda: all(now > seen[name] for name, now in steps(cluster).items()), 30)
    assert {node["name"]: node["pid"] for node in cluster.snapshot()["nodes"]} == pids
    assert cluster.events("node.dead") == deaths and not cluster.events("host.lost")
    # A node that dies now is noticed by its host, as before.
    os.kill(pids["agent-0"], signal.SIGKILL)
    back(cluster, "agent-0", 2)
    cluster.process.terminate()
    assert cluster.ended(60) == ExitCode.INTERRUPTED
    nothing_left(engine, cluster)
    assert cluster.record()["state"] == "STOPPED" and not cluster.events("host.left"), f"broken channels: {broken}"


def test_a_machine_that_dies_is_replaced_by_the_other(engine: EngineUnderTest, start: Start) -> None:
    cluster = start(supervision={"suspect": "2s", "dead": "5s", "orphan": "20s"})
    pids = {node["name"]: node["pid"] for node in cluster.running(60)["nodes"]}
    where = placement(cluster)
    dying = next(machine for machine in engine.machines if machine != where["env-0"])
    moving = [name for name, machine in where.items() if machine == dying]
    try:
        engine.kill_machine(dying, cluster)
        for name in moving:
            assert psutil.pid_exists(back(cluster, name, 2)["pid"])
        assert set(placement(cluster).values()) == {where["env-0"]}
        (lost,) = cluster.events("host.lost")
        assert dying in lost["text"] and all(name in lost["text"] for name in moving)
        kept = {node["name"]: node["pid"] for node in cluster.snapshot()["nodes"] if node["name"] not in moving}
        assert kept == {name: pids[name] for name in kept}
        cluster.process.terminate()
        assert cluster.ended(60) == ExitCode.INTERRUPTED
        nothing_left(engine, cluster)
        # Unreachable machines are named, with the command that cleans them up; nothing is left of those that can be reached.
        for event in cluster.events("host.left"):
            assert dying in event["text"] and where["env-0"] not in event["text"].split("could not be reached")[0]
    finally:
        engine.revive_machine(dying)
    assert clean_up(cluster.directory, engine.name)[1] == []
    assert clean_up(cluster.directory, engine.name) == ([], [])


def test_hosts_are_released_before_anybody_answers_them_and_twice(engine: EngineUnderTest, tmp_path: Path) -> None:
    configuration = Configuration.model_validate(
        {"version": 2, "environment": {"id": "landmarks"}, "agents": {"count": 2}, "until": {"time": "9s"}, "launch": engine.launch()}
    )
    write_json(tmp_path / "run.json", {"name": tmp_path.name})
    made = make_engine(engine.name, tmp_path)
    try:
        assert made.problems(configuration) == []
        address = made.address(configuration)
        made.request(configuration, 3)
        slots = eventually("there is capacity", made.granted, 60)
        assert slots is not None and {slot.name for slot in slots} == set(engine.machines)
        invitation = Invitation(
            run=tmp_path.name, directory=str(tmp_path), control=f"tcp://{address}:1", telemetry=f"tcp://{address}:1", token_file="",
            host="", bind="" if engine.name != "local" else address, server_key=KeyPair.make().public, home="shared",
        )  # fmt: skip
        hosts = [made.start_host(slot, replace(invitation, host=slot.name), tmp_path / f"{slot.name}.log") for slot in slots]
        eventually("all have sent their keys", lambda: all(made.poll(host).key for host in hosts), 30)
        assert all(made.poll(host).phase == HostPhase.RUNNING for host in hosts)
        first, second = hosts
        made.end(first, now=False)
        made.end(first, now=False)
        eventually("it ends when it is asked to", lambda: made.poll(first).phase == HostPhase.ENDED, 20)
        assert made.poll(first).code == 0
        assert made.poll(second).phase == HostPhase.RUNNING
        made.end(second, now=True)
        eventually("it ends when it is killed", lambda: made.poll(second).phase != HostPhase.RUNNING, 20)
    finally:
        assert made.release() == []
        assert made.release() == []
    eventually("nothing is left", lambda: not any(engine.processes(machine) for machine in engine.machines), 5)
    assert make_engine(engine.name, tmp_path).release() == []


def test_a_run_server_that_was_killed_leaves_nothing_for_long(engine: EngineUnderTest, start: Start) -> None:
    orphaned, released = start(supervision={"orphan": "3s"}), start(supervision={"orphan": "60s"})
    for cluster in (orphaned, released):
        cluster.running(60)
        cluster.process.kill()
        cluster.process.wait(5)
    assert released.processes() or any(engine.processes(machine) for machine in engine.machines)
    _, unreachable = clean_up(released.directory, engine.name)
    assert unreachable == []
    assert clean_up(released.directory, engine.name) == ([], [])
    released.assert_nothing_left(within=2)
    nothing_left(engine, orphaned, within=40)
