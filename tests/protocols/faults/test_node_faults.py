"""Slow work, wrong clocks, disks that fail: what they do to the node's own writers and timers."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch

from agent_node.session import checkpoints
from env_server.serving.server_state import ServerCounters
from protocols.faults.node_faults import disk as disks
from protocols.faults.node_faults.process_faults import ActivitySlowdown, SkewedClock
from protocols.runtime.telemetry import TimeShares


def test_a_straggler_waits_in_proportion_to_its_measured_work() -> None:
    waited: list[float] = []
    pace = ActivitySlowdown(waited.append)
    pace.stretch("learn", 0.1)
    assert waited == []
    pace.slow("slow", "update", 5.0)
    pace.stretch("learn", 0.1)
    pace.stretch("act", 0.1)
    assert waited == [pytest.approx(0.4)]
    pace.slow("slower", "update", 2.0)
    pace.stretch("model", 0.1)
    assert waited[1:] == [pytest.approx(0.9)], "two stragglers multiply"
    pace.recover("slow")
    pace.recover("slow")
    pace.stretch("sample", 1.0)
    assert waited[2:] == [pytest.approx(1.0)]
    pace.recover("slower")
    pace.stretch("sample", 1.0)
    assert len(waited) == 3


def test_every_measured_block_of_a_node_is_stretched() -> None:
    waited: list[float] = []
    shares = TimeShares(ActivitySlowdown(waited.append))
    shares.pace.slow("slow", "comm", 11.0)
    with shares.spent("exchange"):
        sum(range(1000))
    with shares.spent("learn"):
        pass
    assert len(waited) == 1 and 0 < waited[0] < 1


class Time:
    def __init__(self) -> None:
        self.monotonic, self.unix = 100.0, 1e9

    def passes(self, seconds: float) -> None:
        self.monotonic += seconds
        self.unix += seconds


def test_a_skewed_clock_is_ahead_and_drifts_and_never_goes_back() -> None:
    time = Time()
    clock = SkewedClock(lambda: time.monotonic, lambda: time.unix)
    assert clock.now() == 100.0 and clock.wall() == 1e9
    clock.skew("fast", 3.0, 200e-6)
    time.passes(1000.0)
    assert clock.now() == pytest.approx(1103.2) and clock.wall() == pytest.approx(1e9 + 1003.2)
    clock.recover("fast")
    time.passes(1.0)
    assert clock.now() == pytest.approx(1103.2), "it stands still until the true time has caught up"
    assert clock.wall() == pytest.approx(1e9 + 1001.0)
    time.passes(10.0)
    assert clock.now() == pytest.approx(1111.0)


def test_a_clock_that_is_set_back_stands_still() -> None:
    time = Time()
    clock = SkewedClock(lambda: time.monotonic, lambda: time.unix)
    clock.skew("slow", -5.0)
    assert clock.now() == 100.0
    time.passes(4.0)
    assert clock.now() == 100.0
    time.passes(2.0)
    assert clock.now() == pytest.approx(101.0)


def tensors(value: float) -> dict[str, torch.Tensor]:
    return {"weights": torch.full((1000,), value)}


@pytest.fixture
def checkpointed(tmp_path: Path) -> Path:
    checkpoints.write(tmp_path, 1, tensors(1.0), {}, 2)
    checkpoints.write(tmp_path, 2, tensors(2.0), {}, 2)
    return tmp_path


@pytest.mark.parametrize("damage", ["corrupt_checkpoint", "truncate", "flip"])
def test_a_damaged_checkpoint_is_refused_and_the_previous_one_taken(checkpointed: Path, damage: str) -> None:
    newest = disks.newest(checkpointed)
    assert newest is not None and newest.stem.endswith("2")
    before = newest.read_bytes()
    disks.damage(newest, damage, "seed/disk")
    assert newest.read_bytes() != before
    found = checkpoints.read_newest(checkpointed)
    assert found is not None and found.manifest["step"] == 1 and float(found.tensors["weights"][0]) == 1.0


def test_damage_is_decided_by_its_key(checkpointed: Path) -> None:
    newest = disks.newest(checkpointed)
    assert newest is not None
    whole = newest.read_bytes()
    damaged = []
    for key in ("a", "a", "b"):
        newest.write_bytes(whole)
        disks.damage(newest, "flip", key)
        damaged.append(newest.read_bytes())
        assert sum((x ^ y).bit_count() for x, y in zip(whole, damaged[-1], strict=True)) == 1
    assert damaged[0] == damaged[1] != damaged[2]


def test_a_full_disk_leaves_the_old_checkpoint_whole(checkpointed: Path) -> None:
    disks.disk.full = True
    try:
        with pytest.raises(OSError) as error:
            checkpoints.write(checkpointed, 3, tensors(3.0), {}, 2)
        assert error.value.errno == errno.ENOSPC
    finally:
        disks.disk.full = False
    found = checkpoints.read_newest(checkpointed)
    assert found is not None and found.manifest["step"] == 2
    assert not list(checkpointed.glob(".*.tmp")), "what was half written is swept"
    checkpoints.write(checkpointed, 3, tensors(3.0), {}, 2)
    found = checkpoints.read_newest(checkpointed)
    assert found is not None and found.manifest["step"] == 3


def test_a_slow_disk_takes_its_time(tmp_path: Path) -> None:
    waited: list[float] = []
    slow = disks.Disk(waited.append)
    slow.slowness = 10.0
    with (tmp_path / "file").open("wb") as file:
        slow.write(file, b"x" * 1000, durable=True)
    assert len(waited) == 1 and waited[0] > 0 and (tmp_path / "file").read_bytes() == b"x" * 1000


def test_an_environment_servers_counters_survive_damage_and_a_full_disk(tmp_path: Path) -> None:
    counters = ServerCounters(tmp_path)
    assert counters.read() is None
    counters.write({"episodes": 10, "steps": 100})
    counters.write({"episodes": 20, "steps": 200})
    assert counters.read() == {"episodes": 20, "steps": 200}
    disks.disk.full = True
    try:
        with pytest.raises(OSError):
            counters.write({"episodes": 30, "steps": 300})
    finally:
        disks.disk.full = False
    assert counters.read() == {"episodes": 20, "steps": 200}
    state = json.loads(counters.path.read_text())
    counters.path.write_text(json.dumps({**state, "episodes": 9_999_999}))
    assert counters.read() == {"episodes": 10, "steps": 100}, "a false number is noticed, the set before it counts"
    counters.path.write_bytes(b"\xff\xfe{")
    assert counters.read() == {"episodes": 10, "steps": 100}


def test_the_counts_of_the_newest_tick_outlive_a_killed_environment_server(tmp_path: Path) -> None:
    counters = ServerCounters(tmp_path)
    tick = {"steps": 100, "episodes": 10, "peer_lost": 1, "unfinished": 4, "dropped": 0}
    counters.note(tick)
    assert ServerCounters(tmp_path).read() == tick, "a death before the first set of counters was written"
    counters.write({"episodes": 20, "steps": 200, "next_evaluation": 30})
    assert counters.read() == {"episodes": 20, "steps": 200, "next_evaluation": 30}, "after a crash of the machine the tick may be older"
    newer = tick | {"episodes": 25, "steps": 250}
    counters.note(newer)
    assert ServerCounters(tmp_path).read() == newer | {"next_evaluation": 30}
    counters.close()
    kept = (tmp_path / "counters.tick").read_bytes()
    for damaged in (b"", kept[:-3], b"\x01" + kept[1:]):
        (tmp_path / "counters.tick").write_bytes(damaged)
        assert counters.read() == {"episodes": 20, "steps": 200, "next_evaluation": 30}
