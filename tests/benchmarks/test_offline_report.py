"""The page of learners from stored data is that of its files of results, and policies are the same with another number of entities."""

from __future__ import annotations

import csv
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agent_node.settings.builtin_components import register_builtin_components

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def report() -> Iterator[Any]:
    """The benchmark, whose modules find one another in their folder."""
    sys.path.insert(0, str(BENCHMARKS))
    register_builtin_components()
    yield importlib.import_module("offline_report")
    sys.path.remove(str(BENCHMARKS))


def test_the_page_has_the_tables_of_its_files(report: Any) -> None:
    text = report.DOCUMENT.read_text()
    for name, lines in report.tables().items():
        found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- end of {name} -->", text, re.DOTALL)
        assert found and found[1] == "\n".join(lines), f"{name}: write it anew by python benchmarks/offline_report.py"


def line(row: str, form: str, seed: int, *returns: float) -> dict[str, str]:
    counts = zip(("n3", "n5", "n10"), returns, strict=True)
    return {"data": "mixed", "form": form, "row": row, "seed": str(seed)} | {name: str(value) for name, value in counts}


def test_intervals_need_five_seeds_and_shards_are_compared_with_pooled_runs_of_the_same_seed(report: Any) -> None:
    lines = [line("bc", "pooled", seed, -17.0 + seed / 10, -22.0, -35.0) for seed in range(5)]
    lines += [line("bc", "shards", seed, -16.5 + seed / 10, -22.0, -35.0) for seed in (1, 0)]
    head, _, pooled = report.reference_table(lines, "mixed", "pooled")
    assert pooled.startswith("| `bc` | 5 | -16.8 [-17.0, -16.6] | -22.0") and pooled.endswith("| -15.1, -20.0, -31.1 |")
    assert "other implementation" in head
    head, _, shards = report.reference_table(lines, "mixed", "shards")
    assert shards.startswith("| `bc` | 2 | -16.5, -16.4 | ") and "| +0.5, +0.5 |" in shards and "above pooled" in head
    (nothing,) = report.reference_table(lines, "poisoned", "shards")
    assert nothing == "No runs yet: `python benchmarks/offline_reference.py run --data poisoned --form shards`."


def test_ratios_are_between_uniform_actions_and_the_policy_of_that_world(report: Any, tmp_path: Path) -> None:
    counts = report.transfer.COUNTS
    returns = {("random", "-", 0): dict.fromkeys(counts, -50.0), ("cover", "-", 0): dict.fromkeys(counts, -5.0)}
    for seed, there in ((0, -10.0), (1, -30.0), (2, -60.0)):
        returns["bc", "2", seed] = dict.fromkeys(counts, -20.0)
        returns["bc", "8", seed] = dict.fromkeys(counts, there)
    assert report.ratios(returns, "bc", "2", 8) == [0.75, 1.5], "the third policy is worse than uniform actions"
    assert report.ratios(returns, "bc", "2", 16) == [] == report.ratios(returns, "cql", "2", 8)
    (row,) = report.fourfold_table(returns)[2:]
    assert row == "| `bc` | 0.75, 1.50 | – | – |"
    assert report.own_table(returns)[-1].startswith("| `bc` | -20.0, -20.0, -20.0 | – |")
    (row,) = report.transfer_table(returns)[2:]
    assert row.startswith("| `bc` | 2 | 1.00, 1.00, 1.00 | – |") and "0.75, 1.50" in row
    report.picture(returns, tmp_path / "heat.svg")
    assert "1.12" in (tmp_path / "heat.svg").read_text(), "the mean of both"


def test_experiments_are_shown_by_their_factors(report: Any, tmp_path: Path) -> None:
    assert report.experiment_table("offline_faults", tmp_path) == [
        "No runs yet: `orchestrate experiment configs/experiments/offline_faults.yaml`."
    ]
    (tmp_path / "offline_faults").mkdir()
    with (tmp_path / "offline_faults" / "results.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["faults", "seed", "metric", "value"])
        lines.writerows([["none", 0, "return", -40.0], ["none", 0, "updates", 7]])
        lines.writerows([["death", 0, "return", -41.0], ["none", 1, "return", -42.0]])
    table = report.experiment_table("offline_faults", tmp_path)
    assert table[2:4] == ["| none | 2 | -40.0, -42.0 |", "| death | 1 | -41.0 |"]


@pytest.mark.parametrize("row", ["bcq_entities", "bcq_attention"])
def test_a_policy_over_entities_is_the_same_with_more_of_them_absent(report: Any, row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    transfer = report.transfer
    monkeypatch.setattr(transfer, "TRANSITIONS", 600)
    learner = transfer.trained(row, (2, 3), 0, updates=2)
    seen: list[np.ndarray[Any, Any]] = []

    def watch(world: Any, observed: Any, random: np.random.Generator) -> Any:
        chosen = []
        for slots in (2, 5):
            acting, view = transfer.fitted(learner, row, slots)
            own = view.view(world, 2)[0]
            goals, first = np.zeros((len(own), 0), np.float32), np.zeros(len(own), bool)
            chosen.append(acting.act(view.features.encode(own[:, None]), goals, None, first, False).actions[:, 0])
        seen.append(np.stack(chosen))
        return np.stack([chosen[0]] * 2).astype(np.int64)

    report.reference.play(watch, 2, 20, 0)
    two, five = np.concatenate(seen, axis=1)
    assert len(set(two.tolist())) > 1 and np.array_equal(two, five)


def test_parameters_of_a_policy_do_not_depend_on_the_number_of_entities(report: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report.transfer, "TRANSITIONS", 600)
    learner = report.transfer.trained("bcq_entities", (3,), 0, updates=2)
    fitted, observed = report.transfer.fitted(learner, "bcq_entities", 8)
    assert observed.features.size == 4 + 2 * 8 + 4 * 7
    for name, group in learner.parameter_groups().items():
        assert all(torch.equal(one, other) for one, other in zip(group, fitted.parameter_groups()[name], strict=True))


def test_fewer_landmarks_than_observed_are_zeros(report: Any) -> None:
    reference = report.reference
    _, seen, _, _ = reference.play(reference.UNIFORM, 2, 3, 0)
    own = seen[0][0]
    assert own.shape == (3, 18) and (own[:, 4:8] != 0).all() and not own[:, 8:10].any()
    assert (own[:, 10:12] != 0).all() and not own[:, 12:].any()


def test_the_chaser_goes_to_the_nearest_evader() -> None:
    chase = importlib.import_module("benchmarks.pursuit_chaser").chase
    pursuit = importlib.import_module("pettingzoo.sisl.pursuit_v5")
    environment = pursuit.parallel_env(n_pursuers=8, n_evaders=30)
    moved = 0
    for seed in range(3):
        observations, _ = environment.reset(seed=seed)
        inside = environment.unwrapped.env
        evaders = np.array([inside.evader_layer.get_position(number) for number in range(30)])
        for number, name in enumerate(environment.agents):
            apart = evaders - np.array(inside.pursuer_layer.get_position(number))
            steps = np.abs(apart)[(np.abs(apart) <= 3).all(axis=1)].sum(axis=1)
            (action,) = chase(name, observations[name].reshape(1, -1), np.random.default_rng(0))
            if len(steps) and steps.min() > 1:
                step = inside.pursuers[number].motion_range[action]
                assert np.abs(apart - step).sum(axis=1).min() == steps.min() - 1
                moved += 1
    environment.close()
    assert moved
