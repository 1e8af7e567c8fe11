"""100,000 messages of each kind: mean, spread, loss, correlation and rate match the settings, within three standard errors."""

from __future__ import annotations

from math import exp, log, sqrt
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from protocols.faults.fault_draws import KeyedDraws
from protocols.faults.fault_schedule import compile_schedule
from protocols.faults.link_effects.faulty_links import FaultyLinks, LinkOutcome
from protocols.faults.settings import LinkRule

MESSAGES = 100_000
SIGMAS = 3.0
NODES = ["a-0", "a-1", "a-2"]


def links(own: str = "a-0", seed: int = 7, **rule: Any) -> FaultyLinks:
    return FaultyLinks(compile_schedule(None, [LinkRule.model_validate({"id": "wan", **rule})], NODES), seed, own)


def fates(model: FaultyLinks, dst: str = "a-1", count: int = MESSAGES) -> list[LinkOutcome]:
    return [model.link_outcome(dst, "peer", "average", seq, 1000, 0.0) for seq in range(1, count + 1)]


def delays(dst: str = "a-1", own: str = "a-0", **delay: Any) -> NDArray[np.float64]:
    return np.array([link_outcome.copies[0] for link_outcome in fates(links(own, delay=delay), dst)])


def mean_within(values: NDArray[Any], mean: float, deviation: float | None = None) -> None:
    error = (values.std() if deviation is None else deviation) / sqrt(len(values))
    assert abs(values.mean() - mean) < SIGMAS * error, f"{values.mean()} is not {mean} +- {SIGMAS * error}"


def autocorrelation(values: NDArray[Any], lag: int = 1) -> float:
    return float(np.corrcoef(values[:-lag], values[lag:])[0, 1])


# --- delays --------------------------------------------------------------------------------------------------------------------------

M, S = 0.05, 0.02
FAMILIES: dict[str, tuple[dict[str, Any], float, float]] = {
    "uniform": ({"min": "10ms", "max": "90ms"}, 0.05, 0.08 / sqrt(12)),
    "normal": ({"mean": "500ms", "jitter": "20ms"}, 0.5, S),
    "lognormal": ({"mean": "50ms", "jitter": "20ms"}, M, S),
    "exponential": ({"mean": "50ms"}, M, M),
}


@pytest.mark.parametrize("dist", FAMILIES)
def test_mean_and_spread(dist: str) -> None:
    parameters, mean, deviation = FAMILIES[dist]
    values = delays(dist=dist, **parameters)
    mean_within(values, mean, deviation)
    squares = (values - mean) ** 2
    mean_within(squares, deviation**2)


def test_a_pareto_distribution_has_its_mean_and_its_tail() -> None:
    values = delays(dist="pareto", mean="50ms", jitter="20ms")
    c = 1.0 + sqrt(1.0 + (M / S) ** 2)
    k = M * (c - 1.0) / c
    mean_within(values, M, S)
    for factor in (1.2, 1.5, 2.0, 3.0):
        mean_within((values > factor * k).astype(float), factor**-c)


def test_a_constant_is_one() -> None:
    assert set(delays(dist="constant", mean="50ms")) == {0.05}


def test_an_empirical_distribution_has_the_values_of_its_file_equally_often(tmp_path: Path) -> None:
    file = tmp_path / "delays.txt"
    file.write_text("# measured\n10ms\n20ms\n\n40ms  # twice\n40ms\n")
    values = delays(dist="empirical", file=str(file))
    assert set(values) == {0.01, 0.02, 0.04}
    for value, share in ((0.01, 0.25), (0.02, 0.25), (0.04, 0.5)):
        mean_within((values == value).astype(float), share)


def test_what_is_outside_of_the_bounds_is_set_to_them() -> None:
    values = delays(dist="exponential", mean="50ms", min="10ms", max="100ms")
    assert values.min() == 0.01
    assert values.max() == 0.1
    mean_within((values == 0.01).astype(float), 1 - exp(-0.2))
    mean_within((values == 0.1).astype(float), exp(-2.0))


