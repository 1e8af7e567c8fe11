"""Sketches: linear, repeatable, and right within their own statistical error."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.averaging.projection_sketch import Projection, disagreement


def test_sketches_are_linear() -> None:
    random = np.random.default_rng(0)
    projection = Projection(7)
    x, y = random.normal(size=(2, 20_000))
    combined = projection.sketch(2.5 * x - 0.3 * y)
    apart = 2.5 * projection.sketch(x) - 0.3 * projection.sketch(y)
    assert np.allclose(combined, apart, rtol=1e-9, atol=1e-9 * np.linalg.norm(combined))


def test_everybody_with_the_seed_has_the_same_projection_whatever_is_cached() -> None:
    x = np.random.default_rng(1).normal(size=30_000)
    kept, not_kept = Projection(7), Projection(7, cache=0)
    expected = kept.sketch(x)
    for projection in (kept, not_kept, Projection(7)):
        assert np.array_equal(projection.sketch(x), expected)
    assert len(kept._kept) == 4 and not not_kept._kept
    assert not np.allclose(Projection(8).sketch(x), expected)


def test_a_prefix_meets_the_same_columns() -> None:
    x = np.random.default_rng(2).normal(size=9_000)
    padded = np.concatenate([x, np.zeros(20_000)])
    assert np.allclose(Projection(3).sketch(x), Projection(3).sketch(padded), rtol=1e-12)


def test_entries_are_plus_or_minus_one_over_root_s_and_balanced() -> None:
    unit = np.eye(64)
    columns = np.sqrt(32) * np.array([Projection(5).sketch(row) for row in unit])
    assert np.allclose(np.abs(columns), 1.0)
    assert abs(columns.mean()) < 4 / np.sqrt(columns.size)
    correlation = columns.T @ columns / 64 - np.eye(32)
    assert np.abs(correlation).max() < 5 / np.sqrt(64), "rows are independent"


def test_blocks_of_columns_neither_repeat_nor_overlap() -> None:
    projection = Projection(5)
    one, two = ({tuple(column) for column in projection._signs(block, 8192)} for block in (0, 1))
    assert len(one) > 8190 and len(one & two) <= 2, "of 2^32 columns two blocks of 8192 have one in common with probability 0.016"


def test_squared_lengths_are_kept_with_the_predicted_variance() -> None:
    x = np.random.default_rng(3).normal(size=400)
    trials = 2000
    estimates = np.array([np.square(Projection(seed).sketch(x)).sum() for seed in range(trials)])
    variance = 2 / 32 * (np.square(x).sum() ** 2 - (x**4).sum())
    assert abs(estimates.mean() - np.square(x).sum()) < 4 * np.sqrt(variance / trials)
    assert estimates.var() == pytest.approx(variance, rel=0.15)


def test_disagreement_is_estimated_from_sketches() -> None:
    random = np.random.default_rng(4)
    vectors = 3.0 + random.normal(size=(8, 1000)) * np.linspace(0.1, 2, 8)[:, None]
    truth = disagreement(vectors)
    assert truth == pytest.approx(np.sqrt(np.square(vectors - vectors.mean(axis=0)).sum(axis=1).mean()))
    squares = [disagreement(np.array([Projection(seed).sketch(v) for v in vectors])) ** 2 for seed in range(200)]
    # With centred X [n, d] and Gram matrix G = X X', Var |R X|_F^2 = (2 / s)(|G|_F^2 - ...) <= (2 / s) |G|_F^2.
    centred = vectors - vectors.mean(axis=0)
    deviation = np.sqrt(2 / 32) * np.linalg.norm(centred @ centred.T) / len(vectors)
    assert abs(np.mean(squares) - truth**2) < 4 * deviation / np.sqrt(200)
    assert np.std(squares) < 1.3 * deviation


def test_equal_models_agree() -> None:
    assert disagreement(np.ones((4, 10))) == 0.0


def test_rows_must_fill_bytes() -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        Projection(0, rows=12)
