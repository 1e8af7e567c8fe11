"""Runs of real processes under the logical clock: two of one seed, and one that was killed and resumed, end with the same bytes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runs.system import REPOSITORY, SMALL, command, environment, events, eventually, orchestrate, pids, processes_of, results

pytestmark = [pytest.mark.runs, pytest.mark.cluster, pytest.mark.timeout(240)]
CONFIG = REPOSITORY / "configs" / "logical_4agents_ring.yaml"
FAULTS = {
    "seed": 77,
    "links": [
        {
            "id": "wan", "from": "agent-*", "to": "agent-*", "delay": {"dist": "lognormal", "mean": "15ms", "jitter": "8ms"},
            "loss": 0.1, "duplicate": {"p": 0.05, "gap": "10ms"},
        }
    ],
    "events": [
        {"id": "crash", "at": {"step": 500}, "process": {"target": "agent-2", "action": "kill", "restart_after": "300ms"}},
        {"id": "liar", "at": {"step": 900}, "for": {"steps": 200},
         "byzantine": {"target": "agent-1", "channel": "avg", "attack": "scale", "scale": 1.1}},
        {"id": "disk", "at": {"time": "1s"}, "for": "500ms", "storage": {"target": "env-0", "action": "slow"}},
        {"id": "split", "at": {"step": 1300}, "for": {"steps": 300},
         "partition": {"groups": [["agent-0", "agent-1"], ["agent-2", "agent-3"]]}},
    ],
}  # fmt: skip
RUN = [
    *(change for change in SMALL if not change.startswith(("until", "supervision"))),
    "until={steps: 1800}",
    "supervision.checkpoint_interval=1s",
    f"faults={json.dumps(FAULTS)}",
]


def start(runs: Path, name: str, *more: str) -> subprocess.Popen[str]:
    runs.mkdir(parents=True, exist_ok=True)
    return _client(runs, str(CONFIG), "--name", name, *RUN, *more)


def resume(runs: Path, name: str) -> subprocess.Popen[str]:
    return _client(runs, "--resume", name)


def _client(runs: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("up", *words, "--plain"), cwd=runs.parent, env=environment(runs), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> None:
    output, _ = process.communicate(timeout=150)
    assert process.returncode == 0, output


def kill_everything(directory: Path, client: subprocess.Popen[str]) -> None:
    """SIGKILL to the run server, the host, every node and the client, in no good order."""
    record = json.loads((directory / "run.json").read_text())
    for pid in [client.pid, *pids(directory).values(), record["pid"]]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    client.communicate(timeout=30)
    eventually("all are gone", lambda: not processes_of(directory), 20)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    runs = tmp_path_factory.mktemp("logical") / "runs"
    finish(start(runs, "first"))
    yield runs


def test_a_whole_run_with_all_its_faults(uninterrupted: Path) -> None:
    directory = uninterrupted / "first"
    assert [event["node"] for event in events(directory, "node.restart")] == ["agent-2"]
    begun = {line["id"] for path in directory.glob("nodes/agent-*/faults.jsonl") for line in map(json.loads, path.open()) if "id" in line}
    assert {"wan", "crash", "split", "liar"} <= begun
    disk = [json.loads(line) for line in (directory / "nodes" / "env-0" / "faults.jsonl").open()]
    assert [(line["what"], line["id"], line["t"]) for line in disk] == [("begin", "disk", 1.0), ("end", "disk", 1.5)], "virtual seconds"
    lost = sum(
        link["lost"]
        for path in directory.glob("nodes/agent-*/faults.jsonl")
        for line in map(json.loads, path.open())
        for link in line.get("links", {}).values()
    )
    assert lost > 20
    assert len(results(directory)) > 20


def test_two_runs_of_one_seed_are_equal_on_one_host_or_on_two_without_common_files(uninterrupted: Path) -> None:
    finish(start(uninterrupted, "second", "launch.hosts=2", "launch.home=server", "launch.placement.policy=spread"))
    placed = json.loads((uninterrupted / "second" / "placement.json").read_text())
    assert set(placed.values()) == {"local-0", "local-1"}
    assert results(uninterrupted / "second") == results(uninterrupted / "first")


def test_killed_at_some_moments_and_resumed_it_equals_the_uninterrupted_one(uninterrupted: Path) -> None:
    """383: the checkpoint of tick 100 is there, and the scheduled crash happens in the second segment only. The second death comes at any
    time after the scheduled crash: what was resumed once can be resumed again."""
    moments = [383, int(np.random.default_rng().integers(600, 1700))]
    name = "killed"
    directory = uninterrupted / name
    figures = directory / "nodes" / "env-0" / "metrics.jsonl"

    def there(moment: int) -> bool:
        rows: list[dict[str, Any]] = [json.loads(line) for line in figures.read_text().splitlines()] if figures.exists() else []
        return bool(rows) and rows[-1]["step"] >= moment

    for segment, moment in enumerate(moments):
        client = resume(uninterrupted, name) if segment else start(uninterrupted, name)
        eventually(f"step {moment}", partial(there, moment), 120)
        kill_everything(directory, client)
    finish(resume(uninterrupted, name))
    assert len(events(directory, "run.resumed")) == len(moments)
    assert results(directory) == results(uninterrupted / "first"), f"killed at steps {moments}"


def test_what_would_make_another_run_of_it_is_refused(uninterrupted: Path) -> None:
    for change, says in (("agents.learner.discount=0.9", "agents"), ("seed=3", "seed"), ("clock=wall", "clock")):
        refused = orchestrate(uninterrupted, "up", "--resume", "first", change)
        assert refused.returncode == 3 and says in refused.stderr and "would make another run" in refused.stderr
    assert orchestrate(uninterrupted, "up", "--resume", "nobody").returncode == 2
