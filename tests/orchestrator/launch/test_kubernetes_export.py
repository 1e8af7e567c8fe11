"""`orchestrate export kubernetes` as a user calls it, and what its files make a container do."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from orchestrator.launch.engine import Invitation
from tests.orchestrator.cli.conftest import CONFIG, Orchestrate, environment, orchestrate, runs

__all__ = ["orchestrate", "runs"]

IMAGE = "registry.example:5000/murmuration:1.0"


def objects(directory: Path) -> dict[tuple[str, str], Any]:
    """All objects of a folder, by kind and name."""
    found = [document for file in sorted(directory.glob("*.yaml")) for document in YAML(typ="safe").load_all(file.read_text())]
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def test_hosts_become_an_indexed_job(orchestrate: Orchestrate, tmp_path: Path) -> None:
    done = orchestrate(
        "export", "kubernetes", str(CONFIG), "agents.count=7", "--image", IMAGE, "--hosts", "4", "--namespace", "lab", "-o", "out"
    )
    assert done.returncode == 0, done.stderr
    assert "4 host pods and the run server's, for Kubernetes 1.29 or later" in done.stdout
    assert "can't lead hosts in other pods yet" in done.stderr
    found = objects(tmp_path / "out")
    assert {one["metadata"]["namespace"] for one in found.values()} == {"lab"}
    job = found["Job", "ring-host"]["spec"]
    assert (job["completionMode"], job["completions"], job["parallelism"], job["backoffLimitPerIndex"]) == ("Indexed", 4, 4, 5)
    rule = job["podFailurePolicy"]["rules"][0]
    assert rule == {"action": "FailIndex", "onExitCodes": {"containerName": "host", "operator": "In", "values": [2, 3, 4, 5, 6]}}
    container = job["template"]["spec"]["containers"][0]
    assert container["image"] == IMAGE
    # Eight nodes on four hosts: two agents each at most, 0.4 cores and 512 MiB apiece, beside the host's own share.
    assert container["resources"] == {"requests": {"cpu": "1000m", "memory": "1792Mi"}, "limits": {"memory": "1792Mi"}}
    assert found["Service", "ring"]["spec"]["clusterIP"] == "None" and found["Service", "ring"]["spec"]["publishNotReadyAddresses"] is True
    assert found["PersistentVolumeClaim", "ring-runs"]["spec"]["accessModes"] == ["ReadWriteMany"]
    secret = tmp_path / "out" / "2-secret.yaml"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    token = json.loads(found["Secret", "ring-token"]["stringData"]["control.json"])["token"]
    assert len(token) == 64 and not any(token in file.read_text() for file in (tmp_path / "out").glob("*.yaml") if file != secret)
    for file in (tmp_path / "out").glob("*.yaml"):
        head = file.read_text().split("\napiVersion", 1)[0]
        assert "kubectl apply" in head and "never applied to a cluster" in head and "--hosts 4" in head and "NOTE: " in head
        assert all(line.startswith("#") for line in head.splitlines())


def test_invitations_are_what_a_host_reads(orchestrate: Orchestrate, tmp_path: Path) -> None:
    done = orchestrate(
        "export", "kubernetes", str(CONFIG), "seed=7", "--image", IMAGE, "--hosts", "2", "--name", "night", "--json", "-o", "out"
    )
    answer = json.loads(done.stdout)
    assert answer["ok"] and len(answer["files"]) == 6 and answer["nodes"]["agent-3"] in ("host-0", "host-1") and len(answer["notes"]) == 1
    found = objects(tmp_path / "out")
    invitations = found["ConfigMap", "night-invitations"]["data"]
    assert list(invitations) == ["host-0.json", "host-1.json"]
    invitation = Invitation.from_json(invitations["host-1.json"])
    assert (invitation.host, invitation.seed, invitation.directory) == ("host-1", 7, "/runs/night")
    assert invitation.control == "tcp://night-server.night.default.svc:7400"
    pod = found["Job", "night-server"]["spec"]["template"]["spec"]
    assert f"{pod['hostname']}.{pod['subdomain']}" == "night-server.night", "by this name it is found"


def test_without_hosts_everything_is_in_one_pod(orchestrate: Orchestrate, tmp_path: Path) -> None:
    done = orchestrate("export", "kubernetes", str(CONFIG), "--image", IMAGE, "--storage", "none")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "there is nothing that this version could not run"
    assert set(objects(tmp_path / "ring-kubernetes")) == {("ConfigMap", "ring-config"), ("Job", "ring-server")}
    pod = objects(tmp_path / "ring-kubernetes")["Job", "ring-server"]["spec"]["template"]["spec"]
    assert {"name": "runs", "emptyDir": {}} in pod["volumes"]
    assert pod["containers"][0]["resources"]["limits"]["memory"] == f"{4 * 512 + 256 + 768 + 512}Mi"


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A search path on which `orchestrate` is this one."""
    command = tmp_path / "bin" / "orchestrate"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m orchestrator "$@"\n')
    command.chmod(0o755)
    return f"{command.parent}:{os.environ['PATH']}"


