"""Action masks: what is legal, and uniform legal actions."""

import numpy as np

from protocols.spaces.action_masks import are_legal, draw_legal, legal_choices

FACTORS = [3, 2]


def test_a_factor_without_a_legal_choice_has_all_of_them() -> None:
    first, second = legal_choices(np.array([[0, 1, 0, 0, 0], [1, 1, 1, 0, 1]]), FACTORS)
    assert first.tolist() == [[False, True, False], [True, True, True]]
    assert second.tolist() == [[True, True], [False, True]]


def test_drawn_actions_are_uniform_among_the_legal_ones() -> None:
    mask = np.repeat(np.array([[1, 0, 1, 0, 1]], np.float32), 4000, axis=0)
    drawn = draw_legal(mask, FACTORS, np.random.default_rng(0))
    assert drawn.dtype == np.int32 and are_legal(drawn, mask, FACTORS).all()
    assert set(map(tuple, drawn.tolist())) == {(0, 1), (2, 1)}
    assert abs((drawn[:, 0] == 0).mean() - 0.5) < 0.04  # five standard deviations
    anything = draw_legal(np.zeros((4000, 5)), FACTORS, np.random.default_rng(0))
    assert len(set(map(tuple, anything.tolist()))) == 6


def test_one_illegal_factor_makes_an_action_illegal() -> None:
    mask = np.array([[1, 0, 1, 0, 1]] * 3)
    assert are_legal(np.array([[0, 1], [1, 1], [2, 0]]), mask, FACTORS).tolist() == [True, False, False]
