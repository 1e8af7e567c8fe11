"""The rule by which sites pay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from protocols.conversations.stepping.stepping_messages import Joined
from protocols.spaces.layout import Layout, RewardMapInfo
from protocols.spaces.reward_map import RewardMap
from protocols.wire.codec import decode, encode

GRID = RewardMap(((-2.0, 0.0), (2.0, 0.0), (2.4, 0.3)), (0.1, 1.0, 0.5), 0.5, (-10, -10), (10, 10))
COORDINATE = st.floats(-3, 3, allow_nan=False).map(lambda x: round(x, 1))


def by_hand(rule: RewardMap, positions: np.ndarray, actions: np.ndarray) -> list[float]:
    """Own rewards of N agents in one world, in words."""
    earned = []
    for i in range(len(positions)):
        reward = 0.0
        for (a, b), value in zip(rule.sites, rule.values, strict=True):
            there = [j for j, (u, v) in enumerate(positions.tolist()) if (u - a) * (u - a) + (v - b) * (v - b) < rule.radius**2]
            if i in there:
                reward += value / len(there) if rule.exclusive else value
        earned.append(reward - rule.action_cost * (abs(float(actions[i, 0])) + abs(float(actions[i, 1]))))
    return earned


@given(
    arrays(np.float64, (3, 4, 2), elements=COORDINATE),
    arrays(np.float64, (3, 4, 2), elements=st.floats(-1, 1)),
    st.sampled_from([0.0, 1.0, 0.25]),
    st.booleans(),
)
def test_the_vectorised_rule_is_the_rule_in_words(positions: np.ndarray, actions: np.ndarray, cost: float, exclusive: bool) -> None:
    rule = RewardMap(GRID.sites, GRID.values, GRID.radius, GRID.low, GRID.high, cost, exclusive)
    crowd = rule.covered(positions).sum(axis=1, keepdims=True)
    earned = rule.reward(positions, actions, crowd)
    assert earned.shape == (3, 4)
    for copy in range(3):
        assert earned[copy].tolist() == pytest.approx(by_hand(rule, positions[copy], actions[copy]))
    alone = rule.reward(positions, actions)
    for position, action, reward in zip(positions.reshape(-1, 1, 2), actions.reshape(-1, 1, 2), alone.reshape(-1), strict=True):
        assert by_hand(rule, position, action) == [pytest.approx(reward)], "an agent without others is alone"


@pytest.mark.parametrize("direction", [(1.0, 0.0), (0.0, -1.0), (-1.0, 0.0)])
def test_the_radius_is_strict(direction: tuple[float, float]) -> None:
    edge = np.array(GRID.sites[0]) + 0.5 * np.array(direction)
    inside = np.nextafter(edge, GRID.sites[0])
    still = np.zeros(2)
    assert GRID.reward(edge, still) == 0 and GRID.reward(inside, still) == pytest.approx(0.1)


def test_what_float32_says_is_paid_as_it_says() -> None:
    """Agents see float32; sites stay where they are."""
    position = np.array([[1.7, 0.0], [2.2, 0.15], [2.7, 0.3], [9, 9]], np.float32)
    assert GRID.reward(position, np.zeros((4, 2), np.float32)).tolist() == [1.0, 1.5, 0.5, 0.0]
    assert GRID.reward(np.array([np.nextafter(np.float32(2.5), np.float32(0)), 0], np.float32), np.zeros(2)) == 1.5
    assert GRID.reward(np.array([2.5, -0.2], np.float32), np.zeros(2)) == 0.0


def test_the_wire_form_says_all() -> None:
    rule = RewardMap(GRID.sites, GRID.values, 0.5, (-10, -9), (10, 9), 1.0, True)
    assert RewardMap.from_info(rule.info()) == rule
    message = Joined(copies=1, layout=Layout(shape=[2], reward_map=rule.info()), members=[], tick=0)
    there, _ = decode([bytes(part) for part in encode(message, {})])
    assert isinstance(there, Joined) and there.layout.reward_map is not None
    assert RewardMap.from_info(there.layout.reward_map) == rule


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"value": [1.0]}, "2 sites have 1 values"),
        ({"y": [0.0]}, "2 sites have 1 second"),
        ({"low": [0.0]}, "two coordinates, not 1 and 2"),
    ],
)
def test_a_wire_form_that_fits_nothing_is_refused(change: dict[str, list[float]], text: str) -> None:
    good = {"x": [0.0, 1.0], "y": [0.0, 1.0], "value": [1.0, 2.0], "radius": 0.5, "low": [-1.0, -1.0], "high": [1.0, 1.0]}
    with pytest.raises(ValueError, match=text):
        RewardMap.from_info(RewardMapInfo(**{**good, **change}))


def test_no_sites_pay_nothing() -> None:
    empty = RewardMap((), (), 0.5, (-1, -1), (1, 1), action_cost=2.0)
    assert empty.reward(np.zeros((4, 2)), np.full((4, 2), 0.5)).tolist() == [-2.0] * 4