def test_the_run_servers_command_is_one_that_our_command_line_takes(orchestrate: Orchestrate, tmp_path: Path, path: str) -> None:
    assert orchestrate("export", "kubernetes", str(CONFIG), "seed=5", "--image", IMAGE, "--hosts", "2", "-o", "out").returncode == 0
    found = objects(tmp_path / "out")
    (tmp_path / "config.yaml").write_text(found["ConfigMap", "ring-config"]["data"]["config.yaml"])
    shell, option, script = found["Job", "ring-server"]["spec"]["template"]["spec"]["containers"][0]["command"]
    script = script.replace("/etc/murmuration/", f"{tmp_path}/").replace("/runs", str(tmp_path / "runs"))
    assert script.count("--plain\n") == 2
    done = subprocess.run(
        [shell, option, script.replace("--plain\n", "--plain --dry-run\n")],
        env={**environment(tmp_path), "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "nothing was started" in done.stdout
    # Once there is a run, the same command goes on with it; a directory that is none is refused as such.
    (tmp_path / "runs" / "ring").mkdir(parents=True)
    (tmp_path / "runs" / "ring" / "run.json").write_text("{}")
    again = subprocess.run(
        [shell, option, script], env={**environment(tmp_path), "PATH": path}, capture_output=True, text=True, timeout=60, check=False
    )
    assert again.returncode != 0 and "config.yaml" in again.stderr


def test_the_hosts_command_starts_a_host_with_its_invitation(orchestrate: Orchestrate, tmp_path: Path, path: str) -> None:
    """It finds its token and its invitation, and ends by itself because no run server leads this run."""
    arguments = ["supervision.orphan=1s", "--image", IMAGE, "--hosts", "2", "-o", "out"]
    assert orchestrate("export", "kubernetes", str(CONFIG), *arguments).returncode == 0
    found = objects(tmp_path / "out")
    for folder in ("secret", "invitations", "private"):
        (tmp_path / folder).mkdir()
    places = {"murmuration-secret": "secret", "murmuration-invitations": "invitations", "/run/murmuration": "private"}

    def here(text: str) -> str:
        for name, folder in places.items():
            text = text.replace(name if name.startswith("/") else f"/etc/{name}", str(tmp_path / folder))
        return text.replace("ring-server.ring.default.svc", "127.0.0.1").replace("/runs/ring", str(tmp_path / "run"))

    (tmp_path / "run" / "hosts").mkdir(parents=True)
    token = tmp_path / "secret" / "control.json"
    token.write_text(found["Secret", "ring-token"]["stringData"]["control.json"])
    token.chmod(0o440)  # as files of a pod's secret are
    for name, text in found["ConfigMap", "ring-invitations"]["data"].items():
        (tmp_path / "invitations" / name).write_text(here(text))
    command = [here(word) for word in found["Job", "ring-host"]["spec"]["template"]["spec"]["containers"][0]["command"]]
    done = subprocess.run(
        command,
        env={**environment(tmp_path), "PATH": path, "JOB_COMPLETION_INDEX": "1"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert stat.S_IMODE((tmp_path / "private" / "control.json").stat().st_mode) & 0o077 == 0
    assert done.returncode == 10, done.stderr
    assert "no answer from the run server within 1 s" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--image", "two words"], 3, "--image"),
        (["--image", IMAGE, "--namespace", "My Lab"], 3, "--namespace"),
        (["--image", IMAGE, "--storage", "10 GB"], 3, "--storage"),
        (["--image", IMAGE, "--name", "4ever"], 2, "a letter first"),
        (["--image", IMAGE, "--kubernetes", "1.28"], 2, "need 1.29 or later"),
        (["--image", IMAGE, "--kubernetes", "new"], 2, "no minor version"),
        (["--image", IMAGE, "agents.cuont=3"], 3, 'did you mean "count"'),
        (["--image", IMAGE, "--hosts", "2", "launch.placement.pins={agent-0: west}"], 3, "there is no host west"),
        ([], 2, "--image"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(
    orchestrate: Orchestrate, tmp_path: Path, arguments: list[str], code: int, text: str
) -> None:
    done = orchestrate("export", "kubernetes", str(CONFIG), *arguments)
    assert done.returncode == code, done.stderr
    assert text in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_unasked(orchestrate: Orchestrate, tmp_path: Path) -> None:
    first = ["export", "kubernetes", str(CONFIG), "--image", IMAGE, "-o", "out"]
    assert orchestrate(*first, "--hosts", "2").returncode == 0
    before = {file.name: file.read_text() for file in (tmp_path / "out").iterdir()}
    refused = orchestrate(*first)
    assert refused.returncode == 2 and "--force" in refused.stderr
    assert {file.name: file.read_text() for file in (tmp_path / "out").iterdir()} == before
    (tmp_path / "out" / "mine.yaml").write_text("kept: true\n")
    assert orchestrate(*first, "--force", "--kubernetes", "1.100").returncode == 0
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "0-config.yaml",
        "1-storage.yaml",
        "2-run-server.yaml",
        "mine.yaml",
    ]
    assert "NOTE: Kubernetes 1.100 is newer" in (tmp_path / "out" / "0-config.yaml").read_text()
