"""Where a run goes on: the newest tick of which all nodes have a whole checkpoint, and their files as they were then."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from orchestrator.run_server.resume import go_back
from protocols.files import sealed

AGENTS = ["agent-0", "agent-1"]


def checkpoint(run: Path, node: str, tick: int, metrics: int, present: list[str] = AGENTS) -> None:
    home = run / "nodes" / node / "checkpoints"
    home.mkdir(parents=True, exist_ok=True)
    manifest: dict[str, object] = {"files": {"metrics.jsonl": metrics, "faults.jsonl": metrics // 2}}
    if node == "env-0":
        manifest["present"] = present
    else:
        content = f"{node}{tick}".encode()
        (home / f"{tick:012d}.safetensors").write_bytes(content)
        manifest["sha256"] = sha256(content).hexdigest()
    (home / f"{tick:012d}.json").write_bytes(sealed(manifest) if node == "env-0" else json.dumps(manifest).encode())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for node in ("env-0", *AGENTS):
        for tick, size in ((100, 10), (200, 20), (300, 30)):
            checkpoint(tmp_path, node, tick, size)
        for name in ("metrics.jsonl", "faults.jsonl", "usage.jsonl", "incarnations.jsonl"):
            (tmp_path / "nodes" / node / name).write_bytes(b"x" * 50)
    return tmp_path


def sizes(run: Path, node: str) -> list[int]:
    return [(run / "nodes" / node / name).stat().st_size for name in ("metrics.jsonl", "faults.jsonl", "usage.jsonl", "incarnations.jsonl")]


def ticks(run: Path, node: str) -> list[int]:
    return sorted(int(path.stem) for path in (run / "nodes" / node / "checkpoints").glob("*.json"))


def test_all_have_the_newest(run: Path) -> None:
    assert go_back(run, AGENTS) == 300
    assert all(sizes(run, node) == [30, 15, 50, 50] and ticks(run, node) == [100, 200, 300] for node in ("env-0", *AGENTS))


@pytest.mark.parametrize("damage", ["absent", "cut", "server", "server's, a digit", "manifest"])
def test_the_newest_that_all_have_whole(run: Path, damage: str) -> None:
    files = run / "nodes" / "agent-1" / "checkpoints"
    if damage == "absent":
        (files / f"{300:012d}.json").unlink()
    elif damage == "cut":
        (files / f"{300:012d}.safetensors").write_bytes(b"agent")
    elif damage == "server's, a digit":
        path = run / "nodes" / "env-0" / "checkpoints" / f"{300:012d}.json"
        path.write_bytes(path.read_bytes().replace(b"30", b"31", 1))
    elif damage == "manifest":
        (files / f"{300:012d}.json").write_text('{"sha')
    else:
        (run / "nodes" / "env-0" / "checkpoints" / f"{300:012d}.json").unlink()
    assert go_back(run, AGENTS) == 200
    assert all(sizes(run, node) == [20, 10, 50, 50] and ticks(run, node) == [100, 200] for node in ("env-0", *AGENTS))


def test_without_a_common_one_the_run_begins_anew(run: Path) -> None:
    for path in (run / "nodes" / "agent-0" / "checkpoints").glob("*.safetensors"):
        path.unlink()
    assert go_back(run, AGENTS) == -1
    assert all(sizes(run, node) == [0, 0, 50, 50] and not ticks(run, node) for node in ("env-0", *AGENTS))


def test_who_had_left_needs_no_checkpoint_and_keeps_what_it_wrote(run: Path) -> None:
    checkpoint(run, "env-0", 300, 30, present=["agent-0"])
    files = run / "nodes" / "agent-1" / "checkpoints"
    for tick in (200, 300):
        (files / f"{tick:012d}.json").unlink()
    assert go_back(run, AGENTS) == 300
    assert sizes(run, "agent-1") == [50, 50, 50, 50] and ticks(run, "agent-1") == [100]
