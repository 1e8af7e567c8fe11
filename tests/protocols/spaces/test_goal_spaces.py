"""Goal spaces: encoding, achieved goals, rewards, wire form."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from protocols.runtime.errors import ConfigurationError
from protocols.spaces.discrete_goals import DiscreteGoals
from protocols.spaces.feature_sets import FeatureSets
from protocols.spaces.goal_space import GoalSpace, goal_space
from protocols.spaces.layout import Layout
from protocols.spaces.vector_goals import VectorGoals, reward_function

SPACES = [
    FeatureSets(4, largest=3, premium=3.0, scheme="original"),
    DiscreteGoals(5, "exclusive", 0.25, False, True),
    VectorGoals((-1.0, 0.0), (1.0, 4.0), 0.2, reward=0.5, ends=False),
]


def negative_distance(achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
    """A dense reward, named by its import path below."""
    return -np.linalg.norm(achieved - desired, axis=-1)


def one_number(achieved: np.ndarray, desired: np.ndarray) -> float:
    """Not vectorised: refused."""
    return 0.0


@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
def test_a_space_survives_the_wire(space: GoalSpace) -> None:
    layout = Layout(shape=[2], actions=[3], goals=space.info())
    back = msgspec.msgpack.decode(msgspec.msgpack.encode(layout), type=Layout).goals
    assert back is not None and goal_space(back) == space


@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
def test_goals_are_drawn_inside_and_encoded_to_the_size_that_is_announced(space: GoalSpace) -> None:
    random = np.random.default_rng(0)
    goals = np.array([space.draw(random) for _ in range(50)])
    encoded = space.encode(goals)
    assert encoded.shape == (50, space.goal_size) and encoded.dtype == np.float32
    none = np.full((2, *space.goal_shape), np.nan) if space.goal_shape else np.full(2, -1)
    assert not space.encode(none).any()
    assert goals.min() >= -1 and np.abs(encoded).max() <= 1


@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
def test_functions_are_vectorised_over_leading_axes(space: GoalSpace) -> None:
    random = np.random.default_rng(1)
    rows = random.random((3, 4, 3, space.achieved_size))
    measured = (rows < 0.5 if space.count else rows).astype(space.achieved_dtype)
    own, others = measured[:, :, 0], measured[:, :, 1:]
    desired = np.array([[space.draw(random) for _ in range(4)] for _ in range(3)])
    achieved = space.achieved(own, others)
    reached, reward = space.reached(achieved, desired), space.compute_reward(achieved, desired)
    assert reached.shape == reward.shape == (3, 4) and reward.dtype == np.float32
    for i in range(3):
        for k in range(4):
            single = space.achieved(own[i, k], others[i, k])
            assert space.reached(single, desired[i, k]) == reached[i, k] and space.compute_reward(single, desired[i, k]) == reward[i, k]


def test_rules_of_goals_by_number() -> None:
    own, others = np.array([1, 1, 0, 0], np.uint8), np.array([[1, 0, 1, 0], [0, 0, 1, 0]], np.uint8)
    assert DiscreteGoals(4, "own").achieved(own, others).tolist() == [True, True, False, False]
    assert DiscreteGoals(4, "any").achieved(own, others).tolist() == [True, True, True, False]
    assert DiscreteGoals(4, "exclusive").achieved(own, others).tolist() == [False, True, False, False]
    assert not DiscreteGoals(4, "own").needs_others.any() and DiscreteGoals(4, "exclusive").needs_others.all()


def test_sparse_and_named_rewards_of_vector_goals() -> None:
    achieved, desired = np.array([[0.0, 0.0], [0.0, 0.3]], np.float32), np.zeros((2, 2), np.float32)
    assert VectorGoals((-1, -1), (1, 1), 0.2, reward=2.0).compute_reward(achieved, desired).tolist() == [2.0, 0.0]
    dense = VectorGoals((-1, -1), (1, 1), 0.2, rule=f"{__name__}:negative_distance")
    assert dense.compute_reward(achieved, desired) == pytest.approx([0.0, -0.3])
    assert dense.reached(achieved, desired).tolist() == [True, False]
    with pytest.raises(ValueError, match="one reward for each row"):
        VectorGoals((-1, -1), (1, 1), rule=f"{__name__}:one_number").compute_reward(achieved, desired)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("no_such_module:f", "no module no_such_module"),
        ("numpy:no_such_function", "correct the name"),
        ("numpy", "package.module:function"),
        ("gymnasium:CartPole-v1", "has no compute_reward"),
    ],
)
def test_a_reward_rule_that_does_not_exist_is_refused(rule: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        reward_function(rule)


def test_bounds_must_be_ordered() -> None:
    with pytest.raises(ValueError, match="lower ones first"):
        VectorGoals((0.0,), (0.0,))