@pytest.mark.parametrize("corr", [0.25, 0.9])
def test_correlated_delays_keep_their_distribution(corr: float) -> None:
    values = delays(dist="lognormal", mean="50ms", jitter="20ms", corr=corr)
    b = sqrt(log(1 + (S / M) ** 2))
    scores = (np.log(values) - (log(M) - b * b / 2)) / b
    # An AR(1) process of n values is worth n (1 - c) / (1 + c) independent ones.
    worth = MESSAGES * (1 - corr) / (1 + corr)
    assert abs(scores.mean()) < SIGMAS / sqrt(worth)
    assert abs(scores.var() - 1) < SIGMAS * sqrt(2 / (MESSAGES * (1 - corr**2) / (1 + corr**2)))
    error = SIGMAS * sqrt((1 - corr**2) / MESSAGES)
    assert abs(autocorrelation(scores) - corr) < error
    assert abs(autocorrelation(scores, 2) - corr**2) < 2 * error


def test_delays_without_correlation_have_none() -> None:
    assert abs(autocorrelation(delays(dist="normal", mean="500ms", jitter="20ms"))) < SIGMAS / sqrt(MESSAGES)


# --- loss ----------------------------------------------------------------------------------------------------------------------------


def lost(dst: str = "a-1", own: str = "a-0", **loss: Any) -> NDArray[np.float64]:
    return np.array([not link_outcome.copies for link_outcome in fates(links(own, loss=loss), dst)], float)


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5])
def test_bernoulli_loss(p: float) -> None:
    values = lost(p=p)
    mean_within(values, p, sqrt(p * (1 - p)))
    assert abs(autocorrelation(values)) < SIGMAS / sqrt(MESSAGES)


@pytest.mark.parametrize("corr", [0.3, 0.8])
def test_correlated_loss(corr: float) -> None:
    p = 0.1
    values = lost(p=p, corr=corr)
    mean_within(values, p, sqrt(p * (1 - p) * (1 + corr) / (1 - corr)))
    # The correlation is the probability that a message repeats the outcome before it: count those that follow a loss.
    after_loss = values[1:][values[:-1] == 1]
    chance = corr + (1 - corr) * p
    mean_within(after_loss, chance, sqrt(chance * (1 - chance)))


def test_gilbert_elliott_loses_in_bursts() -> None:
    to_bad, to_good, good, bad = 0.01, 0.2, 0.001, 0.9
    values = lost(model="gilbert_elliott", p_gb=to_bad, p_bg=to_good, loss_good=good, loss_bad=bad)
    share = to_bad / (to_bad + to_good)
    memory = 1 - to_bad - to_good
    mean = share * bad + (1 - share) * good
    # Covariance at lag k: (bad - good)^2 share (1 - share) memory^k.
    between = (bad - good) ** 2 * share * (1 - share)
    variance = mean * (1 - mean) + 2 * between * memory / (1 - memory)
    assert abs(values.mean() - mean) < SIGMAS * sqrt(variance / MESSAGES)
    expected = between * memory / (mean * (1 - mean))
    blocks = np.array([autocorrelation(block) for block in values.reshape(20, -1)])
    assert abs(blocks.mean() - expected) < SIGMAS * blocks.std(ddof=1) / sqrt(len(blocks))


# --- duplicates, reordering, damage, bandwidth ---------------------------------------------------------------------------------------


def test_duplicates_reordering_and_damage() -> None:
    model = links(
        duplicate={"p": 0.05, "gap": "5ms"}, reorder={"p": 0.02, "hold": "40ms"}, corrupt={"p": 0.01, "what": "header"}, delay="10ms"
    )
    found = fates(model)
    for share, values in (
        (0.05, [len(link_outcome.copies) == 2 for link_outcome in found]),
        (0.02, [link_outcome.reordered for link_outcome in found]),
        (0.01, [link_outcome.corrupt == "header" for link_outcome in found]),
    ):
        mean_within(np.array(values, float), share, sqrt(share * (1 - share)))
    assert {link_outcome.copies[1] - link_outcome.copies[0] for link_outcome in found if len(link_outcome.copies) == 2} <= {
        0.005,
        0.05 + 0.005 - 0.05,
        0.015 - 0.01,
    }
    assert {link_outcome.copies[0] for link_outcome in found} == {0.01, 0.01 + 0.04}
    damaged = [link_outcome.place for link_outcome in found if link_outcome.corrupt]
    mean_within(np.array(damaged), 0.5, sqrt(1 / 12))


