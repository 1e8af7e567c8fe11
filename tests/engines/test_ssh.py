"""Properties of the engine ssh alone: it reports errors of a machine beforehand, and checks a second time where a channel broke."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.configuration import Configuration
from orchestrator.config.loader import load
from orchestrator.launch.engine import clean_up
from orchestrator.launch.process_control import HOST_MODULE
from orchestrator.launch.ssh.remote_task import read_answer, sources_digest
from orchestrator.launch.ssh.ssh_engine import SshEngine, SshMachine, quoted
from orchestrator.results.run_files import write_json
from protocols.runtime.errors import ExitCode
from tests.engines.test_contract import back, nothing_left, placement
from tests.engines.under_test import Ssh
from tests.orchestrator.run_server.cluster import ROOT, Cluster, eventually, starting

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def engine() -> Iterator[Ssh]:
    if reason := Ssh.why_not():
        pytest.skip(f"engine ssh: {reason}")
    with Ssh() as ready:
        yield ready


@pytest.fixture
def start(engine: Ssh, tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    with starting(tmp_path, lambda cluster: clean_up(cluster.directory, "ssh"), launch=engine.launch()) as start_one:
        yield start_one


def configuration(launch: dict[str, Any]) -> Configuration:
    return Configuration.model_validate(
        {"version": 2, "environment": {"id": "landmarks"}, "agents": {"count": 2}, "until": {"time": "9s"}, "launch": launch}
    )


def script(path: Path, words: str) -> str:
    path.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    path.chmod(0o755)
    return str(path)


def test_what_is_wrong_with_a_machine_is_said_before_anything_starts(engine: Ssh, tmp_path: Path) -> None:
    launch = engine.launch()
    good = launch["ssh"]["hosts"][0]
    other = tmp_path / "other"
    for package in ("protocols", "env_server", "agent_node", "orchestrator"):
        shutil.copytree(ROOT / package, other / package, ignore=shutil.ignore_patterns("__pycache__"))
    (other / "protocols" / "changed.py").write_text("# not here\n")
    wrong = {
        "absent": {**good, "python": "/no/such/python"},
        "without": {**good, "python": script(tmp_path / "without", f"{sys.executable} -S -E")},
        "other": {**good, "python": script(tmp_path / "with-other", f"env PYTHONPATH={other} {sys.executable}")},
        "mute": {**good, "python": script(tmp_path / "mute", "sh -c 'sleep 1000'")},
        "unknown": {**good, "ssh": engine.hosts["h1"].address},  # no entry vouches for its key under that name
        "nowhere": {**good, "ssh": "no-such-machine.invalid"},
        "cut": {**launch["ssh"]["hosts"][1]},
    }
    launch["ssh"]["hosts"] = [good, *({**fields, "name": name} for name, fields in wrong.items())]
    launch["ssh"]["connect_timeout"] = "8s"
    engine.hosts["h2"].cut()
    try:
        began = time.monotonic()
        problems = SshEngine(tmp_path).problems(configuration(launch))
        assert time.monotonic() - began < 15
    finally:
        engine.hosts["h2"].heal()
    said = dict(zip(wrong, problems, strict=True))  # one for each, in their order, and none about the good one
    by_hand = "ssh -o BatchMode=yes"
    assert "there is no /no/such/python" in said["absent"] and "launch.ssh.hosts.python" in said["absent"]
    assert "lacks this package" in said["without"] and "No module named 'orchestrator'" in said["without"]
    assert "other modules than this machine's" in said["other"] and sources_digest() in said["other"]
    assert "no answer within 8 s" in said["mute"] and by_hand in said["mute"]
    assert "Host key verification failed" in said["unknown"] and by_hand in said["unknown"]
    assert "Could not resolve hostname" in said["nowhere"] and by_hand in said["nowhere"]
    assert by_hand in said["cut"]
    for name, text in said.items():
        assert text.startswith(f"host {name} (ssh "), text
    for process in engine.processes("h1"):  # a call that took too long is given up here, not there
        assert "sleep" in " ".join(process.cmdline())
        process.kill()


def test_a_run_on_a_machine_that_is_not_ready_does_not_start(engine: Ssh, start: Callable[..., Cluster]) -> None:
    engine.hosts["h2"].cut()
    try:
        cluster = start()
        assert cluster.ended(60) == ExitCode.RESOURCES
    finally:
        engine.hosts["h2"].heal()
    assert "host h2" in cluster.record()["reason"] and not (cluster.directory / "hosts").exists()
    assert not (cluster.directory / "ssh.json").exists()
    nothing_left(engine, cluster)


def test_a_host_that_was_killed_is_missed_long_before_its_silence_tells_and_links_may_be_slow(
    engine: Ssh, start: Callable[..., Cluster]
) -> None:
    for host in engine.hosts.values():
        host.delay(0.05)
    try:
        cluster = start(supervision={"suspect": "5s", "dead": "60s", "orphan": "20s"})
        cluster.running(60)
        where = placement(cluster)
        dying = next(machine for machine in engine.machines if machine != where["env-0"])
        (host,) = [process for process in engine.processes(dying) if HOST_MODULE in process.cmdline()]
        host.kill()
        for name in (name for name, machine in where.items() if machine == dying):
            back(cluster, name, 2)
        (lost,) = cluster.events("host.lost")
        assert "its process is gone, and its exit code is unknown" in lost["text"]
        cluster.process.terminate()
        assert cluster.ended(60) == ExitCode.INTERRUPTED
        nothing_left(engine, cluster)
        assert not cluster.events("host.left")
    finally:
        for host_of_site in engine.hosts.values():
            host_of_site.delay(0)


def test_whoever_can_not_be_reached_at_the_end_is_named_with_a_command_that_cleans_up(engine: Ssh, start: Callable[..., Cluster]) -> None:
    cluster = start(supervision={"suspect": "2s", "dead": "4s", "orphan": "90s"})
    cluster.running(60)
    where = placement(cluster)
    away = next(machine for machine in engine.machines if machine != where["env-0"])
    engine.hosts[away].cut()
    try:
        eventually("the run goes on without it", lambda: cluster.events("host.lost"), 30)
        cluster.process.terminate()
        assert cluster.ended(60) == ExitCode.INTERRUPTED
        cluster.assert_nothing_left()
        (left,) = cluster.events("host.left")
        assert f"the host {away} ({away}) could not be reached" in left["text"]
        assert not engine.processes(where["env-0"]) and engine.processes(away), "there it goes on, unheard"
    finally:
        engine.hosts[away].heal()
    command = shlex.split(left["text"].partition("at once with: ")[2])
    done = subprocess.run(command, capture_output=True, timeout=30, check=True)
    found = read_answer(done.stdout.decode())
    assert found is not None and found["gone"] and found["killed"] >= 2
    eventually("nothing is left", lambda: not engine.processes(away), 5)
    assert (cluster.directory / "ssh.json").exists(), "the file is in the run's directory"
    assert clean_up(cluster.directory, "ssh") == ([], []) and not (cluster.directory / "ssh.json").exists()


def test_notes_of_other_users_are_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    witness = tmp_path / "called"
    (tmp_path / "bin").mkdir()
    script(tmp_path / "bin" / "ssh", f"touch {witness}; true")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    write_json(tmp_path / "ssh.json", [{"mark": "1", **asdict(SshMachine("box", "box", "python3"))}], private=True)
    monkeypatch.setattr(os, "getuid", lambda: (tmp_path / "ssh.json").stat().st_uid + 1)
    assert SshEngine(tmp_path).release() == [] and not witness.exists()
    monkeypatch.undo()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (text,) = SshEngine(tmp_path).release()
    assert witness.exists() and "box" in text, "ours are, and this ssh has not answered"


@pytest.mark.parametrize("path", ["~/a place/python", "~", "/a b/'python'", "~another user/python", "a;touch x"])
def test_an_interpreter_is_one_word_for_the_shell_there_with_its_home(path: str, tmp_path: Path) -> None:
    shown = subprocess.run(
        ["sh", "-c", f"printf %s {quoted(path)}"], env={"HOME": str(tmp_path)}, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert shown.stdout == (path.replace("~", str(tmp_path), 1) if path.startswith("~/") else path)
    assert not (tmp_path / "x").exists()


def test_the_documented_configuration_is_one(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "howto" / "hosts.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "it.yaml").write_text(f"version: 2\nenvironment: {{id: landmarks}}\nagents: {{count: 2}}\nuntil: {{time: 9s}}\n{text}")
    launch = load(tmp_path / "it.yaml").configuration.launch
    assert launch.engine == "ssh" and [host.name for host in launch.ssh.hosts] == ["box-a", "box-b"]


def test_no_ssh_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    launch = {"engine": "ssh", "ssh": {"hosts": [{"name": "box", "ssh": "box"}]}}
    (problem,) = SshEngine(tmp_path).problems(configuration(launch))
    assert "openssh-client" in problem
