"""Eight small runs under the logical clock end as recorded: final tensors, random states, metrics, traces of faults. See README.md."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.behaviour.numerics import PINNED
from tests.behaviour.recording import (
    CONFIGS,
    FINGERPRINT,
    RECORDED,
    RUNS,
    Digests,
    changed,
    differences,
    digests,
    fingerprint_here,
    finish,
    play,
    up,
)
from tests.runs.system import eventually, pids
from tests.runs.test_logical_clock import kill_everything

pytestmark = [pytest.mark.runs, pytest.mark.cluster, pytest.mark.timeout(600)]
KILLED_AT = 1500
"""steps after which the processes of the resumed run are killed"""


@pytest.fixture(scope="module", autouse=True)
def comparable() -> None:
    """Digests of floating-point numbers mean nothing where versions or kernels are other ones."""
    if found := differences(json.loads(FINGERPRINT.read_text()), fingerprint_here()):
        pytest.skip("recorded on another kind of machine: " + "; ".join(found))


def same(directory: Path) -> None:
    recorded: Digests = json.loads((RECORDED / f"{directory.name}.json").read_text())
    lines = changed(recorded, digests(directory))
    assert not lines, f"{directory.name} does not end as recorded (tests/behaviour/README.md):\n" + "\n".join(lines)


@pytest.mark.parametrize("name", [name for name in RUNS if name != "resumed"])
def test_a_run_ends_as_recorded(name: str, tmp_path: Path) -> None:
    same(play(tmp_path / "runs", name))


def test_a_run_that_was_killed_and_resumed_ends_as_one_that_was_not(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    client = up(runs, str(CONFIGS / "resumed.yaml"), "--name", "resumed")
    directory = runs / "resumed"

    def far_enough() -> bool:
        path = directory / "nodes" / "env-0" / "metrics.jsonl"
        lines = path.read_text().splitlines()[:-1] if path.exists() else []  # the last one may not be whole yet
        return bool(lines) and json.loads(lines[-1])["step"] >= KILLED_AT

    eventually(f"step {KILLED_AT}", far_enough, 240)
    for pid in pids(directory).values():
        variables = Path(f"/proc/{pid}/environ")
        if variables.exists():
            assert {f"{name}={value}" for name, value in PINNED.items()} <= set(variables.read_text().split("\0")), "kernels are pinned"
    kill_everything(directory, client)
    finish(up(runs, "--resume", "resumed"))
    same(directory)
