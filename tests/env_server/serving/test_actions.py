"""Actions as they come from outside."""

from __future__ import annotations

import numpy as np
import pytest

from env_server.serving.actions import checked_action, checked_restart
from protocols.runtime.errors import BadMessage
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
