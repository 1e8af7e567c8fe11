"""Placement: whole, deterministic, stable, and clear about what is missing."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.launch.launch_settings import PlacementSettings
from orchestrator.launch.placement import NodeRequest, PlacementError, Slot, natural, place

GIB = 2**30
QUICK: dict[str, Any] = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}
PACK, SPREAD = PlacementSettings(policy="pack"), PlacementSettings(policy="spread")


def agents(count: int, cores: float = 0.5, memory: int = GIB, gpus: int = 0) -> list[NodeRequest]:
    return [NodeRequest(f"agent-{i}", "agent", cores, memory, gpus) for i in range(count)]


def loads(plan: dict[str, str]) -> dict[str, int]:
    return {slot: list(plan.values()).count(slot) for slot in set(plan.values())}


def test_pack_fills_one_after_the_other_and_spread_evenly() -> None:
    slots = [Slot("a", 2, 64 * GIB), Slot("b", 2, 64 * GIB), Slot("c", 2, 64 * GIB)]
    assert loads(place(agents(6), slots, PACK)) == {"a": 4, "b": 2}
    assert loads(place(agents(6), slots, SPREAD)) == {"a": 2, "b": 2, "c": 2}


def test_fractions_add_up_exactly() -> None:
    slots = [Slot("a", 1, GIB * 64), Slot("b", 1, GIB * 64)]
    assert loads(place(agents(20, cores=0.1), slots, PACK)) == {"a": 10, "b": 10}


def test_cores_are_shared_when_there_are_too_few() -> None:
    slots = [Slot("a", 2, 64 * GIB), Slot("b", 1, 64 * GIB)]
    assert loads(place(agents(12), slots, PACK)) == {"a": 8, "b": 4}
    with pytest.raises(PlacementError, match="agent-0 fits on no slot; it needs 3 cores, 1GiB: a lacks 1 cores; b lacks 2 cores"):
        place(agents(1, cores=3), slots, PACK)


def test_memory_and_gpus_are_not() -> None:
    with pytest.raises(PlacementError, match=r"agent-2 fits on no slot; it needs 0\.5 cores, 1GiB: a lacks 512MiB of memory") as caught:
        place(agents(3), [Slot("a", 8, 2 * GIB + GIB // 2)], PACK)
    assert caught.value.node == "agent-2"
    with pytest.raises(PlacementError, match=r"it needs 0\.5 cores, 1GiB, 1 GPU: a lacks 1 GPU"):
        place(agents(3, gpus=1), [Slot("a", 8, 64 * GIB, gpus=2)], PACK)
    with pytest.raises(PlacementError, match="there are no slots"):
        place(agents(1), [], PACK)


def test_pins() -> None:
    slots = [
        Slot("a", 8, 64 * GIB, labels={"zone": "east"}),
        Slot("b", 8, 64 * GIB, labels={"zone": "west", "disk": "fast"}),
        Slot("c", 8, 64 * GIB),
    ]
    policy = PlacementSettings(pins={"agent-*": "zone=west", "agent-1": "c", "env-0": "zone=west, disk=fast"})
    nodes = [*agents(3), NodeRequest("env-0", "env", 0.5, GIB)]
    assert place(nodes, slots, policy) == {"agent-0": "b", "agent-1": "c", "agent-2": "b", "env-0": "b"}
    with pytest.raises(PlacementError, match=r"agent-0 .* pinned to d, but the slots are a, b, c; change launch.placement.pins"):
        place(agents(1), slots, PlacementSettings(pins={"agent-[0-3]": "d"}))
    with pytest.raises(PlacementError, match=r"pinned to a: a lacks 1GiB of memory"):
        place(agents(1, memory=65 * GIB), slots, PlacementSettings(pins={"agent-0": "a"}))


def test_the_greedy_way_is_not_the_last_word() -> None:
    """3 + 3 and 2 + 2 + 2 fill two slots of 6 exactly; spreading the largest first leads into a dead end."""
    nodes = [NodeRequest(f"n-{i}", "agent", 0.1, size * GIB) for i, size in enumerate([3, 3, 2, 2, 2])]
    plan = place(nodes, [Slot("a", 9, 6 * GIB), Slot("b", 9, 6 * GIB)], SPREAD)
    assert plan["n-0"] == plan["n-1"]


def test_a_lost_slot_moves_only_its_own_nodes() -> None:
    slots = [Slot(name, 4, 64 * GIB) for name in "abc"]
    before = place(agents(12), slots, SPREAD)
    after = place(agents(12), slots[:2], SPREAD, before)
    assert all(after[node] == slot for node, slot in before.items() if slot != "c")
    assert sorted(loads(after).values()) == [6, 6]


def test_one_move_makes_room() -> None:
    """The small node is where only the large one fits: it moves, and no other node does."""
    slots = [Slot("a", 9, 4 * GIB), Slot("b", 9, 3 * GIB)]
    nodes = [NodeRequest("small", "agent", 1, GIB), NodeRequest("other", "agent", 1, GIB), NodeRequest("large", "agent", 1, 4 * GIB)]
    after = place(nodes, slots, PACK, {"small": "a", "other": "b"})
    assert after == {"small": "b", "other": "b", "large": "a"}


def test_names_are_given_once() -> None:
    with pytest.raises(ValueError, match="two nodes have one name"):
        place([*agents(1), *agents(1)], [Slot("a", 1, GIB)], PACK)
    with pytest.raises(ValueError, match="two slots have one name"):
        place(agents(1), [Slot("a", 1, GIB)] * 2, PACK)
    assert sorted(["agent-10", "agent-2", "env-0"], key=natural) == ["agent-2", "agent-10", "env-0"]


NODES = st.lists(st.tuples(st.sampled_from([0.1, 0.25, 0.5, 1.0, 2.0]), st.integers(0, 4), st.integers(0, 1)), min_size=1, max_size=9).map(
    lambda rows: [NodeRequest(f"agent-{i}", "agent", cores, memory * GIB, gpus) for i, (cores, memory, gpus) in enumerate(rows)]
)
SLOTS = st.lists(
    st.tuples(st.integers(1, 4), st.integers(1, 12), st.integers(0, 3), st.sampled_from(["east", "west"])), min_size=1, max_size=4
).map(lambda rows: [Slot(f"host-{i}", cores, memory * GIB, gpus, {"zone": zone}) for i, (cores, memory, gpus, zone) in enumerate(rows)])
POLICIES = st.builds(
    PlacementSettings,
    policy=st.sampled_from(["pack", "spread"]),
    pins=st.dictionaries(st.sampled_from(["agent-0", "agent-[12]", "agent-3"]), st.sampled_from(["host-0", "zone=west"]), max_size=2),
)


def check(plan: dict[str, str], nodes: list[NodeRequest], slots: list[Slot], policy: PlacementSettings) -> None:
    assert list(plan) == [node.name for node in nodes]
    for slot in slots:
        here = [node for node in nodes if plan[node.name] == slot.name]
        assert sum(node.memory for node in here) <= slot.memory
        assert sum(node.gpus for node in here) <= slot.gpus
        assert all(node.cores <= slot.cores for node in here)
    by_name = {slot.name: slot for slot in slots}
    for node in nodes:
        pin = policy.pins.get(node.name) or (policy.pins.get("agent-[12]") if node.name in ("agent-1", "agent-2") else None)
        if pin == "zone=west":
            assert by_name[plan[node.name]].labels["zone"] == "west"
        elif pin is not None:
            assert plan[node.name] == pin


@settings(max_examples=300, **QUICK)
@given(NODES, SLOTS, POLICIES, st.integers(0, 2**16))
def test_every_plan_keeps_the_rules(nodes: list[NodeRequest], slots: list[Slot], policy: PlacementSettings, seed: int) -> None:
    try:
        plan = place(nodes, slots, policy)
    except PlacementError as error:
        assert error.node in {node.name for node in nodes}
        assert str(error).startswith(f"{error.node} ")
        return
    check(plan, nodes, slots, policy)
    shuffled = random.Random(seed).sample(nodes, len(nodes))
    assert place(shuffled, slots, policy) == plan
    assert place(nodes, slots, policy, plan) == plan


@settings(max_examples=200, **QUICK)
@given(NODES, SLOTS, POLICIES, st.data())
def test_losing_a_slot(nodes: list[NodeRequest], slots: list[Slot], policy: PlacementSettings, draw: st.DataObject) -> None:
    """Nodes that can stay stay: others move only if the displaced ones cannot be placed around them."""
    try:
        before = place(nodes, slots, policy)
        lost = draw.draw(st.sampled_from(slots))
        left = [slot for slot in slots if slot is not lost]
        after = place(nodes, left, policy, before)
    except PlacementError:
        return
    check(after, nodes, left, policy)
    moved = [node for node in nodes if before[node.name] != lost.name and after[node.name] != before[node.name]]
    if moved:
        pinned = {**{node.name: before[node.name] for node in nodes if before[node.name] != lost.name}}
        with pytest.raises(PlacementError):
            place(nodes, left, PlacementSettings(policy=policy.policy, pins={**policy.pins, **pinned}))
