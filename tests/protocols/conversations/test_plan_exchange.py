"""Plans sent to neighbours: the newest counts, malformed ones are refused, and those of dead neighbours are dropped."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.conversations.plan_exchange import MOST_STEPS, Plan, PlanExchange
from protocols.wire.codec import decode, encode


def side(name: str, neighbours: list[str], layout: str = "plane") -> PlanExchange:
    machine = PlanExchange(name, neighbours, layout, 2, 1, discrete=False)
    for other in neighbours:
        machine.peer_alive(other, 1, 0.0)
    return machine


def steps(n: int, value: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    return np.full((n, 2), value, np.float32), np.full((n, 1), value, np.float32)


def carry(source: PlanExchange, sides: dict[str, PlanExchange]) -> int:
    sends = source.outgoing()
    for send in sends:
        message, arrays = decode([bytes(part) for part in encode(send.message, send.arrays)])
        sides[send.dst].receive(source.name, message, arrays, 0.0)
    return len(sends)


def test_neighbours_hear_the_newest_plan_and_nobody_else_does() -> None:
    sides = {"a": side("a", ["b"]), "b": side("b", ["a", "c"]), "c": side("c", ["b"])}
    sides["a"].share_plan(*steps(3, 1.0), 0.0)
    first = sides["a"].outgoing()
    sides["a"].share_plan(*steps(5, 2.0), 0.0)
    assert carry(sides["a"], sides) == 1
    for send in first:  # late
        sides["b"].receive("a", send.message, send.arrays, 0.0)
    (plan,) = sides["b"].plans()
    assert plan.src == "a" and plan.observation.shape == (5, 2) and (plan.action == 2.0).all()
    assert sides["b"].counters["old"] == 1 and sides["c"].plans() == []


def test_the_dead_go_nowhere_and_are_told_nothing() -> None:
    sides = {"a": side("a", ["b"]), "b": side("b", ["a"])}
    for _ in range(3):
        sides["a"].share_plan(*steps(2), 0.0)
    carry(sides["a"], sides)
    sides["b"].peer_dead("a", 1.0)
    assert sides["b"].plans() == []
    sides["b"].share_plan(*steps(2), 1.0)
    assert sides["b"].outgoing() == []
    sides["b"].peer_alive("a", 2, 2.0)
    reborn = side("a", ["b"])
    reborn.share_plan(*steps(4), 2.0)  # number 1 again
    carry(reborn, sides)
    assert len(sides["b"].plans()[0].action) == 4


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"observation": np.zeros((2, 3), np.float32), "action": np.zeros((2, 1), np.float32)},
        {"observation": np.zeros((2, 2), np.float64), "action": np.zeros((2, 1), np.float32)},
        {"observation": np.zeros((2, 2), np.float32), "action": np.zeros((3, 1), np.float32)},
        {"observation": np.full((1, 2), np.nan, np.float32), "action": np.zeros((1, 1), np.float32)},
        {"observation": np.zeros((0, 2), np.float32), "action": np.zeros((0, 1), np.float32)},
        {"observation": np.zeros((MOST_STEPS + 1, 2), np.float32), "action": np.zeros((MOST_STEPS + 1, 1), np.float32)},
    ],
)
def test_what_breaks_the_format_is_dropped_and_counted(arrays: dict[str, np.ndarray]) -> None:
    machine = side("b", ["a"])
    machine.receive("a", Plan(layout="plane", number=1), arrays, 0.0)
    assert machine.plans() == [] and machine.counters["bad.E_FRAME"] == 1
    with pytest.raises(ValueError, match="a plan whose"):
        machine.share_plan(arrays.get("observation", np.zeros(1)), arrays.get("action", np.zeros(1)), 0.0)


def test_strangers_and_other_layouts_are_not_heard() -> None:
    machine = side("b", ["a"])
    observation, action = steps(1)
    machine.receive("z", Plan(layout="plane", number=1), {"observation": observation, "action": action}, 0.0)
    machine.receive("a", Plan(layout="line", number=1), {"observation": observation, "action": action}, 0.0)
    assert machine.plans() == [] and machine.counters["bad.E_UNKNOWN_NODE"] == 1 and machine.counters["foreign_layout"] == 1
