"""Shipped configurations by name, from a folder that is no checkout."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.config import shipped_configurations
from orchestrator.config.loader import load
from orchestrator.config.parsing.problems import Problems
from orchestrator.config.shipped_configurations import find_shipped, locate, shipped_folder
from protocols.runtime.errors import ResourceError, UsageError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["odmar/far", "odmar/far.yaml", "configs/odmar/far.yaml"])
def test_names(name: str) -> None:
    assert find_shipped(name) == locate(Path(name)) == ROOT / "configs" / "odmar" / "far.yaml"
    assert load(name).configuration.name == load(ROOT / "configs/odmar/far.yaml").configuration.name


def test_an_own_file_comes_before_a_shipped_one(tmp_path: Path) -> None:
    own = Path("configs/odmar/far.yaml")
    own.parent.mkdir(parents=True)
    own.write_text("extends: 4agents_ring\nname: mine\n")
    assert locate(own) == own and load(own).configuration.name == "mine"
    assert locate(Path("configs")) == Path("configs"), "a folder: its reader reports it"


def test_unknown_names() -> None:
    with pytest.raises(UsageError, match='no shipped configuration "odmar/fra"; did you mean "odmar/far"'):
        load("odmar/fra")
    with pytest.raises(Problems, match=r"missing.yaml  there is no such file"):
        load("missing.yaml")


def test_dictionaries(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("extends: 4agents_ring\nagents: {count: 3}\n")
    loaded = load({"extends": "base.yaml", "name": "given"}, ["until.time=20s"])
    assert (loaded.configuration.name, loaded.configuration.agents.count, loaded.configuration.until.time) == ("given", 3, 20.0)
    assert loaded.origins["name"] == "dictionary" and loaded.origins["agents.count"] == "base.yaml:2:17"
    assert loaded.source == "extends: base.yaml\nname: given\n"


def test_the_copy_in_an_installed_package_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "site-packages" / "orchestrator"
    monkeypatch.setattr(shipped_configurations, "_PACKAGE", installed)
    with pytest.raises(ResourceError, match="no shipped configurations"):
        shipped_folder()
    (installed / "shipped_configs").mkdir(parents=True)
    (installed / "shipped_configs" / "4agents_ring.yaml").touch()
    assert shipped_folder() == installed / "shipped_configs"


def test_commands_take_names(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "orchestrator", "--json"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([*command, "validate", "4agents_ring"], env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout)["ok"]
    subprocess.run([*command, "init", "mine"], env=environment, timeout=60, check=True, capture_output=True)
    assert (tmp_path / "mine.yaml").read_text().startswith("# yaml-language-server: $schema=")
