"""Actions as they come from outside."""

from __future__ import annotations

import numpy as np
import pytest

from env_server.environments.environment_contracts import AgentBatch
from env_server.serving.actions import LateActions, checked_action, checked_restart
from env_server.settings import EnvironmentSettings
from protocols.conversations.stepping.stepping import ClosedTick
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.errors import BadMessage
from protocols.spaces.action_masks import are_legal
from protocols.spaces.layout import Layout

DISCRETE = Layout(shape=[2], actions=[3, 2])
CONTINUOUS = Layout(shape=[2], low=[-1.0, 0.0], high=[1.0, 0.5])


def test_choices_come_through_as_they_are() -> None:
    action = np.array([[2, 0], [0, 1]], np.int32)
    assert checked_action({"action": action}, DISCRETE, 2) is action


def test_values_beyond_their_bounds_count_as_the_nearest_bound() -> None:
    action = np.array([[0.3, 0.25], [-2.0, 0.6], [1.5, -0.1]], np.float32)
    taken = checked_action({"action": action}, CONTINUOUS, 3)
    assert taken.dtype == np.float32
    assert np.array_equal(taken, np.array([[0.3, 0.25], [-1.0, 0.5], [1.0, 0.0]], np.float32))


@pytest.mark.parametrize(
    ("action", "layout"),
    [
        (None, DISCRETE),
        (np.zeros((2, 2), np.int32), None),
        (np.zeros((3, 2), np.int32), DISCRETE),
        (np.zeros((2, 2), np.float32), DISCRETE),
        (np.array([[0, 2], [0, 0]], np.int32), DISCRETE),
        (np.array([[-1, 0], [0, 0]], np.int32), DISCRETE),
        (np.zeros((2, 2), np.int32), CONTINUOUS),
        (np.zeros((2, 2), np.float64), CONTINUOUS),
        (np.zeros((2, 1), np.float32), CONTINUOUS),
    ],
)
def test_what_does_not_fit_is_refused(action: np.ndarray | None, layout: Layout | None) -> None:
    with pytest.raises(BadMessage):
        checked_action({} if action is None else {"action": action}, layout, 2)


def test_restarts_come_through_where_they_fit_and_are_possible() -> None:
    restart = np.array([1, 0], np.uint8)
    assert checked_restart({}, 2, False) is None
    taken = checked_restart({"restart": restart}, 2, True)
    assert taken is not None and taken.tolist() == [True, False]
    for array, copies, possible in ((restart, 2, False), (restart, 3, True), (restart.astype(np.int32), 2, True)):
        with pytest.raises(BadMessage, match="E_FRAME"):
            checked_restart({"restart": array}, copies, possible)


@pytest.mark.parametrize("kind", ["repeat", "noop", "random"])
def test_stand_in_for_who_is_late(kind: str) -> None:
    settings = EnvironmentSettings.model_validate({"id": "landmarks", "copies": 3, "late_action": kind})
    layouts = {"a": Layout(shape=[2], actions=[3, 2]), "b": Layout(shape=[2], low=[-1.0], high=[3.0])}
    late_action = LateActions(settings, layouts, np.random.default_rng(0))
    given = {"a": np.full((3, 2), 1, np.int32), "b": np.full((3, 1), 2.5, np.float32)}
    seen = {agent: AgentBatch(np.zeros((3, 2), np.float32), np.zeros(3, np.float32), np.ones(3, np.uint16)) for agent in layouts}
    on_time, too_late = ClosedTick(0, given, frozenset()), ClosedTick(1, {}, frozenset(layouts))
    first = late_action.complete(on_time, seen)
    assert first.actions["a"] is given["a"] and not first.substituted["a"].any()
    completed = late_action.complete(too_late, seen)
    late = completed.actions
    assert completed.substituted["a"].all() and not completed.illegal
    assert late["a"].dtype == np.int32 and late["b"].dtype == np.float32
    if kind == "repeat":
        assert (late["a"] == 1).all() and (late["b"] == 2.5).all()
    elif kind == "noop":
        assert (late["a"] == 0).all() and (late["b"] == 1.0).all()
    else:
        drawn = [late_action.complete(too_late, seen).actions for _ in range(50)]
        assert {tuple(row) for actions in drawn for row in actions["a"].tolist()} == {(i, j) for i in range(3) for j in range(2)}
        assert all(actions["b"].min() >= -1 and actions["b"].max() <= 3 for actions in drawn)


