"""Count-based rewards: their formulas in each scope, what a state is, what a checkpoint keeps."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from agent_node.contracts import TransitionBatch
from agent_node.intrinsic import state_counts
from agent_node.intrinsic.settings import CountSettings
from agent_node.intrinsic.state_counts import CountBonus, StateCounts, StateHash
from tests.agent_node.grid_worlds import features, grid, observation, policy_spec, random_observations, rollout

A, B, C = (observation(grid(place)) for place in ((1, 1), (2, 1), (3, 2)))
KEY_IN_HAND = observation(grid((2, 1)), (5, 3))
ONCE, TWICE, THRICE = 1.0, 2**-0.5, 3**-0.5


def step(before: NDArray[np.uint8], after: NDArray[np.uint8], begins: bool = False, row: int = 0) -> TransitionBatch:
    raw, following = before[None], after[None]
    return TransitionBatch(np.array([row]), features(raw), features(following), following, raw, np.array([begins]))


def bonus(**changes: Any) -> CountBonus:
    return CountBonus(CountSettings(**({"coefficient": 1.0} | changes)), policy_spec(), 2, 0)


def paid(curiosity: CountBonus, *path: NDArray[np.uint8], begins: bool = True, row: int = 0) -> list[float]:
    """Rewards along a path of observations."""
    steps = itertools.pairwise(path)
    return [float(curiosity.reward(step(*pair, begins=begins and not n, row=row))[0]) for n, pair in enumerate(steps)]


def test_lifelong_counts_go_on_in_the_next_episode_and_in_other_copies() -> None:
    curiosity = bonus(scope="lifelong", coefficient=0.5)
    assert paid(curiosity, A, B, A, B) == pytest.approx([0.5 * ONCE, 0.5 * TWICE, 0.5 * TWICE]), "A: the episode began there"
    assert paid(curiosity, A, B, row=1) == pytest.approx([0.5 * THRICE])


def test_episodic_counts_begin_anew_with_a_visit_of_the_first_observation() -> None:
    curiosity = bonus(scope="episodic")
    assert paid(curiosity, A, B, A, B, A) == pytest.approx([ONCE, TWICE, TWICE, THRICE])
    assert paid(curiosity, A, B, B) == pytest.approx([ONCE, TWICE])
    assert paid(curiosity, A, C, B, begins=False, row=0) == pytest.approx([ONCE, THRICE]), "the episode goes on"


def test_first_visits_of_an_episode_are_paid_by_lifelong_counts() -> None:
    curiosity = bonus(scope="first_visit")
    assert paid(curiosity, A, B, A, B, C) == pytest.approx([ONCE, 0, 0, ONCE])
    assert paid(curiosity, A, B, C) == pytest.approx([THRICE, TWICE]), "B: its third visit, C: its second"


def test_steps_of_one_tick_are_counted_one_after_the_other_and_paid_alike() -> None:
    """Equal states of two copies: both are counted before the rewards are computed, and the first observations before them."""
    raw, following = np.stack([A, A]), np.stack([B, B])
    batch = TransitionBatch(np.array([0, 1]), features(raw), features(following), following, raw, np.array([True, True]))
    curiosity = bonus(scope="lifelong")
    np.testing.assert_allclose(curiosity.reward(batch), TWICE, rtol=1e-6)
    assert paid(curiosity, B, A, begins=False) == pytest.approx([THRICE])


def test_states_are_the_whole_grid_and_what_is_carried_or_what_the_policy_sees() -> None:
    assert all(paid(bonus(), A, B, KEY_IN_HAND))
    both = policy_spec(partial=3)
    assert both.grids is not None and both.grids.partial is not None
    raw = np.zeros((2, both.grids.size), np.uint8)
    raw[1, both.grids.whole.start] = 1
    whole, seen = StateHash(both, "whole")(raw), StateHash(both, "observation")(raw)
    assert whole[0] != whole[1] and seen[0] == seen[1]


def test_hashes_tell_many_states_apart() -> None:
    raw = np.unique(random_observations(5000), axis=0)
    assert len(np.unique(StateHash(policy_spec(), "whole")(raw))) == len(raw)
    floats = np.random.default_rng(0).normal(size=(1000, policy_spec().observation[0])).astype(np.float32)
    assert len(np.unique(StateHash(policy_spec(), "observation")(floats))) == 1000


def test_metrics_tell_the_states_and_the_means_since_the_last_rollout() -> None:
    curiosity = bonus(scope="lifelong")
    paid(curiosity, A, B, A, B)
    found = curiosity.learn(rollout(1, 1))
    assert found == {"states": 2.0, "reward": pytest.approx((1 + 2 * TWICE) / 3), "first": pytest.approx(1 / 3)}
    assert curiosity.learn(rollout(1, 1)) == {"states": 2.0, "reward": 0.0, "first": 0.0}


def test_a_checkpoint_keeps_the_counts() -> None:
    curiosity, other = bonus(scope="lifelong"), bonus(scope="lifelong")
    paid(curiosity, A, B, A, B, KEY_IN_HAND)
    other.load_state_dict({name: tensor.clone() for name, tensor in curiosity.state_dict().items()})
    assert paid(curiosity, A, B, C, KEY_IN_HAND) == paid(other, A, B, C, KEY_IN_HAND)
    with pytest.raises(ValueError, match="visits is missing"):
        other.load_state_dict({"states": torch.zeros(1, dtype=torch.int64)})
    with pytest.raises(ValueError, match="1 states have 2 numbers"):
        other.load_state_dict({"states": torch.zeros(1, dtype=torch.int64), "visits": torch.zeros(2, dtype=torch.int64)})


def test_counts_grow_with_the_number_of_states() -> None:
    counts = StateCounts()
    numbers = counts.add(np.arange(5000, dtype=np.uint64))
    assert (numbers == np.arange(5000)).all() and (counts.visits(numbers) == 1).all()
    again = counts.add(np.array([4999, 7, 7], np.uint64))
    assert again.tolist() == [4999, 7, 7] and counts.visits(again).tolist() == [2, 3, 3] and len(counts) == 5000


def test_counted_states_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with continuous observations, of which hardly any returns."""
    monkeypatch.setattr(state_counts, "MOST_STATES", 10)
    counts = StateCounts()
    for start in (0, 8, 16):
        numbers = counts.add(np.arange(start, start + 8, dtype=np.uint64))
    assert len(counts) == 10 and set(numbers.tolist()) == {10} and counts.visits(numbers).tolist() == [1] * 8
    restored = StateCounts()
    restored.load_state_dict(counts.state_dict())
    for one in (counts, restored):
        assert one.visits(one.add(np.array([9, 99, 9], np.uint64))).tolist() == [3, 1, 3]
