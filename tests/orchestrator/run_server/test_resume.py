"""Where a run goes on: the newest tick of which all nodes have a whole checkpoint, and their files as they were then."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from orchestrator.run_server.lead.run_resumption import go_back
from protocols.runtime.atomic_files import sealed
from protocols.runtime.clock import TrainingLimits

AGENTS = ["agent-0", "agent-1"]
TICK = 0.01
LIMITS = TrainingLimits({"steps": 3000}, TICK)


def checkpoint(run: Path, node: str, tick: int, metrics: int, present: list[str] = AGENTS, end: int | None = None) -> None:
    """`end`: the steps at which training had ended, if it had."""
    home = run / "nodes" / node / "checkpoints"
    home.mkdir(parents=True, exist_ok=True)
    manifest: dict[str, object] = {"files": {"metrics.jsonl": metrics, "faults.jsonl": metrics // 2}}
    if node == "env-0":
        course = {"training": end is None, "end": None if end is None else (tick - 5, end, 0)}
        manifest |= {"present": present, "course": course, "numbers": {"steps": 10 * tick, "episodes": 0}}
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
    assert go_back(run, AGENTS, TICK, LIMITS) == 300
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
    assert go_back(run, AGENTS, TICK, LIMITS) == 200
    assert all(sizes(run, node) == [20, 10, 50, 50] and ticks(run, node) == [100, 200] for node in ("env-0", *AGENTS))


def test_without_a_common_one_the_run_begins_anew(run: Path) -> None:
    for path in (run / "nodes" / "agent-0" / "checkpoints").glob("*.safetensors"):
        path.unlink()
    assert go_back(run, AGENTS, TICK, LIMITS) == -1
    assert all(sizes(run, node) == [0, 0, 50, 50] and not ticks(run, node) for node in ("env-0", *AGENTS))


def test_who_had_left_needs_no_checkpoint_and_keeps_what_it_wrote(run: Path) -> None:
    checkpoint(run, "env-0", 300, 30, present=["agent-0"])
    files = run / "nodes" / "agent-1" / "checkpoints"
    for tick in (200, 300):
        (files / f"{tick:012d}.json").unlink()
    assert go_back(run, AGENTS, TICK, LIMITS) == 300
    assert sizes(run, "agent-1") == [50, 50, 50, 50] and ticks(run, "agent-1") == [100]


def test_figures_of_the_run_beyond_the_checkpoint_are_forgotten(run: Path) -> None:
    """They were made of the agents' metrics, which will be reported again. The file may be open already."""
    path = run / "nodes" / "run" / "metrics.jsonl"
    path.parent.mkdir(parents=True)
    times = [1.0, 3.02, 2.99, 3.0, 4.0, 1_700_000_000.0]
    lines = [json.dumps({"t": t, "step": 5, "episode": 0, "name": "consensus.contraction", "value": 0.5}) + "\n" for t in times]
    path.write_text("".join(lines) + '{"t": 3.0, "st')
    with path.open("a") as writer:
        assert go_back(run, AGENTS, TICK, LIMITS) == 300
        writer.write(lines[1])
    assert path.read_text().splitlines(keepends=True) == [lines[k] for k in (0, 2, 3, 5, 1)], "times of day are of earlier versions"
    for path_ in (run / "nodes" / "agent-0" / "checkpoints").glob("*.safetensors"):
        path_.unlink()
    assert go_back(run, AGENTS, TICK, LIMITS) == -1
    assert path.read_text() == lines[5]


def test_a_finished_run_stays_at_its_end_unless_it_is_given_more_to_do(run: Path) -> None:
    checkpoint(run, "env-0", 300, 30, end=2900)
    assert go_back(run, AGENTS, TICK, TrainingLimits({"steps": 2900}, TICK)) == 300
    # What has been played since the end, to end episodes, is no training: 2950 of its 3000 steps are more than it had.
    assert go_back(run, AGENTS, TICK, TrainingLimits({"steps": 2950}, TICK)) == 200
    assert all(sizes(run, node) == [20, 10, 50, 50] and ticks(run, node) == [100, 200] for node in ("env-0", *AGENTS))


def test_more_to_do_begins_at_the_end_where_nothing_from_before_it_is_whole(run: Path) -> None:
    checkpoint(run, "env-0", 300, 30, end=2900)
    for tick in (100, 200):
        (run / "nodes" / "agent-1" / "checkpoints" / f"{tick:012d}.json").unlink()
    assert go_back(run, AGENTS, TICK, TrainingLimits({"steps": 9000}, TICK)) == 300
    assert all(sizes(run, node) == [30, 15, 50, 50] for node in ("env-0", *AGENTS))


def test_a_checkpoint_of_an_earlier_version_tells_its_end_by_what_had_been_done(run: Path) -> None:
    state = {"present": AGENTS, "course": {"training": False}, "numbers": {"steps": 3000, "episodes": 0}}
    (run / "nodes" / "env-0" / "checkpoints" / f"{300:012d}.json").write_bytes(sealed(state))
    assert go_back(run, AGENTS, TICK, TrainingLimits({"time": 3.0}, TICK)) == 300
    assert go_back(run, AGENTS, TICK, TrainingLimits({"time": 3.5, "steps": 3001}, TICK)) == 200
