"""Compression: how much is lost, how many bytes it takes, and what is refused."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from protocols.averaging.compressors import BUCKET, Compressor, Quantise, TopK, largest_step, usual_step
from protocols.runtime.errors import BadMessage

COMPRESSORS: list[Compressor] = [TopK(0.01), TopK(0.1), TopK(1.0), Quantise(2), Quantise(4), Quantise(8)]
NAMES = ["top 1 %", "top 10 %", "all", "2 bits", "4 bits", "8 bits"]
ANY = pytest.mark.parametrize("compressor", COMPRESSORS, ids=NAMES)
VECTORS = arrays(np.float32, st.integers(0, 200), elements=st.floats(-1e3, 1e3, width=32))


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def shown(compressor: Compressor, vector: np.ndarray, seed: int = 0) -> np.ndarray:
    return compressor.added(np.zeros_like(vector), compressor.compress(vector, generator(seed)))


@given(vector=VECTORS, share=st.floats(0.01, 1.0))
@settings(deadline=None)
def test_top_k_keeps_the_largest(vector: np.ndarray, share: float) -> None:
    compressor = TopK(share)
    kept = shown(compressor, vector)
    wide = vector.astype(np.float64)
    assert np.square(wide - kept).sum() <= (1 - compressor.contraction) * np.square(wide).sum() * (1 + 1e-6) + 1e-9
    count = ceil(share * len(vector))
    assert ((kept == 0) | (kept == vector)).all() and np.count_nonzero(kept) <= count
    assert sorted(np.abs(kept), reverse=True)[:count] == sorted(np.abs(vector), reverse=True)[:count]


@pytest.mark.parametrize("bits", [2, 4, 8])
@given(vector=VECTORS, seed=st.integers(0, 2**32))
@settings(deadline=None)
def test_quantised_numbers_are_a_level_from_the_truth(bits: int, vector: np.ndarray, seed: int) -> None:
    compressor, top = Quantise(bits), 2 ** (bits - 1) - 1
    found = shown(compressor, vector, seed) / compressor.contraction
    for start in range(0, len(vector), BUCKET):
        part = slice(start, start + BUCKET)
        most = np.abs(vector[part]).max()
        assert (np.abs(found[part] - vector[part]) <= most / top * (1 + 1e-4) + 1e-30).all()


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("kind", ["normal", "heavy", "spike"])
def test_quantising_is_right_on_average_and_contracts(bits: int, kind: str) -> None:
    compressor = Quantise(bits)
    random = generator(1)
    vector = {"normal": random.normal(size=256), "heavy": random.standard_t(1.5, size=256), "spike": np.r_[1.0, np.full(255, 0.03)]}[kind]
    vector = vector.astype(np.float32)
    found = np.array([shown(compressor, vector, seed) for seed in range(2000)], np.float64)
    errors = np.square(found - vector).sum(axis=1)
    slack = 4 * errors.std() / np.sqrt(len(errors))
    assert errors.mean() <= (1 - compressor.contraction) * np.square(vector, dtype=np.float64).sum() + slack
    off = found.mean(axis=0) / compressor.contraction - vector
    step = np.repeat(np.abs(vector).reshape(-1, BUCKET).max(axis=1) / (2 ** (bits - 1) - 1), BUCKET)
    up = np.abs(vector) / step % 1.0  # how often it is rounded up
    scatter = step * np.sqrt(up * (1 - up) / len(found))
    assert (np.abs(off) <= 5 * scatter + 10 * step / len(found)).all()


def test_bytes() -> None:
    def size(compressor: Compressor) -> int:
        vector = generator().normal(size=6400).astype(np.float32)
        return sum(frame.nbytes for frame in compressor.compress(vector, generator()).values())

    assert [size(compressor) for compressor in COMPRESSORS] == [64 * 8, 640 * 8, 6400 * 8, 100 * 4 + 1600, 100 * 4 + 3200, 100 * 4 + 6400]


@ANY
def test_equal_draws_give_equal_bytes(compressor: Compressor) -> None:
    vector = generator().normal(size=500).astype(np.float32)
    one, two = (compressor.compress(vector, generator(3)) for _ in range(2))
    assert all((one[name] == two[name]).all() for name in one)


@ANY
@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 1001])
def test_any_length_and_zeros(compressor: Compressor, size: int) -> None:
    base = generator().normal(size=size).astype(np.float32)
    same = compressor.added(base, compressor.compress(np.zeros(size, np.float32), generator()))
    assert (same == base).all() and same is not base
    assert compressor.added(base, compressor.compress(base, generator())).shape == (size,)


def test_ties_go_to_the_lower_index() -> None:
    assert shown(TopK(0.5), np.array([1, -1, 1, -1], np.float32)).tolist() == [1, -1, 0, 0]


U4, F4, U1 = np.uint32, np.float32, np.uint8
GOOD: dict[str, dict[str, Any]] = {
    "top": {"index": np.array([1, 3], U4), "value": np.ones(2, F4)},
    "bits": {"scale": np.ones(1, F4), "level": np.array([0x77, 0x77], U1)},
}


@pytest.mark.parametrize(
    ("kind", "change", "code"),
    [
        ("top", {"index": np.array([3, 1], U4)}, "E_FRAME"),
        ("top", {"index": np.array([1, 1], U4)}, "E_FRAME"),
        ("top", {"index": np.array([1, 4], U4)}, "E_FRAME"),
        ("top", {"index": np.array([1, 3], np.int64)}, "E_FRAME"),
        ("top", {"index": np.array([1], U4), "value": np.ones(1, F4)}, "E_FRAME"),
        ("top", {"value": np.array([1, np.nan], F4)}, "E_NONFINITE"),
        ("top", {"value": np.array([1, 3e38], F4)}, "E_NONFINITE"),
        ("top", {"value": np.ones((2, 1), F4)}, "E_FRAME"),
        ("bits", {"scale": np.array([-1], F4)}, "E_FRAME"),
        ("bits", {"scale": np.array([np.inf], F4)}, "E_NONFINITE"),
        ("bits", {"level": np.array([0xF7, 0x77], U1)}, "E_FRAME"),
        ("bits", {"level": np.array([0x77], U1)}, "E_FRAME"),
        ("bits", {"level": None}, "E_FRAME"),
    ],
)
def test_what_is_refused(kind: str, change: dict[str, Any], code: str) -> None:
    compressor = TopK(0.5) if kind == "top" else Quantise(4)
    base = np.array([0, 0, 0, 3e38], np.float32)
    assert compressor.added(base, GOOD[kind]).shape == (4,)
    frames = {name: array for name, array in (GOOD[kind] | change).items() if array is not None}
    with pytest.raises(BadMessage, match=code):
        compressor.added(base, frames)
    assert base.tolist() == np.array([0, 0, 0, 3e38], np.float32).tolist()


def test_bits_behind_the_last_number_are_refused() -> None:
    with pytest.raises(BadMessage, match="behind the last"):
        Quantise(4).added(np.zeros(3, np.float32), {"scale": np.ones(1, F4), "level": np.array([0x77, 0x17], U1)})


def test_settings_and_steps() -> None:
    for wrong in (0.0, 1.1, -1.0):
        with pytest.raises(ValueError, match="share"):
            TopK(wrong)
    with pytest.raises(ValueError, match="2, 4 or 8"):
        Quantise(3)
    assert [largest_step(TopK(share)) for share in (0.01, 0.1, 0.5, 1.0)] == pytest.approx([0.05, 0.3, 1.0, 1.0])
    assert [compressor.contraction for compressor in COMPRESSORS[3:]] == pytest.approx([1 / 9, 1 / (1 + 16 / 49), 1 / (1 + 16 / 127**2)])
    assert usual_step(TopK(0.1)) == pytest.approx(0.15)
