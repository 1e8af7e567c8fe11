"""Keys that are set and have no effect are warned about, and shipped configurations have none."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config.checks.machine_resources import MachineResources
from orchestrator.config.loader import load

CONFIGS = Path(__file__).parents[3] / "configs"
LARGE = MachineResources(cores=1e6, memory=2**60, gpu=False)


def unused(config: str, *overrides: str) -> list[str]:
    loaded = load(CONFIGS / config, list(overrides), machine=LARGE)
    return [problem.path for problem in loaded.warnings if "has no effect" in problem.text]


@pytest.mark.parametrize(
    ("config", "override"),
    [
        ("odmar/greedy.yaml", "agents.world_model.horizon=3"),
        ("odmar/greedy.yaml", "agents.world_model.imagination.every=100"),
        ("odmar/greedy.yaml", "agents.world_model.imagination.max_uncertainty=1"),
        ("odmar/greedy.yaml", "agents.world_model.imagination.reward_cell_size=1"),
        ("odmar/optimistic.yaml", "agents.world_model.imagination.max_uncertainty=1"),
        ("odmar/optimistic.yaml", "agents.optimism.reward_weight=2"),
        ("amigo/rnd.yaml", "agents.curiosity.weight=2"),
    ],
)
def test_a_key_without_effect_is_named(config: str, override: str) -> None:
    assert unused(config) == []
    assert unused(config, override) == [override.partition("=")[0]]


def test_what_changes_cells_means_nothing_to_positions() -> None:
    given = ("agents.teacher.changed_by=any_agent", "agents.teacher.reached=position")
    assert unused("amigo/default.yaml", given[0]) == []
    assert unused("amigo/default.yaml", *given) == ["agents.teacher.changed_by"]


def test_the_same_keys_have_an_effect_elsewhere() -> None:
    imagination = "agents.world_model.imagination"
    learned = (f"{imagination}.reward=learned", f"{imagination}.reward_cell_size=1", "agents.optimism.reward_weight=2")
    assert unused("odmar/optimistic.yaml", *learned) == []
    assert unused("odmar/far.yaml", f"{imagination}.max_uncertainty=1") == []
    assert unused("4agents_ring.yaml", "agents.world_model.horizon=3") == []
