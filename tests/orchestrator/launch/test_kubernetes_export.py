"""`orchestrate export kubernetes` as a user calls it, and what its files make a container do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.orchestrator.cli.conftest import CONFIG, Orchestrate, environment, orchestrate, runs

__all__ = ["orchestrate", "runs"]

IMAGE = "registry.example:5000/murmuration:1.0"


def objects(directory: Path) -> dict[tuple[str, str], Any]:
    """All objects of a folder, by kind and name."""
    found = [document for file in sorted(directory.glob("*.yaml")) for document in YAML(typ="safe").load_all(file.read_text())]
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def test_a_run_becomes_a_job_of_one_pod(orchestrate: Orchestrate, tmp_path: Path) -> None:
    done = orchestrate(
        "export", "kubernetes", str(CONFIG), "agents.count=7", "--image", IMAGE, "--namespace", "lab", "--name", "night", "-o", "out"
    )
    assert done.returncode == 0, done.stderr
    assert "night: one pod, for Kubernetes 1.29 or later" in done.stdout
    found = objects(tmp_path / "out")
    assert {one["metadata"]["namespace"] for one in found.values()} == {"lab"}
    job = found["Job", "night-server"]["spec"]
    assert (job["completionMode"], job["completions"], job["parallelism"], job["backoffLimit"]) == ("NonIndexed", 1, 1, 5)
    rule = job["podFailurePolicy"]["rules"][0]
    codes = [1, 2, 3, 4, 5, 6, 7, 20]
    assert rule == {"action": "FailJob", "onExitCodes": {"containerName": "run-server", "operator": "In", "values": codes}}
    container = job["template"]["spec"]["containers"][0]
    assert container["image"] == IMAGE
    # Seven agents and an environment server, beside the host's and the run server's own share.
    memory = f"{7 * 512 + 256 + 768 + 512}Mi"
    assert container["resources"] == {"requests": {"cpu": "3900m", "memory": memory}, "limits": {"memory": memory}}
    assert found["PersistentVolumeClaim", "night-runs"]["spec"]["accessModes"] == ["ReadWriteOnce"]
    for file in (tmp_path / "out").glob("*.yaml"):
        head = file.read_text().split("\napiVersion", 1)[0]
        assert "kubectl apply" in head and "never applied to a cluster" in head and "--name night" in head
        assert all(line.startswith("#") for line in head.splitlines())


def test_without_storage_the_run_directory_ends_with_its_pod(orchestrate: Orchestrate, tmp_path: Path) -> None:
    done = orchestrate("export", "kubernetes", str(CONFIG), "--image", IMAGE, "--storage", "none", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    answer = json.loads(done.stdout)
    assert answer["ok"] and len(answer["files"]) == 2 and answer["notes"] == [] and answer["nodes"]["agent-3"] == "local"
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
    assert orchestrate("export", "kubernetes", str(CONFIG), "seed=5", "--image", IMAGE, "-o", "out").returncode == 0
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
        (["--image", IMAGE, "launch.placement.pins={agent-0: west}"], 3, "there is no host west"),
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
    assert orchestrate(*first).returncode == 0
    before = {file.name: file.read_text() for file in (tmp_path / "out").iterdir()}
    refused = orchestrate(*first)
    assert refused.returncode == 2 and "--force" in refused.stderr
    assert {file.name: file.read_text() for file in (tmp_path / "out").iterdir()} == before
    (tmp_path / "out" / "mine.yaml").write_text("kept: true\n")
    assert orchestrate(*first, "--force", "--kubernetes", "1.100", "--storage", "none").returncode == 0
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["0-config.yaml", "1-run-server.yaml", "mine.yaml"]
    assert "NOTE: Kubernetes 1.100 is newer" in (tmp_path / "out" / "0-config.yaml").read_text()
