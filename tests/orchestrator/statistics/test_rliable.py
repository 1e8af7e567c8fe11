"""Agreement with rliable, the reference implementation, where it can be imported (it is no dependency)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from orchestrator.results.statistics import estimate as aggregates
from orchestrator.results.statistics.curve_statistics import profile
from orchestrator.results.statistics.estimate import estimate
from orchestrator.results.statistics.group_comparison import probability_of_improvement
from orchestrator.results.statistics.runs_table import ScoreSample

try:
    from rliable import library, metrics
except Exception as reason:  # its dependencies fail in many ways: an AttributeError of an old pandas extension among them
    pytest.skip(f"rliable can't be imported: {reason!r}", allow_module_level=True)

NEAR = 0.006
RUNS, TASKS = 40, 4


def scores(seed: int, level: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Rates of success, runs by tasks: in [0, 1], as distributed as those of real runs."""
    generator = np.random.default_rng(seed)
    return np.clip(generator.normal(level + 0.1 * np.arange(TASKS), 0.1, (RUNS, TASKS)), 0, 1)


def sample(values: np.ndarray[Any, np.dtype[np.float64]]) -> ScoreSample:
    return ScoreSample({f"task {number}": column for number, column in enumerate(values.T)})


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (metrics.aggregate_iqm, aggregates.interquartile_mean),
        (metrics.aggregate_mean, aggregates.mean),
    ],
)
def test_aggregates(theirs: Callable[[Any], float], ours: aggregates.Aggregate) -> None:
    values = scores(0, 0.4)
    value, ends = library.get_interval_estimates(
        {"x": values}, lambda x: np.array([theirs(x)]), reps=1_000, random_state=np.random.RandomState(0)
    )
    found = estimate(sample(values), ours)
    assert found.value == pytest.approx(float(value["x"][0]), abs=1e-6)
    assert found.interval == pytest.approx(ends["x"].ravel().tolist(), abs=NEAR)


def test_profiles() -> None:
    values, tau = scores(1, 0.4), np.linspace(0, 1, 5)
    share, ends = library.create_performance_profile({"x": values}, tau, reps=1_000)
    found = profile(sample(values), tau)
    assert found.share == pytest.approx(share["x"], abs=1e-9)
    # A share moves by steps of 1 / 160 = 0.00625: the ends may lie one step apart.
    assert found.low == pytest.approx(ends["x"][0], abs=NEAR + 1 / (RUNS * TASKS))
    assert found.high == pytest.approx(ends["x"][1], abs=NEAR + 1 / (RUNS * TASKS))


def test_probability_of_improvement() -> None:
    one, two = scores(2, 0.45), scores(3, 0.4)
    value, ends = library.get_interval_estimates(
        {"x,y": (one, two)}, metrics.probability_of_improvement, reps=1_000, random_state=np.random.RandomState(0)
    )
    found = probability_of_improvement(sample(one), sample(two))
    assert found.value == pytest.approx(float(value["x,y"]), abs=1e-6)
    assert found.interval == pytest.approx(ends["x,y"].ravel().tolist(), abs=NEAR)
