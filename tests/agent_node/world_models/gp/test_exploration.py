"""What optimism and sharing are worth where reward is far away: the planner of `benchmarks/track.py` in the real model, no network."""

from __future__ import annotations

import numpy as np
import pytest

from agent_node.world_models.gp.gp_model import GPModel
from benchmarks import track

SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))]
GREATEST = track.best(0.0)
TEAM_GREATEST = float(np.mean([track.best(start) for start in track.TEAM]))


def first(kind: str, strength: float, seed: int = 0, **more: object) -> int:
    """Number of the first episode that pays: a large one for never."""
    return track.explore(kind, strength, seed=seed, **more).all or 99  # type: ignore[arg-type]


# --- the planner --------------------------------------------------------------------------------------------------------------------


def test_who_knows_the_track_earns_the_known_optimum() -> None:
    """Ten steps from 0, all others at the site: 30 - 10 x 0.05. The average of the four starts is 24.8."""
    assert pytest.approx(29.5, abs=0.02) == GREATEST
    assert pytest.approx(24.8, abs=0.05) == TEAM_GREATEST
    table = track.look_back(track.move(track.PLACES[:, None], track.ACTIONS[None])[:, :, None], np.zeros((161, 5)), track.COST)
    played = [track.play(table, start, np.random.default_rng(0)).earned(track.COST) for start in track.TEAM]
    assert np.mean(played) == pytest.approx(TEAM_GREATEST, abs=0.05), "plans are executed where the model is true"


def test_luck_is_bounded_by_the_models_uncertainty_and_by_the_walls() -> None:
    """In a model without data nothing moves, and sigma is 1: eta moves beta a step, and nothing passes the walls."""
    model = GPModel(track.settings_of(), track.LINE, 0, 0)
    assert not track.plan(model, None, 0.0)[0, 80].any(), "greedy: from 0 nothing leads anywhere"
    for beta in (1.0, 2.0):
        values = track.plan(model, track.optimism_of("hallucination", beta), 0.0)[0].max(axis=1)
        steps = np.ceil((track.SITE - track.RADIUS + 1e-9 - track.PLACES[:60:20]) / beta)
        assert values[:60:20] == pytest.approx(track.HORIZON - steps, abs=0.3)


# --- one agent (T8) -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_greedy_never_finds_what_hallucination_finds_within_eight_episodes(seed: int) -> None:
    greedy = track.explore("greedy", seed=seed)
    assert greedy.all is None and all(earned == [0.0] for earned in greedy.earned), "it does not move"
    lucky = track.explore("hallucination", 1.0, seed=seed)
    assert lucky.all is not None and 5 <= lucky.all <= 8
    assert all(lucky.mean(episode) <= 0 for episode in range(1, lucky.all))
    assert lucky.mean(track.EPISODES) == pytest.approx(29.5, abs=0.1), "and then it does what can be done"


@pytest.mark.parametrize("seed", SEEDS)
def test_more_optimism_than_the_model_warrants_is_slower(seed: int) -> None:
    one, two = first("hallucination", 1.0, seed), first("hallucination", 2.0, seed)
    assert one < two <= track.EPISODES


@pytest.mark.parametrize("seed", SEEDS)
def test_a_bonus_above_the_price_of_moving_finds_it(seed: int) -> None:
    assert 6 <= first("bonus", 0.2, seed) <= 9
    assert 4 <= first("bonus", 1.0, seed) <= 8


@pytest.mark.parametrize("seed", SEEDS)
def test_a_bonus_below_the_price_of_moving_finds_nothing_unless_moving_is_free(seed: int) -> None:
    assert track.explore("bonus", 0.05, seed=seed).earned == [[0.0]] * track.EPISODES
    assert first("bonus", 0.05, seed, cost=0.0) <= 5


def test_the_price_is_the_one_that_the_kernel_predicts() -> None:
    """After standing still, action a is learnt up to sigma(a) = sqrt(1 - exp(-a^2 / l^2)): the bonus must exceed cost |a| / sigma(a) for
    some a, here 1/2. With a shorter length-scale l a weight of 0.05 is enough."""
    for length in (1.2, 0.84):
        settings = track.settings_of(action=length)
        threshold = track.COST * 0.5 / (1 - np.exp(-((0.5 / length) ** 2))) ** 0.5
        assert (threshold < 0.05) == (length < 1)
        for factor, moves in ((0.95, False), (1.05, True)):
            run = track.explore("bonus", factor * threshold, episodes=3, settings=settings)
            assert any(earned != [0.0] for earned in run.earned[1:]) == moves


@pytest.mark.parametrize("place", [0.7, 1.4])
@pytest.mark.parametrize("action", [1.0, pytest.param(0.7, marks=pytest.mark.slow), pytest.param(1.4, marks=pytest.mark.slow)])
def test_the_ordering_does_not_hang_on_the_length_scales(place: float, action: float) -> None:
    settings = track.settings_of(0.12 * place, 1.2 * action)
    assert track.explore("greedy", settings=settings).all is None
    run = track.explore("hallucination", 1.0, settings=settings)
    assert run.all is not None and run.all <= 9
    assert run.mean(track.EPISODES) == pytest.approx(GREATEST, abs=0.2)
    assert run.all < first("hallucination", 2.0, settings=settings)
    assert first("bonus", 0.2, settings=settings) <= 14
    assert first("bonus", 1.0, settings=settings) <= 11


def test_variance_that_features_lack_is_believed_in_for_good() -> None:
    """The reason for 256 features: a hallucinating agent counts on a deviation that no datum takes away, and stops beside the site."""
    few, many = track.settings_of(features=64), track.settings_of()
    missing = [float(model.basis.missing(model.parameters)) for model in (GPModel(s, track.LINE, 0, 0) for s in (few, many))]
    assert missing[0] > 0.03 and missing[1] < 1e-3
    assert first("hallucination", 1.0, settings=few) > track.EPISODES >= first("hallucination", 1.0, settings=many)


# --- four agents (T9) ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("kind", "strength"), [("hallucination", 1.0), ("bonus", 0.2)])
def test_what_one_has_seen_all_know(kind: str, strength: float, seed: int) -> None:
    shared = track.explore(kind, strength, track.TEAM, shared=True, episodes=8, seed=seed)
    assert shared.all is not None and shared.all <= 6
    assert shared.mean(8) == pytest.approx(24.8, abs=0.15)
    first, *others = (model.posterior for model in shared.models)
    for other in others:
        assert other.weights.numpy().tobytes() == first.weights.numpy().tobytes()
        assert other.factor.numpy().tobytes() == first.factor.numpy().tobytes()
    isolated = track.explore(kind, strength, track.TEAM, shared=False, episodes=8, seed=seed)
    assert isolated.all is None, "they are half way when the team is through"
    assert isolated.mean(8) < 17


def test_nothing_comes_of_sharing_nothing() -> None:
    for shared in (True, False):
        run = track.explore("greedy", starts=track.TEAM, shared=shared, episodes=6)
        assert run.all is None and run.earned == [[0.0] * 4] * 6
