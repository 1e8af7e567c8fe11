"""Rewards by place: means of cells, bounds, and sums over agents."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agent_node.contracts import Array
from agent_node.world_models.imagination.reward_models import RewardGrid
from protocols.runtime.errors import ConfigurationError


def grid() -> RewardGrid:
    return RewardGrid([-10, -10], [10, 10], 0.5)


def learn(grid: RewardGrid, places: Array, rewards: Array) -> None:
    """Who stands still at places is paid."""
    grid.absorb(places, np.zeros((len(places), 2)), rewards)


def expected(grid: RewardGrid, places: Array) -> tuple[Array, Array]:
    return grid.predict(places, np.zeros((len(places), 2)))


def test_the_mean_of_a_cell_is_drawn_to_nothing_by_the_prior() -> None:
    one = grid()
    assert one.cells == 1600
    assert one.statistics().nbytes == 25_600
    places = np.array([[1.1, 1.1], [1.4, 1.2], [1.6, 1.1]])
    learn(one, places, np.array([1.0, 1.0, 0.3]))
    mean, std = expected(one, np.array([[1.2, 1.4], [1.9, 1.0], [-3.0, 0.0]]))
    np.testing.assert_allclose(mean, [2 / 3, 0.15, 0.0], rtol=1e-6)
    np.testing.assert_allclose(std, [3**-0.5, 2**-0.5, 1.0], rtol=1e-6)


def test_places_beyond_the_grid_belong_to_its_edge() -> None:
    one = grid()
    learn(one, np.array([[10.0, 10.0], [99.0, 99.0]]), np.array([1.0, 1.0]))
    assert expected(one, np.array([[9.8, 9.8]]))[0][0] == pytest.approx(2 / 3)


@given(st.lists(st.tuples(st.floats(-10, 10), st.floats(-10, 10), st.floats(-1, 1)), min_size=1, max_size=40), st.integers(0, 40))
def test_the_sum_of_parts_is_the_whole(rows: list[tuple[float, float, float]], cut: int) -> None:
    data = np.array(rows)
    first, second, both = grid(), grid(), grid()
    for one, part in ((first, data[:cut]), (second, data[cut:]), (both, data)):
        if len(part):
            learn(one, part[:, :2], part[:, 2])
    first.published()
    first.use(first.statistics() + second.statistics())
    for mine, whole in zip(expected(first, data[:, :2]), expected(both, data[:, :2]), strict=True):
        np.testing.assert_allclose(mine, whole, atol=1e-6)


def test_what_was_just_found_is_not_forgotten_for_the_news_of_others() -> None:
    mine, other = grid(), grid()
    learn(mine, np.array([[1.0, 1.0]] * 10), np.ones(10))
    mine.published()
    told = mine.statistics()
    learn(mine, np.array([[5.0, 5.0]] * 19), np.ones(19))
    learn(other, np.array([[-5.0, 0.0]] * 9), np.ones(9))
    mine.use(told + other.statistics())
    np.testing.assert_allclose(expected(mine, np.array([[1.0, 1.0], [5.0, 5.0], [-5.0, 0.0]]))[0], [10 / 11, 0.95, 0.9], rtol=1e-6)
    again = grid()
    again.load_state(mine.state())
    again.published()
    again.use(mine.statistics() + other.statistics())
    np.testing.assert_allclose(expected(again, np.array([[5.0, 5.0]]))[0], [0.95], rtol=1e-6)


def test_states_and_sums_of_other_grids_are_refused() -> None:
    one, other = grid(), grid()
    learn(one, np.zeros((3, 2)), np.ones(3))
    other.load_state(one.state())
    np.testing.assert_array_equal(other.statistics(), one.statistics())
    with pytest.raises(ValueError, match="1600 cells"):
        one.use(np.zeros(10))
    with pytest.raises(ValueError, match=r"grid/own has shape \[2, 4\] in the state and \[2, 1600\] here"):
        one.load_state(one.state() | {"grid/own": torch.zeros(2, 4)})
    with pytest.raises(ConfigurationError, match="too fine"):
        RewardGrid([-10, -10], [10, 10], 0.001)


def test_a_drawn_map_is_one_map_with_the_grids_moments() -> None:
    grid = RewardGrid([-1.0, -1.0], [1.0, 1.0], 0.05)
    learn(grid, np.tile([[0.01, 0.01]], (99, 1)), np.ones(99))
    drawn = grid.draw(np.random.default_rng(0))
    places = np.random.default_rng(1).uniform(-1, 1, (5000, 2))
    values = drawn(places, np.zeros((5000, 2)))
    np.testing.assert_array_equal(values, drawn(places, np.ones((5000, 2))), "actions are for nothing here")
    assert np.mean(values) == pytest.approx(0, abs=0.15) and np.std(values) == pytest.approx(1, abs=0.1)
    at = [grid.draw(np.random.default_rng(seed))(np.array([[0.01, 0.01]]), np.zeros((1, 2)))[0] for seed in range(300)]
    assert np.mean(at) == pytest.approx(0.99, abs=0.03) and np.std(at) == pytest.approx(0.1, rel=0.2)


def test_what_actions_cost_is_no_matter_of_places() -> None:
    grid, random = RewardGrid([-10, -10], [10, 10], 0.5, action_cost=0.3), np.random.default_rng(0)
    action = random.uniform(-1, 1, (50, 2)).astype(np.float32)
    place = np.concatenate([np.full((25, 2), 1.1), np.full((25, 2), -3.2)])
    paid = np.repeat([0.5, 0.0], 25)
    grid.absorb(place, action, (paid - 0.3 * np.abs(action).sum(axis=1)).astype(np.float32))
    mean, _ = grid.predict(np.array([[1.1, 1.1], [-3.2, -3.2], [9.0, 9.0]]), np.array([[0.0, 0.0], [0.5, -0.5], [1.0, 0.0]]))
    np.testing.assert_allclose(mean, [0.5 * 25 / 26, -0.3, -0.3], rtol=1e-5)
    assert not grid.statistics()[1600:][grid._index(np.array([[-3.2, -3.2]]))].any(), "no rest of a cost where nothing is paid"
    drawn = grid.draw(random)
    np.testing.assert_allclose(drawn(place[:1], np.ones((1, 2))) - drawn(place[:1], np.zeros((1, 2))), [-0.6], rtol=1e-5)
