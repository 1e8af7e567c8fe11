"""Averaging rules and conversations of a plugin in the working directory, in the processes of real runs."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.runs.system import REPOSITORY, SMALL, metrics, orchestrate

pytestmark = [pytest.mark.runs, pytest.mark.cluster, pytest.mark.timeout(200)]
CONFIG = REPOSITORY / "configs" / "logical_4agents_ring.yaml"
PLUGINS = Path(__file__).parent / "plugins"
RUN = [
    *(change for change in SMALL if not change.startswith(("until", "supervision", "exchange"))),
    "until={steps: 900}",
    "agents.count=2",
    "faults=null",
    "exchange.consensus.every={updates: 5}",
]


def up(tmp_path: Path, *words: str, plugins: str = "[lab_averaging]") -> subprocess.CompletedProcess[str]:
    for name in ("lab_averaging", "lab_census"):
        shutil.copy(PLUGINS / f"{name}.py", tmp_path)
    return orchestrate(tmp_path / "runs", "up", str(CONFIG), "--name", "one", "--plain", *RUN, f"plugins={plugins}", *words, timeout=150)


@pytest.mark.parametrize(
    "rule", [["exchange.consensus.mode=lazy", "exchange.consensus.options={pull: 0.25}"], ["exchange.consensus.mode=half"]]
)
def test_a_rule_of_a_plugin_averages_the_models_of_a_run(tmp_path: Path, rule: list[str]) -> None:
    done = up(tmp_path, *rule)
    assert done.returncode == 0, done.stdout + done.stderr
    directory = tmp_path / "runs" / "one"
    for agent in ("agent-0", "agent-1"):
        rounds = metrics(directory, agent, "consensus.rounds")
        assert sum(rounds) >= 10
        assert not any(metrics(directory, agent, "consensus.missing"))
    recorded = json.loads((directory / "config.json").read_text())
    assert recorded["plugins"] == ["lab_averaging"]


@pytest.mark.parametrize("clock", ["logical", "wall"])
def test_a_conversation_of_a_plugin_runs_between_agents(tmp_path: Path, clock: str) -> None:
    done = up(tmp_path, "exchange.components=[{kind: census, every: 5}]", f"clock={clock}", plugins="[lab_census]")
    assert done.returncode == 0, done.stdout + done.stderr
    for agent in ("agent-0", "agent-1"):
        known = metrics(tmp_path / "runs" / "one", agent, "census.updates")
        assert known == sorted(known) and known[-1] > 0
        log = (tmp_path / "runs" / "one" / "nodes" / agent / "log.txt").read_text()
        assert "E_AUTH" not in log and "E_DECODE" not in log


def test_a_mistake_in_the_options_of_a_rule_is_found_before_the_run(tmp_path: Path) -> None:
    done = up(tmp_path, "exchange.consensus.mode=lazy", "exchange.consensus.options={pull: 7}")
    assert done.returncode == 3 and "options.pull of the rule lazy" in done.stdout + done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_plugin_that_is_missing_ends_the_command_with_its_name(tmp_path: Path) -> None:
    done = up(tmp_path, plugins="[lab_averagin]")
    assert done.returncode == 3 and "plugin lab_averagin: there is no module lab_averagin" in done.stdout + done.stderr
