"""Hindsight against brute force over the reward rule's truth table."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_node.exchange.settings import Strategy
from agent_node.memory.goal_relabelling import Mark, draw_goals, eligible_goals, marks, reached_goals
from protocols.spaces.feature_sets import FeatureSets

STRATEGIES: tuple[Strategy, ...] = ("own_individual", "future", "final", "episode", "joint", "peer_goal")
NEEDS_TRACES = ("joint", "peer_goal")


def pays(space: FeatureSets, goal: int, own: np.ndarray, other: np.ndarray) -> bool:
    """The reward rule, written out for two bodies: sets of landmarks instead of bits."""
    wanted = set(space.sets[goal])
    mine, theirs = set(np.flatnonzero(own)), set(np.flatnonzero(other))
    if len(wanted) > 1:
        return mine | theirs == wanted
    return mine == wanted or (space.scheme == "consistent" and theirs == wanted)


@pytest.mark.parametrize("scheme", ["consistent", "original"])
def test_reached_is_the_truth_table(scheme: str) -> None:
    space = FeatureSets(3, scheme=scheme)  # type: ignore[arg-type]
    touches = [np.zeros(3, np.uint8), *np.eye(3, dtype=np.uint8)]
    own = np.array([a for a, _ in product(touches, touches)])
    other = np.array([b for _, b in product(touches, touches)])
    reached = reached_goals(space, own, other[:, None])
    for row, goal in product(range(len(own)), range(space.count)):
        assert reached[row, goal] == pays(space, goal, own[row], other[row])


def test_cooperative_goals_need_known_partners_at_the_same_step() -> None:
    space = FeatureSets(3)
    own = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.uint8)
    assert not reached_goals(space, own, None)[:, space.cooperative].any(), "not from the own touch, nor from a union over time"
    both = np.array([[1, 1, 0]], np.uint8)
    assert not reached_goals(space, both, None)[:, space.cooperative].any(), "not even of a body between two landmarks"
    away = np.zeros((3, 1, 3), np.uint8)
    assert not reached_goals(space, own, away)[:, space.cooperative].any()
    beside = away.copy()
    beside[1, 0] = [0, 1, 0]
    np.testing.assert_array_equal(np.argwhere(reached_goals(space, own, beside)[:, 3:]), [[1, space.index((0, 1)) - 3]])


def offered(strategy: Strategy, space: FeatureSets, own: np.ndarray, other: np.ndarray | None, peer: int = -1) -> np.ndarray:
    """Which goals a strategy offers at each step, `[T + 1, |G|]`."""
    found = marks(space, own, None if other is None else other[:, None])
    return eligible_goals([strategy], space, found, np.full((len(own), 1), peer, np.int32)) > 0


def plainly(strategy: Strategy, space: FeatureSets, own: np.ndarray, other: np.ndarray, peer: int, t: int, goal: int) -> bool:
    """The definition of each strategy, step by step."""
    steps, wanted = range(len(own)), set(space.sets[goal])
    hits = [k for k in steps if pays(space, goal, own[k], other[k])]
    later = t not in hits and any(k > t for k in hits)
    if strategy == "own_individual":
        return t not in hits and len(wanted) == 1 and any(set(np.flatnonzero(own[k])) == wanted for k in steps if k > t)
    if strategy == "future":
        return later
    if strategy == "joint":
        return later and len(wanted) > 1
    if strategy == "peer_goal":
        return later and goal == peer
    first = t < min(hits, default=-1)
    if strategy == "episode":
        return first
    anything = [k for k in steps if k > 0 and any(pays(space, g, own[k], other[k]) for g in range(space.count))]
    return first and max(anything) in hits


LANDMARK = st.sampled_from([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)])


@given(
    st.lists(st.tuples(LANDMARK, LANDMARK), min_size=2, max_size=12),
    st.integers(-1, 5),
    st.sampled_from(STRATEGIES),
    st.sampled_from(["consistent", "original"]),
)
def test_each_strategy_offers_what_its_definition_says(
    touches: list[tuple[tuple[int, ...], tuple[int, ...]]], peer: int, strategy: Strategy, scheme: str
) -> None:
    space = FeatureSets(3, scheme=scheme)  # type: ignore[arg-type]
    own, other = np.array(touches, np.uint8).transpose(1, 0, 2)
    found = offered(strategy, space, own, other, peer)
    for t, goal in product(range(len(own)), range(space.count)):
        assert found[t, goal] == plainly(strategy, space, own, other, peer, t, goal), (t, goal)


def played(own: str, other: str) -> tuple[np.ndarray, np.ndarray]:
    """Episodes by hand: `.` nothing, a digit the landmark that the body touches at that row."""
    rows = {".": [0, 0, 0], "0": [1, 0, 0], "1": [0, 1, 0], "2": [0, 0, 1]}
    return tuple(np.array([rows[c] for c in text], np.uint8) for text in (own, other))  # type: ignore[return-value]


def lines(found: np.ndarray) -> list[str]:
    """The offered goals of each row, as digits."""
    return ["".join(str(goal) for goal in np.flatnonzero(row)) for row in found]


# Goals 0..2 are {0} {1} {2}, goals 3..5 are {0,1} {0,2} {1,2}.
BY_HAND: list[tuple[Strategy, str, str, list[str]]] = [
    # Row 2: {0}; row 3: {0}, {1} and both together; row 5, the last touch of all: {1}, by the other alone.
    ("final", "..00..", "...1.1", ["1", "1", "1", "", "", ""]),
    ("episode", "..00..", "...1.1", ["013", "013", "13", "", "", ""]),
    ("future", "..00..", "...1.1", ["013", "013", "13", "", "1", ""]),
    ("own_individual", "..00..", "...1.1", ["0", "0", "", "", "", ""]),
    ("joint", "..00..", "...1.1", ["3", "3", "3", "", "", ""]),
    # What is left and reached again: `episode` cuts at the first time, `future` begins anew.
    ("episode", ".0.0.", ".....", ["0", "", "", "", ""]),
    ("future", ".0.0.", ".....", ["0", "", "0", "", ""]),
    # Both landmarks, never at once: no success of {0,2}.
    ("joint", "0....", "..2.2", ["", "", "", "", ""]),
]


@pytest.mark.parametrize(("strategy", "own", "other", "expected"), BY_HAND)
def test_by_hand(strategy: Strategy, own: str, other: str, expected: list[str]) -> None:
    assert lines(offered(strategy, FeatureSets(3), *played(own, other))) == expected


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_without_traces_only_individual_goals_of_the_own_body_are_offered(strategy: Strategy) -> None:
    space = FeatureSets(3)
    own, _ = played(".0.1.", ".122.")
    found = offered(strategy, space, own, None)
    assert not found[:, space.cooperative].any()
    assert not (found & ~offered("own_individual", space, own, None)).any() and (found.any() or strategy in NEEDS_TRACES)


def test_a_third_landmark_touched_besides_is_no_success() -> None:
    space = FeatureSets(3)
    own, others = np.array([[0, 0, 0], [1, 0, 0]], np.uint8), np.array([[[0, 0, 0]] * 2, [[0, 1, 0], [0, 0, 1]]], np.uint8)
    found = marks(space, own, others)[:, space.index((0, 1))]
    assert not (found & (Mark.REACHED | Mark.LATER)).any()


def test_strategies_share_evenly_and_draws_follow_the_probabilities() -> None:
    space = FeatureSets(3)
    found = np.array([[Mark.LATER, Mark.LATER, 0, Mark.LATER, 0, 0]], np.uint8)
    probability = eligible_goals(["future", "joint", "peer_goal"], space, found, np.array([[5]], np.int32))
    np.testing.assert_allclose(probability[0], [1 / 6, 1 / 6, 0, 1 / 6 + 1 / 2, 0, 0], rtol=1e-6)
    random = np.random.default_rng(0)
    drawn = draw_goals(np.repeat(probability, 60_000, axis=0), random)
    np.testing.assert_allclose(np.bincount(drawn, minlength=6) / 60_000, probability[0], atol=0.01)
    assert draw_goals(np.zeros((3, 6), np.float32), random).tolist() == [-1, -1, -1]
