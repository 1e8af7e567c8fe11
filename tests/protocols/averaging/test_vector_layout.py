"""Groups of arrays as a vector and back; digests that differ whenever names, shapes or order do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from protocols.averaging.vector_layout import VectorLayout

SHAPES = st.dictionaries(
    st.text(min_size=1, max_size=5), st.lists(array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4), max_size=4), max_size=4
)


@given(SHAPES, st.integers(0, 2**32))
def test_unpack_inverts_pack(shapes: dict[str, list[tuple[int, ...]]], seed: int) -> None:
    random = np.random.default_rng(seed)
    groups = {name: [random.normal(size=shape).astype(np.float32) for shape in group] for name, group in shapes.items()}
    layout = VectorLayout.of(groups)
    vector = layout.pack(groups)
    assert vector.shape == (layout.size,) and vector.dtype == np.float32
    back = layout.unpack(vector)
    assert list(back) == list(groups)
    for name, arrays in groups.items():
        assert [a.shape for a in back[name]] == [a.shape for a in arrays]
        assert all(np.array_equal(a, b) for a, b in zip(back[name], arrays, strict=True))
    flat = [array.reshape(-1) for arrays in groups.values() for array in arrays]
    assert np.array_equal(vector, np.concatenate([vector[:0], *flat]))


@given(SHAPES, SHAPES)
def test_digests_are_equal_only_for_equal_layouts(one: dict[str, list[tuple[int, ...]]], two: dict[str, list[tuple[int, ...]]]) -> None:
    a, b = (VectorLayout.of({n: [np.zeros(s) for s in g] for n, g in groups.items()}) for groups in (one, two))
    assert (a.digest == b.digest) == (list(one.items()) == list(two.items()))


def test_digest_is_stable_across_processes() -> None:
    layout = VectorLayout((("critic", ((2, 3), (3,))), ("world_model", ((),))))
    assert layout.digest == "a01789d985b3fb19e5d943ecd89671afcd1d60527d5b952e69cc32fc4ee8cfa2"
    assert layout.size == 10


def test_what_does_not_fit_is_refused() -> None:
    layout = VectorLayout.of({"policy": [np.zeros((2, 3))]})
    with pytest.raises(ValueError, match="layout"):
        layout.pack({"policy": [np.zeros((3, 2))]})
    with pytest.raises(ValueError, match="layout"):
        layout.pack({"critic": [np.zeros((2, 3))]})
    with pytest.raises(ValueError, match="6 numbers"):
        layout.unpack(np.zeros(7))


def test_unpacked_arrays_are_views() -> None:
    layout = VectorLayout.of({"policy": [np.zeros((2, 3))]})
    vector = np.zeros(6)
    layout.unpack(vector)["policy"][0][1, 2] = 5.0
    assert vector[5] == 5.0
