"""Frames around the cells that agents are after."""

from __future__ import annotations

import numpy as np

from orchestrator.results.playback.video import HUES, outlined

BLACK = np.zeros((32 * 3, 32 * 4, 3), np.uint8)


def cell(picture: np.ndarray, x: int, y: int) -> np.ndarray:
    return picture[32 * y : 32 * (y + 1), 32 * x : 32 * (x + 1)]


def test_a_goal_has_a_frame_in_the_colour_of_its_agent_and_nothing_else_changes() -> None:
    marked = outlined(BLACK, [None, (3, 1)], 4, 3)
    there = cell(marked, 3, 1)
    assert (
        (there[:2] == HUES[1]).all() and (there[-2:] == HUES[1]).all() and (there[:, :2] == HUES[1]).all() and not there[2:-2, 2:-2].any()
    )
    there[:] = 0
    assert not marked.any() and not BLACK.any()


def test_two_goals_in_one_cell_are_both_seen() -> None:
    there = cell(outlined(BLACK, [(0, 2), (0, 2)], 4, 3), 0, 2)
    assert tuple(there[0, 0]) == HUES[0] and tuple(there[2, 2]) == HUES[1] and not there[4:-4, 4:-4].any()


def test_so_many_goals_in_one_cell_that_no_more_frame_fits() -> None:
    marked = outlined(np.zeros((4, 4, 3), np.uint8), [(0, 0)] * 5, 2, 2)
    assert not cell(marked, 1, 1).any()
