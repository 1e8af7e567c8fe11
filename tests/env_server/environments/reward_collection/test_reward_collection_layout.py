"""Where sites lie, agents start, and what their actuators do."""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np
import pytest
from pydantic import ValidationError

from env_server.environments.reward_collection.collection_physics import gains, grid, observation_layout, reward_map, starts
from env_server.environments.reward_collection.settings import RewardCollectionOptions
from protocols.spaces.reward_map import RewardMap

REFERENCE = {
    (-6, -5): 0.1, (-2, -5): 0.5, (2, -5): 1.0, (6, -5): 0.1,
    (-6, 0): 0.5, (-2, 0): 1.0, (2, 0): 0.1, (6, 0): 0.5,
    (-6, 5): 1.0, (-2, 5): 0.1,
}  # fmt: skip


def options(**given: object) -> RewardCollectionOptions:
    return RewardCollectionOptions(**given)  # type: ignore[arg-type]


def test_the_reference_layout() -> None:
    rule = reward_map(options())
    assert [tuple(round(x, 12) for x in site) for site in rule.sites] == list(REFERENCE), "row by row, from the lower left"
    assert list(rule.values) == list(REFERENCE.values())
    assert (rule.radius, rule.low, rule.high, rule.action_cost, rule.exclusive) == (0.5, (-10, -10), (10, 10), 0, False)


def test_the_far_layout() -> None:
    rule = reward_map(options(variant="far"))
    assert dict(zip(rule.sites, rule.values, strict=True)) == {(8, 8): 1.0, (2, 0): 0.1, (-2, 0): 0.1}
    assert np.allclose(np.hypot(*starts(options(variant="far"), 5).T), 1.5)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 9, 10, 12, 255, 256])
def test_other_grids(count: int) -> None:
    columns = next(c for c in range(1, 20) if c * c >= count)
    rows = next(r for r in range(1, 20) if r * columns >= count)
    sites = grid(count)
    assert len(sites) == count == len(set(sites))
    for j, (x, y) in enumerate(sites):
        assert x == pytest.approx(-10 + (j % columns + 1) * 20 / (columns + 1))
        assert y == pytest.approx(-10 + (j // columns + 1) * 20 / (rows + 1))
    apart = [np.hypot(a - c, b - d) for a, b in sites for c, d in sites if (a, b) != (c, d)]
    assert min(apart, default=2) > 1, "no body is at two sites at once"


def test_starts_are_on_a_circle_and_one_agent_alone_in_the_middle() -> None:
    assert starts(options(), 1).tolist() == [[0, 0]]
    assert np.allclose(starts(options(), 5), [(6 * cos(2 * pi * i / 5), 6 * sin(2 * pi * i / 5)) for i in range(5)])


def test_gains_are_normal_and_each_agents_own() -> None:
    many = gains(options(), 4000, 0)
    assert abs(many.mean() - 1) < 0.005 and abs(many.std() - 0.1) < 0.004 and abs(np.corrcoef(many.T)[0, 1]) < 0.05
    assert np.array_equal(gains(options(), 3, 0), many[:3]), "others do not change them"
    assert np.array_equal(gains(options(variant="far", horizon=7), 3, 0), many[:3])
    assert not np.isclose(gains(options(), 3, 1), many[:3]).any()
    assert np.allclose(gains(options(gain_std=0.2), 3, 0) - 1, 2 * (many[:3] - 1))
    assert (gains(options(gain_std=0), 5, 0) == 1).all()


def test_what_an_agent_is_told() -> None:
    chosen = options(action_cost=0.5, exclusive=True)
    layout = observation_layout(chosen)
    assert (layout.shape, layout.actions, layout.low, layout.high, layout.goals) == ([2], [], [-1, -1], [1, 1], None)
    assert [(field.name, field.start, field.size) for field in layout.fields] == [("position", 0, 2)]
    assert layout.reward_map is not None
    told = RewardMap.from_info(layout.reward_map)
    assert told == reward_map(chosen) and told.action_cost == 0.5 and told.exclusive


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"variant": "far", "sites": 5}, "leave sites out"),
        ({"sites": 257}, "less than or equal to 256"),
        ({"action_cost": -1}, "greater than or equal to 0"),
        ({"reward": "mean"}, "'own' or 'team'"),
        ({"radius": 1}, "Extra inputs"),
    ],
)
def test_what_is_no_world(given: dict[str, object], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        options(**given)
