"""Which GPU a node gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.launch.host.host_resources import least_used, visible_gpus


@pytest.mark.parametrize(
    ("given", "there"),
    [("0,2", ["0", "2"]), (" 1 , GPU-8f6c ", ["1", "GPU-8f6c"]), ("", []), ("-1", []), (None, ["0", "2", "10"])],
)
def test_gpus_are_those_that_the_engine_gave_or_all(
    given: str | None, there: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("nvidia10", "nvidia0", "nvidia2", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_gpus(tmp_path) == there


def test_the_least_used_is_next() -> None:
    used: list[str] = []
    for _ in range(5):
        used.append(least_used(["a", "b"], used))
    assert used == ["a", "b", "a", "b", "a"]
    assert least_used(["a", "b"], ["a", "a", "b"]) == "b"
    assert least_used([], ["a"]) == ""
