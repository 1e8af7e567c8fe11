"""Curiosity: what is paid for, what never changes, what wears off."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from agent_node.contracts import PolicySpec, TransitionBatch
from agent_node.intrinsic.novelty import RND, BeBold, EpisodeVisits, Novelty
from agent_node.intrinsic.settings import BeBoldSettings, RNDSettings
from protocols.runtime.errors import ConfigurationError
from tests.agent_node.grid_worlds import features, grid, observation, policy_spec, random_observations, rollout

A, B, C = (observation(grid(place)) for place in ((1, 1), (2, 1), (3, 2)))
KEY_IN_HAND = observation(grid((2, 1)), (5, 3))


def step(before: NDArray[np.uint8], after: NDArray[np.uint8], begins: bool = False, row: int = 0) -> TransitionBatch:
    raw, following = before[None], after[None]
    return TransitionBatch(np.array([row]), features(raw), features(following), following, raw, np.array([begins]))


def bebold(**changes: Any) -> BeBold:
    return BeBold(BeBoldSettings(**({"coefficient": 1.0, "previous": 0.0} | changes)), policy_spec(), 2, 0)


def paid(curiosity: BeBold, *path: NDArray[np.uint8], begins: bool = True, row: int = 0) -> list[float]:
    """Rewards along a path of observations."""
    steps = itertools.pairwise(path)
    return [float(curiosity.reward(step(*pair, begins=begins and not n, row=row))[0]) for n, pair in enumerate(steps)]


def novelty(curiosity: RND, raw: NDArray[np.uint8]) -> float:
    return float(curiosity.novelty(features(raw[None]))[0])


def test_novelty_is_the_distance_between_two_networks() -> None:
    curiosity = bebold()
    inputs = torch.from_numpy(features(random_observations(5)))
    with torch.no_grad():
        difference = curiosity.novelty.predictor(inputs) - curiosity.novelty.target(inputs)
    wanted = difference.square().sum(dim=1).sqrt().numpy()
    np.testing.assert_allclose(curiosity.novelty(inputs.numpy()), wanted, rtol=1e-5)


def test_only_the_first_visit_in_an_episode_is_paid() -> None:
    curiosity = bebold()
    rewards = paid(curiosity, A, B, A, B, C, B, A)
    assert rewards == pytest.approx([novelty(curiosity, B), 0, 0, novelty(curiosity, C), 0, 0], rel=1e-4)
    assert rewards[0] > 0 and rewards[3] > 0


def test_what_the_agent_carries_is_part_of_where_it_is() -> None:
    assert all(reward > 0 for reward in paid(bebold(), A, B, KEY_IN_HAND))


def test_a_new_episode_is_a_new_table_in_which_its_first_observation_is() -> None:
    curiosity = bebold()
    assert paid(curiosity, A, B)[0] > 0
    rewards = paid(curiosity, B, A, B)
    assert rewards[0] > 0, "visited in the last episode, but not in this one"
    assert rewards[1] == 0, "where it began counts as visited"


def test_copies_have_tables_of_their_own() -> None:
    curiosity = bebold()
    assert paid(curiosity, A, B)[0] == paid(curiosity, A, B, row=1)[0] > 0
    assert paid(curiosity, A, B, begins=False) == [0.0]


def test_a_fall_of_novelty_pays_nothing_and_a_rise_pays_the_difference() -> None:
    curiosity = bebold(previous=1.0, coefficient=0.5)
    low, high = sorted((A, KEY_IN_HAND), key=lambda raw: novelty(curiosity, raw))
    rise = novelty(curiosity, high) - novelty(curiosity, low)
    assert rise > 1e-3
    assert paid(curiosity, high, low) == [0.0]
    assert paid(curiosity, low, high) == pytest.approx([0.5 * rise], rel=1e-3)
    half = bebold(previous=0.5)
    assert paid(half, high, low) == pytest.approx([max(novelty(half, low) - 0.5 * novelty(half, high), 0)], rel=1e-3)


def test_plain_novelty_is_paid_at_every_visit() -> None:
    curiosity = RND(RNDSettings(coefficient=0.1), policy_spec(), 1, 0)
    for _ in range(2):
        assert float(curiosity.reward(step(A, B))[0]) == pytest.approx(0.1 * novelty(curiosity, B), rel=1e-4)


@pytest.mark.parametrize("optimiser", ["rmsprop", "adam"])
def test_what_is_seen_often_is_no_longer_new_and_the_target_never_changes(optimiser: Any) -> None:
    curiosity = RND(RNDSettings(optimiser=optimiser, rollouts=4), policy_spec(), 8, 0)
    target, given = curiosity.novelty.target_vector.clone(), rollout(8, 8)
    losses = [curiosity.learn(given)["loss"] for _ in range(60)]
    assert losses[-1] < 0.7 * losses[0]
    assert torch.equal(curiosity.novelty.target_vector, target)
    assert float(curiosity.novelty.gradient.abs().max()) == 0.0, "gradients are cleared after each step"


def test_without_a_rectifier_at_the_end_novelty_goes_on_falling() -> None:
    """What the predictor's rectifier has shut has no slope: the target's other outputs stay out of its reach."""
    falls = {}
    for rectified in (True, False):
        settings = RNDSettings(optimiser="adam", rollouts=4, rectified=rectified, loss="squared")
        curiosity, given = RND(settings, policy_spec(), 8, 0), rollout(8, 8)
        losses = [curiosity.learn(given)["loss"] for _ in range(150)]
        falls[rectified] = losses[-1] / losses[0]
    assert falls[False] < 0.15 < 0.25 < falls[True]


@pytest.mark.parametrize("rectified", [True, False])
def test_the_loss_is_the_distance_or_half_its_square(rectified: bool) -> None:
    """Gradients of one part of a rollout, by both losses, for what a grid shows and for what it does not."""
    given = rollout(4, 2)
    for neighbourhood in (policy_spec(), PolicySpec((given.next_observation.shape[-1],), 0, (2,))):
        found = {}
        for loss in ("norm", "squared"):
            settings = RNDSettings(loss=loss, rectified=rectified, rollouts=2, learning_rate=1e-6)
            novelty = Novelty(settings, neighbourhood, 0)
            inputs = given.next_observation.flatten(0, 1)
            distance = (novelty.predictor(inputs) - novelty.target(inputs)).norm(dim=1)
            costs = distance if loss == "norm" else distance.square() / 2
            (costs.sum() / 2).backward()
            wanted = novelty.gradient.clone()
            novelty.gradient.zero_()
            kept: list[torch.Tensor] = []
            novelty.optimiser.step = lambda novelty=novelty, kept=kept: kept.append(novelty.gradient.clone())  # type: ignore[method-assign]
            novelty.learn(given)
            torch.testing.assert_close(kept[0], wanted, rtol=1e-4, atol=1e-5)
            found[loss] = wanted
        assert not torch.allclose(found["norm"], found["squared"])


def test_steps_that_do_not_count_teach_nothing() -> None:
    given, other = rollout(4, 4), rollout(4, 4)
    for each in (given, other):
        each.weight[1, 2] = 0.0
    other.next_observation = other.next_observation.clone()
    other.next_observation[1, 2] = 0.0
    vectors = []
    for each in (given, other):
        curiosity = RND(RNDSettings(), policy_spec(), 4, 0)
        curiosity.learn(each)
        vectors.append(curiosity.novelty.vector)
    assert torch.equal(*vectors)


def test_means_over_the_steps_since_the_last_rollout_are_reported() -> None:
    curiosity = bebold()
    rewards = paid(curiosity, A, B, A)
    metrics = curiosity.learn(rollout(4, 4))
    assert metrics["reward"] == pytest.approx(np.mean(rewards)) and metrics["first"] == 0.5 and metrics["loss"] > 0
    assert "reward" not in curiosity.learn(rollout(4, 4))


def test_without_a_grid_there_is_novelty_but_no_count() -> None:
    plain = PolicySpec((4,), 0, (2,))
    assert Novelty(RNDSettings(), plain, 0)(np.ones((3, 4), np.float32)).shape == (3,)
    with pytest.raises(ConfigurationError, match="counts visits"):
        BeBold(BeBoldSettings(), plain, 1, 0)


def test_a_table_begins_in_the_midst_of_an_episode_if_it_must() -> None:
    visits = EpisodeVisits(1)
    row, goes_on = np.array([0]), np.array([False])
    assert visits.first(row, A[None], B[None], goes_on).tolist() == [True]
    assert visits.first(row, B[None], A[None], goes_on).tolist() == [False]


@pytest.mark.parametrize("optimiser", ["rmsprop", "adam"])
def test_novelty_outlives_a_restart(optimiser: Any) -> None:
    one, other = (RND(RNDSettings(optimiser=optimiser), policy_spec(), 4, seed) for seed in (0, 1))
    one.learn(rollout(4, 4))
    other.load_state_dict(one.state_dict())
    for curiosity in (one, other):
        curiosity.learn(rollout(4, 4, seed=1))
    assert torch.equal(one.novelty.vector, other.novelty.vector) and novelty(one, C) == novelty(other, C)
    for name in one.state_dict():
        with pytest.raises(ValueError, match="missing"):
            other.load_state_dict({key: tensor for key, tensor in one.state_dict().items() if key != name})