MASKED = Layout(shape=[1 + 5], actions=[3, 2], mask=True)
MASK = np.array([[0, 1, 1, 0, 1], [1, 0, 0, 1, 0], [0, 0, 0, 0, 0]], np.float32)


def masked(flags: int | list[int] = int(Flag.MEMBER)) -> dict[str, AgentBatch]:
    """What one agent saw in three copies."""
    return {"a": AgentBatch(np.concatenate([np.zeros((3, 1), np.float32), MASK], axis=1), np.zeros(3, np.float32),
                            np.full(3, flags, np.uint16))}  # fmt: skip


def stand_ins(kind: str = "noop") -> LateActions:
    settings = EnvironmentSettings.model_validate({"id": "landmarks", "copies": 3, "late_action": kind})
    return LateActions(settings, {"a": MASKED}, np.random.default_rng(0))


@pytest.mark.parametrize("kind", ["repeat", "noop", "random"])
def test_stand_ins_are_legal(kind: str) -> None:
    late_action, seen = stand_ins(kind), masked()
    for tick in range(50):
        completed = late_action.complete(ClosedTick(tick, {}, frozenset({"a"})), seen)
        assert are_legal(completed.actions["a"], MASK, [3, 2]).all() and completed.substituted["a"].all()
        assert not completed.illegal, "the agent has chosen nothing"
    if kind == "noop":
        assert completed.actions["a"][1:].tolist() == [[0, 0], [0, 0]], "the null action where it is legal"


def test_an_illegal_action_is_replaced_where_it_counts() -> None:
    late_action, chosen = stand_ins(), np.array([[0, 1], [0, 0], [2, 1]], np.int32)
    completed = late_action.complete(ClosedTick(0, {"a": chosen}, frozenset()), masked())
    assert completed.illegal == {"a": 1} and completed.substituted["a"].tolist() == [True, False, False]
    assert completed.actions["a"][0, 0] in (1, 2) and completed.actions["a"][1:].tolist() == chosen[1:].tolist()
    for unused in (Flag.PARKED, Flag.TERMINATED, Flag.TRUNCATED, Flag.OVER):
        completed = late_action.complete(ClosedTick(1, {"a": chosen}, frozenset()), masked(int(Flag.MEMBER | unused)))
        assert not completed.illegal and completed.actions["a"].tolist() == chosen.tolist(), unused
    assert not late_action.complete(ClosedTick(2, {"a": chosen}, frozenset()), masked(0)).illegal, "no member"


def test_what_counted_at_the_own_turn_is_kept_while_others_play() -> None:
    late_action, plays, waits = stand_ins(), int(Flag.MEMBER), int(Flag.MEMBER | Flag.WAITING)
    first, second = np.array([[1, 1], [0, 0], [2, 1]], np.int32), np.array([[2, 1], [0, 0], [0, 0]], np.int32)
    assert late_action.complete(ClosedTick(0, {"a": first}, frozenset()), masked(plays)).actions["a"].tolist() == first.tolist()
    held = late_action.complete(ClosedTick(1, {}, frozenset({"a"})), masked([plays, waits, waits]))
    assert held.substituted["a"].tolist() == [True, False, False], "a late action at another agent's turn is none"
    assert held.actions["a"][1:].tolist() == first[1:].tolist()
    later = late_action.complete(ClosedTick(2, {"a": second}, frozenset()), masked([waits, waits, plays]))
    assert later.substituted["a"].tolist() == [True, False, False] and later.actions["a"][0].tolist() == held.actions["a"][0].tolist()
    assert later.actions["a"][1:].tolist() == [first[1].tolist(), second[2].tolist()]
