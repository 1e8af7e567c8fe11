"""Faults inside a node: at their point, once, over restarts too; executed on the real log, pace, clock and disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocols.faults.fault_schedule import RunMoment
from protocols.faults.node_faults import disk as disks
from protocols.faults.node_faults.fault_executor import FaultExecutor, Hooks
from protocols.faults.node_faults.fault_log import FaultLog, read
from protocols.faults.node_faults.process_faults import ActivitySlowdown, SkewedClock
from protocols.faults.node_faults.scheduled_faults import NEVER, ScheduledFault
from protocols.faults.settings import ByzantineFault, ClockSkew, MembershipFault, ProcessFault, StorageFault, Straggler

LIE = ByzantineFault(target="agent-0", attack="sign_flip", scale=4)
SLOW = Straggler(target="agent-0", factor=5, where="update")


class Node:
    """One incarnation of a node, with what its executor acts upon."""

    def __init__(
        self, directory: Path, scheduled_faults: list[ScheduledFault], incarnation: int = 1, checkpoint: Path | None = None
    ) -> None:
        self.waited: list[float] = []
        self.left: list[str] = []
        self.pace, self.clock = ActivitySlowdown(self.waited.append), SkewedClock()
        hooks = Hooks(self.left.append, lambda: checkpoint, lambda text: None)
        self.executor = FaultExecutor(
            FaultLog(directory, "agent-0", incarnation), scheduled_faults, self.pace, self.clock, hooks, incarnation
        )


def lines(directory: Path) -> list[tuple[str, str, Any]]:
    return [(line["what"], line["id"], line.get("step")) for line in read(directory / "faults.jsonl")]


@pytest.fixture(autouse=True)
def _healthy_disk() -> Iterator[None]:
    yield
    disks.disk.full, disks.disk.slowness = False, 1.0


def test_a_deed_begins_at_its_step_and_ends_after_its_span(tmp_path: Path) -> None:
    node = Node(tmp_path, [ScheduledFault("slow", SLOW, RunMoment("step", 100), RunMoment("step", 50))])
    node.executor.advance(step=99, episode=3)
    assert [*node.executor.active] == []
    node.executor.advance(step=107)
    assert [*node.executor.active] == ["slow"]
    node.pace.stretch("learn", 1.0)
    assert node.waited == [4.0]
    node.executor.advance(step=149)
    assert [*node.executor.active] == ["slow"]
    node.executor.advance(step=150)
    assert [*node.executor.active] == [], "50 steps after where it should begin, not after where that was noticed"
    node.executor.advance(step=10_000)
    assert lines(tmp_path) == [("begin", "slow", 107), ("end", "slow", 150)]


def test_a_start_in_one_unit_and_a_span_in_another(tmp_path: Path) -> None:
    node = Node(tmp_path, [ScheduledFault("liar", LIE, RunMoment("round", 40), RunMoment("episode", 2))])
    node.executor.advance(step=1, episode=10)
    node.executor.advance(round=39)
    assert node.executor.byzantine_attacks == {}
    node.executor.advance(round=40)
    assert node.executor.byzantine_attacks == {"liar": LIE}
    node.executor.advance(step=50, episode=11)
    node.executor.advance(step=60, episode=12)
    assert node.executor.byzantine_attacks == {}


def test_what_is_due_together_begins_in_order(tmp_path: Path) -> None:
    scheduled_faults = [
        ScheduledFault("b", LIE, RunMoment("step", 30)),
        ScheduledFault("a", SLOW, RunMoment("step", 20)),
        ScheduledFault("c", LIE, RunMoment("step", 30)),
    ]
    Node(tmp_path, scheduled_faults).executor.advance(step=35)
    assert [fault for _, fault, _ in lines(tmp_path)] == ["a", "b", "c"]


def test_a_restarted_node_repeats_nothing_and_begins_nothing_of_the_past(tmp_path: Path) -> None:
    scheduled_faults = [
        ScheduledFault("leave", MembershipFault(leave="agent-0"), RunMoment("step", 10)),
        ScheduledFault("missed", StorageFault(target="agent-0", action="full"), RunMoment("step", 20)),
        ScheduledFault("coming", SLOW, RunMoment("step", 40)),
        ScheduledFault("round", LIE, RunMoment("round", 5)),
    ]
    first = Node(tmp_path, scheduled_faults)
    first.executor.advance(step=10)
    assert first.left == ["leaves by the fault schedule (leave)"]
    second = Node(tmp_path, scheduled_faults, incarnation=2)
    second.executor.advance(step=30, episode=1)
    assert second.left == [] and [*second.executor.active] == [] and not disks.disk.full
    second.executor.advance(round=7)
    assert second.executor.byzantine_attacks == {}, "the run was at round 7 when it came back"
    second.executor.advance(step=40, episode=1)
    assert [*second.executor.active] == ["coming"]


def test_what_lasts_goes_on_in_the_next_incarnation_and_ends_in_time(tmp_path: Path) -> None:
    scheduled_faults = [
        ScheduledFault("slow", SLOW, RunMoment("step", 10), RunMoment("step", 100)),
        ScheduledFault("liar", LIE, RunMoment("step", 10), RunMoment("step", 30)),
    ]
    Node(tmp_path, scheduled_faults).executor.advance(step=15)
    second = Node(tmp_path, scheduled_faults, incarnation=2)
    assert set(second.executor.active) == {"slow", "liar"}
    second.executor.advance(step=60)
    assert [*second.executor.active] == ["slow"] and second.executor.byzantine_attacks == {}
    third = Node(tmp_path, scheduled_faults, incarnation=3)
    third.executor.advance(step=110)
    assert [*third.executor.active] == []
    third.pace.stretch("learn", 1.0)
    assert third.waited == []


def test_orders_begin_and_heal_and_may_come_twice(tmp_path: Path) -> None:
    node = Node(tmp_path, [ScheduledFault("skew", ClockSkew(target="agent-0", offset="3s"), RunMoment("time", 5))])
    node.executor.advance(step=10**6, episode=10**6)
    assert [*node.executor.active] == [], "what is due by time waits for the order"
    order = ("fault", ScheduledFault("skew", ClockSkew(target="agent-0", offset="3s"), NEVER, RunMoment("episode", 10)).to_json())
    node.executor.apply_order([order, order, ("fault", "{no json"), ("fault", "[]"), ("fault", '{"id": "x", "lasts": null}')])
    assert [*node.executor.active] == ["skew"] and node.clock.error == 3.0
    node.executor.apply_order([("heal", "other"), ("heal", "skew"), ("heal", "skew")])
    assert [*node.executor.active] == [] and node.clock.error == 0.0
    assert [what for what, _, _ in lines(tmp_path)] == ["begin", "end"]


def test_of_two_faults_of_one_kind_each_ends_by_itself(tmp_path: Path) -> None:
    def two(short: Any, long: Any) -> list[ScheduledFault]:
        return [
            ScheduledFault("long", long, RunMoment("step", 10), RunMoment("step", 100)),
            ScheduledFault("short", short, RunMoment("step", 20), RunMoment("step", 10)),
        ]

    full, slow = (StorageFault(target="agent-0", action=action) for action in ("full", "slow"))
    for number, (short, long) in enumerate(((full, full), (slow, full), (full, slow), (slow, slow))):
        disk, node = disks.disk, Node(tmp_path / str(number), two(short, long))
        node.executor.advance(step=20)
        assert (disk.full, disk.slowness > 1) == (full in (short, long), slow in (short, long))
        node.executor.advance(step=30)
        assert (disk.full, disk.slowness > 1) == (long == full, long == slow), "what began first goes on"
        node.executor.advance(step=110)
        assert (disk.full, disk.slowness) == (False, 1.0)
    node = Node(tmp_path / "clock", two(ClockSkew(target="agent-0", offset="2s"), ClockSkew(target="agent-0", offset="3s")))
    errors = []
    for step in (10, 20, 30, 110):
        node.executor.advance(step=step)
        errors.append(node.clock.error)
    assert errors == [3.0, 5.0, 3.0, 0.0]


def test_once_all_is_healed_nothing_begins_any_more(tmp_path: Path) -> None:
    scheduled_faults = [ScheduledFault("liar", LIE, RunMoment("step", 10)), ScheduledFault("later", SLOW, RunMoment("step", 50))]
    node = Node(tmp_path, scheduled_faults)
    node.executor.advance(step=20)
    node.executor.apply_order([("heal", "*")])
    node.executor.advance(step=100)
    assert [*node.executor.active] == [] and node.executor.byzantine_attacks == {}


@pytest.mark.parametrize(
    "what",
    [
        ProcessFault(target="a", action="exit", code=7, restart_after="2s"),
        SLOW,
        ClockSkew(target="a", offset="1s", drift_ppm=-20),
        LIE,
        StorageFault(target="a", action="flip"),
        MembershipFault(leave="a", return_after={"episodes": 3}),
    ],
)
def test_every_deed_survives_the_way_to_its_node(what: Any) -> None:
    node_fault = ScheduledFault("x", what, NEVER, RunMoment("time", 1.5))
    assert ScheduledFault.from_json(node_fault.to_json()) == node_fault


def test_storage_deeds_reach_the_disk(tmp_path: Path) -> None:
    checkpoint = tmp_path / "000000000001.safetensors"
    checkpoint.write_bytes(bytes(range(256)) * 8)
    whole = checkpoint.read_bytes()
    actions = ("corrupt_checkpoint", "flip", "truncate")
    scheduled_faults = [ScheduledFault(a, StorageFault(target="agent-0", action=a), RunMoment("step", i)) for i, a in enumerate(actions)]
    node = Node(tmp_path, scheduled_faults, checkpoint=checkpoint)
    node.executor.advance(step=0)
    corrupted = checkpoint.read_bytes()
    assert sum(a != b for a, b in zip(corrupted, whole, strict=True)) == 64
    node.executor.advance(step=1)
    flipped = checkpoint.read_bytes()
    assert sum((a ^ b).bit_count() for a, b in zip(flipped, corrupted, strict=True)) == 1
    node.executor.advance(step=2)
    assert checkpoint.read_bytes() == flipped[: len(flipped) // 2]
    assert [*node.executor.active] == []
    full = Node(
        tmp_path / "other",
        [ScheduledFault("full", StorageFault(target="agent-0", action="full"), RunMoment("step", 0), RunMoment("step", 5))],
    )
    full.executor.advance(step=0)
    assert disks.disk.full
    full.executor.advance(step=5)
    assert not disks.disk.full