def test_a_rate_is_kept_and_a_full_queue_loses() -> None:
    model = links(bandwidth={"rate": "8mbit", "queue": "20kB"})
    sent, size, every = MESSAGES, 1000, 0.0005  # twice as much as the link carries
    found = [model.link_outcome("a-1", "peer", "average", seq, size, seq * every) for seq in range(1, sent + 1)]
    left = [seq * every + link_outcome.copies[0] for seq, link_outcome in enumerate(found, start=1) if link_outcome.copies]
    assert np.all(np.diff(left) >= 0.001 - 1e-9), "no two messages of a kilobyte leave within a millisecond"
    assert abs(len(left) * size / (left[-1] - left[0]) - 1e6) < 1e6 / len(left) + 10
    waits = [link_outcome.copies[0] for link_outcome in found if link_outcome.copies]
    assert max(waits) <= 20_000 / 1e6 + 1e-9
    assert abs(len(left) / sent - 0.5) < 0.001
    assert all(link_outcome.queued for link_outcome in found[10:] if link_outcome.copies)


def test_a_free_link_only_takes_the_time_of_the_bytes() -> None:
    model = links(bandwidth={"rate": "8mbit", "queue": "20kB"})
    found = [model.link_outcome("a-1", "peer", "average", seq, 1000, seq * 0.01) for seq in range(1, 1000)]
    assert {round(link_outcome.copies[0], 9) for link_outcome in found} == {0.001}
    assert not any(link_outcome.queued for link_outcome in found)


# --- independence --------------------------------------------------------------------------------------------------------------------


def test_links_are_independent() -> None:
    """Of sender, receiver, direction, channel and rule: correlations between any two are those of independent numbers."""
    loss = {"p": 0.3}
    both = [lost("a-1", "a-0", **loss), lost("a-2", "a-0", **loss), lost("a-0", "a-1", **loss), lost("a-0", "a-2", **loss)]
    shifted = [*both, np.roll(both[0], 1)]
    matrix = np.corrcoef(shifted)
    pairs = matrix[np.triu_indices(len(shifted), 1)]
    assert np.abs(pairs).max() < 3.5 / sqrt(MESSAGES)  # the largest of ten


def test_effects_of_one_rule_are_independent_of_each_other() -> None:
    found = fates(links(loss=0.3, delay={"dist": "exponential", "mean": "50ms"}, duplicate={"p": 0.3}))
    alive = [link_outcome for link_outcome in found if link_outcome.copies]
    values = np.array([link_outcome.copies[0] for link_outcome in alive])
    doubled = np.array([len(link_outcome.copies) == 2 for link_outcome in alive], float)
    assert abs(np.corrcoef(values, doubled)[0, 1]) < SIGMAS / sqrt(len(alive))
    mean_within(values, M, M)  # what arrives is no faster than what is lost


def test_draws_are_uniform() -> None:
    draws = KeyedDraws(3, "x")
    values = np.array([draws.eight(seq) for seq in range(MESSAGES // 8)])
    assert values.min() > 0.0
    assert values.max() < 1.0
    counts = np.histogram(values, 100, (0, 1))[0]
    expected = values.size / 100
    chi = float(((counts - expected) ** 2 / expected).sum())
    assert abs(chi - 99) < SIGMAS * sqrt(2 * 99)
    normal = NormalDist()
    scores = np.array([normal.inv_cdf(value) for value in values[:, 0]])
    mean_within(scores, 0.0, 1.0)
