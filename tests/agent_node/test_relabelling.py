"""Hindsight against brute force over the reward rule's truth table."""

from itertools import product

import numpy as np
import pytest

from agent_node.goals.relabelling import draw_goals, eligible_goals, own_individual_goals, reached_goals, reached_later
from agent_node.settings import Strategy
from protocols.goal_space import GoalSpace

STRATEGIES: tuple[Strategy, ...] = ("own_individual", "future", "joint", "peer_goal")


def pays(space: GoalSpace, goal: int, own: np.ndarray, other: np.ndarray) -> bool:
    """The reward rule, written out for two bodies: sets of landmarks instead of bits."""
    wanted = set(space.sets[goal])
    mine, theirs = set(np.flatnonzero(own)), set(np.flatnonzero(other))
    if len(wanted) > 1:
        return mine | theirs == wanted
    return mine == wanted or (space.scheme == "consistent" and theirs == wanted)


@pytest.mark.parametrize("scheme", ["consistent", "original"])
def test_reached_is_the_truth_table(scheme: str) -> None:
    space = GoalSpace(3, scheme=scheme)  # type: ignore[arg-type]
    touches = [np.zeros(3, np.uint8), *np.eye(3, dtype=np.uint8)]
    own = np.array([a for a, _ in product(touches, touches)])
    other = np.array([b for _, b in product(touches, touches)])
    reached = reached_goals(space, own, other[:, None])
    for row, goal in product(range(len(own)), range(space.count)):
        assert reached[row, goal] == pays(space, goal, own[row], other[row])


def test_cooperative_goals_need_known_partners_at_the_same_step() -> None:
    space = GoalSpace(3)
    own = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.uint8)
    assert not reached_goals(space, own, None)[:, space.cooperative].any(), "not from the own touch, nor from a union over time"
    away = np.zeros((3, 1, 3), np.uint8)
    assert not reached_goals(space, own, away)[:, space.cooperative].any()
    beside = away.copy()
    beside[1, 0] = [0, 1, 0]
    np.testing.assert_array_equal(np.argwhere(reached_goals(space, own, beside)[:, 3:]), [[1, space.index((0, 1)) - 3]])


def trajectories(seed: int, steps: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Bodies that touch nothing or one landmark, for a few steps each."""
    random = np.random.default_rng(seed)
    touches = np.concatenate([np.zeros((3, 3), np.uint8), np.eye(3, dtype=np.uint8)])
    own, other = (touches[np.repeat(random.integers(0, 6, steps), random.integers(1, 4, steps))[: steps + 1]] for _ in range(2))
    return own, other


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_strategy_offers_what_brute_force_finds(strategy: Strategy, seed: int) -> None:
    space = GoalSpace(3)
    own, other = trajectories(seed)
    steps = len(own)
    peer = seed % space.count
    reached = reached_goals(space, own, other[:, None])
    offered = eligible_goals(
        [strategy], space, reached, reached_later(reached), reached_later(own_individual_goals(space, own)),
        np.full((steps, 1), peer, np.int32),
    )  # fmt: skip
    for t, goal in product(range(steps), range(space.count)):
        alone = len(space.sets[goal]) == 1
        later = any(pays(space, goal, own[k], other[k]) for k in range(t + 1, steps))
        own_later = alone and any(set(np.flatnonzero(own[k])) == set(space.sets[goal]) for k in range(t + 1, steps))
        wanted = {"own_individual": own_later, "future": later, "joint": later and not alone, "peer_goal": later and goal == peer}[strategy]
        assert (offered[t, goal] > 0) == (wanted and not pays(space, goal, own[t], other[t]))
    totals = offered.sum(axis=1)
    np.testing.assert_allclose(totals[totals > 0], 1, rtol=1e-6)


def test_strategies_share_evenly_and_draws_follow_the_probabilities() -> None:
    space = GoalSpace(3)
    later = np.array([[True, True, False, True, False, False]])
    nothing = np.zeros_like(later)
    probability = eligible_goals(["future", "joint", "peer_goal"], space, nothing, later, nothing, np.array([[5]], np.int32))
    np.testing.assert_allclose(probability[0], [1 / 6, 1 / 6, 0, 1 / 6 + 1 / 2, 0, 0], rtol=1e-6)
    random = np.random.default_rng(0)
    drawn = draw_goals(np.repeat(probability, 60_000, axis=0), random)
    np.testing.assert_allclose(np.bincount(drawn, minlength=6) / 60_000, probability[0], atol=0.01)
    assert draw_goals(np.zeros((3, 6), np.float32), random).tolist() == [-1, -1, -1]
