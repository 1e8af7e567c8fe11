"""The compiled kernels beside numpy's forms, which they equal bit for bit, and how the library is built and found."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols import kernels
from protocols.averaging.vector_arithmetic import Accumulator, weighted_differences
from protocols.kernels import build

needs_library = pytest.mark.skipif(kernels.library is None, reason="the kernels were not compiled: no C compiler at the installation")
TYPES = [np.float32, np.float64]
SIZES = [1, 1023, 1024, 5000, 70_001]


def both(compute: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """The result of the compiled form, and that of numpy's."""
    compiled = compute()
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "library", None)
        return compiled, compute()


@needs_library
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("size", SIZES)
def test_weighted_differences(size: int, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(size)
    vectors = [random.normal(size=size).astype(kind) * kind(10) ** random.integers(-8, 8) for _ in range(4)]
    compiled, plain = both(lambda: weighted_differences(vectors[0], vectors[1:], [0.2, 1 / 3, 0.11]), monkeypatch)
    np.testing.assert_array_equal(compiled, plain)
    exact = sum(weight * (other.astype(np.longdouble) - vectors[0]) for other, weight in zip(vectors[1:], [0.2, 1 / 3, 0.11], strict=True))
    np.testing.assert_allclose(compiled, exact.astype(np.float64), rtol=1e-9, atol=1e-12 * max(np.abs(v).max() for v in vectors))


@needs_library
@pytest.mark.parametrize("sums", TYPES)
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("size", SIZES)
def test_push_sum_rounds(size: int, kind: Any, sums: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def rounds() -> list[np.ndarray[Any, Any]]:
        random = np.random.default_rng(size)
        accumulator, results = Accumulator(size), []
        given: list[Any] = [None, random.normal(size=size).astype(sums)]
        for mass in (1.0, 0.7, 0.3):
            gifts = [(given[0], np.empty(size, sums), 1), (given[1], np.empty(size, sums), 2)]
            accumulator.give(random.normal(size=size).astype(kind), mass, mass / 3, gifts)
            given = [new for _, new, _ in gifts]
            taken = [(random.normal(size=size).astype(sums), None), tuple(random.normal(size=(2, size)).astype(sums))]
            results += [*given, accumulator.take(taken, 1 / mass), accumulator.y.copy(), accumulator.z.copy()]
        accumulator.give(random.normal(size=size).astype(kind), 0.5, 0.5, [])
        return [*results, accumulator.take([], 2.0), accumulator.y.copy()]

    for compiled, plain in zip(*both(rounds, monkeypatch), strict=True):
        np.testing.assert_array_equal(compiled, plain)


@needs_library
def test_what_the_kernels_do_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors with gaps, of different types or lengths, in another byte order, and at odd addresses, are numpy's."""
    whole = np.arange(20, dtype=np.float32)
    assert kernels.kind_of(20, whole, None) == "f4"
    odd = np.frombuffer(b"\0" * 81, np.float32, 20, offset=1)
    for other in (whole[::2], whole.astype(np.float64), whole[:10], whole.astype(">f4"), odd):
        assert kernels.kind_of(20, whole, other) is None
    with pytest.raises(ValueError, match="broadcast"):
        weighted_differences(whole, [whole[:10]], [0.5])
    accumulator = Accumulator(20)
    with pytest.raises(ValueError, match="broadcast"):
        accumulator.give(whole, 1.0, 0.5, [(whole[:10], np.empty(20, np.float32), 1)])
    with pytest.raises(ValueError, match="broadcast"):
        accumulator.take([(whole[:10], None)], 1.0)
    np.testing.assert_array_equal(weighted_differences(whole[::2], [whole[1::2]], [0.5]), np.full(10, 0.5))


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_the_library_is_that_of_its_source(tmp_path: Path) -> None:
    """A library built from another source is not used, and without a compiler none is made."""
    for file in (build.SOURCE, Path(build.__file__)):
        shutil.copy(file, tmp_path)
    script = str(tmp_path / "build.py")
    failed = subprocess.run(
        [sys.executable, script], env={"CC": "false", "PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=100
    )
    assert failed.returncode == 1 and not list(tmp_path.glob("*.so"))
    assert (
        "no C compiler"
        in subprocess.run([sys.executable, script], env={"CC": "missing-compiler"}, capture_output=True, text=True, timeout=100).stderr
    )
    assert subprocess.run([sys.executable, script], env={"CC": "env cc", "PATH": os.environ["PATH"]}, timeout=100).returncode == 0
    library = ctypes.CDLL(str(tmp_path / build.LIBRARY.name))
    library.source_digest.restype = ctypes.c_char_p
    assert library.source_digest().decode() == build.digest()


def test_a_source_folder_that_cant_be_written_is_a_reason_not_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build, "SOURCE", tmp_path / "missing" / build.SOURCE.name)
    monkeypatch.setattr(build, "digest", lambda: "")
    assert "can't write" in build.compile_kernels()


@needs_library
def test_numpy_on_request() -> None:
    environment = os.environ | {"MURMURATION_KERNELS": "numpy"}
    words = [sys.executable, "-c", "from protocols import kernels; print(kernels.library)"]
    assert subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60).stdout.strip() == "None"
