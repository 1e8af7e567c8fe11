"""Setting up: the pieces of scripts/setup_env.py, and (slow) a fresh clone from nothing to a run."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("setup_env", ROOT / "scripts" / "setup_env.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pins(script: ModuleType) -> None:
    text = "# torch==1.0\nnumpy==2.4.6\nTorch==2.13.0  # the learner's\ntorch_geometric==2.0\n"
    assert script.pinned(text, "torch") == "2.13.0"
    assert script.pinned(text, "torch-geometric") == "2.0"
    with pytest.raises(script.SetupError, match="scipy==VERSION"):
        script.pinned(text, "scipy")


@pytest.mark.parametrize(
    ("installed", "fits"),
    [("2.13.0", True), ("2.13.0+cpu", True), ("2.13.0+cu128", True), ("2.13.1", False), ("2.1", False), (None, False)],
)
def test_a_local_label_does_not_matter(script: ModuleType, installed: str | None, fits: bool) -> None:
    assert script.fits(installed, "2.13.0") is fits


def test_the_digest_changes_with_everything_it_depends_on(script: ModuleType) -> None:
    base = script.digest([b"a", b"b"], "3.11")
    others = [
        script.digest(*args) for args in (([b"a", b"c"], "3.11"), ([b"ab", b""], "3.11"), ([b"b", b"a"], "3.11"), ([b"a", b"b"], "3.12"))
    ]
    assert base == script.digest([b"a", b"b"], "3.11") and base not in others and len(set(others)) == 4


def test_a_stamp_is_current_for_its_digest_and_up_to_its_extras(script: ModuleType) -> None:
    stamp = json.dumps({"digest": "d", "extras": ["test"]})
    assert script.is_current(stamp, "d", set()) and script.is_current(stamp, "d", {"test"})
    assert not script.is_current(stamp, "d", {"dev"}) and not script.is_current(stamp, "e", set())
    for broken in (None, "", "{", "[]", '{"digest": "d"}', '{"digest": "d", "extras": 3}'):
        assert not script.is_current(broken, "d", set())


def test_torch_is_looked_for_where_it_is_small_first(script: ModuleType) -> None:
    def letters(*args: object) -> list[str]:
        return [description[:3] for description, _ in script.torch_sources("2.13.0", *args)]

    assert letters("Linux", False, None) == ["(b)", "(c)", "(d)"]
    assert letters("Linux", True, None) == letters("Darwin", False, None) == ["(b)", "(d)"]
    assert letters("Linux", True, "https://example.org/cu128") == ["(b)", "(c)", "(d)"]
    sources = script.torch_sources("2.13.0", "Linux", False, "https://example.org/cpu")
    assert "https://example.org/cpu" in sources[1][1] and "gigabytes" in sources[2][0]
    assert "--no-index" in sources[0][1] and all("torch==2.13.0" in arguments for _, arguments in sources)
    assert not any("--dry-run" in arguments for _, arguments in sources), "pip downloads the whole wheel for it"


def test_constraints_hold_names_and_versions_only() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(lines) > 30
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line), line
    assert not [line for line in lines if line.startswith(("nvidia-", "triton=="))]


def make(directory: Path, *arguments: str, timeout: float) -> tuple[subprocess.CompletedProcess[str], float]:
    begun = time.monotonic()
    kept = {name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "PYTHONPATH", "MAKEFLAGS"}}
    done = subprocess.run(
        ["make", *arguments, f"PYTHON={sys.executable}"],
        cwd=directory,
        env=kept,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return done, time.monotonic() - begun


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(1800)
def test_a_fresh_clone_comes_up_and_the_second_start_is_quick(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True, timeout=60)
    first, _ = make(clone, "up", "ARGS=until.time=5s evaluation.final_episodes=64 --plain", timeout=1500)
    assert first.returncode == 0, first.stdout[-2000:] + first.stderr[-2000:]
    assert "1/5" in first.stdout and "5/5" in first.stdout and re.search(r"torch \S+ installed", first.stdout)
    runs = list((clone / "runs").glob("*/run.json"))
    assert [json.loads(run.read_text())["state"] for run in runs] == ["DONE"]

    second, taken = make(clone, "setup", timeout=60)
    assert second.returncode == 0 and second.stdout.strip().endswith("up to date") and taken < 5.0
    dry, taken = make(clone, "up", "ARGS=--dry-run", timeout=60)
    assert dry.returncode == 0 and taken < 5.0

    if not Path("/proc/driver/nvidia/version").exists():
        packages = subprocess.run([clone / ".venv/bin/python", "-m", "pip", "list"], capture_output=True, text=True, check=True, timeout=60)
        assert "nvidia" not in packages.stdout and "triton" not in packages.stdout
