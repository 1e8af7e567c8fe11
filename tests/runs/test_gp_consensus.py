"""The distributed Gaussian process by itself, through real processes: errors over rounds fall at the rate of the graph's spectrum."""

from __future__ import annotations

import json
from math import log
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.runs.system import REPOSITORY, orchestrate

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]
CONFIG = REPOSITORY / "configs" / "odmar" / "gp_consensus_demo.yaml"
ROUNDS = 90
SMALL = [
    "until={steps: 195}",
    "environment.options.horizon=25",
    "agents.world_model.features=36",
    "exchange.statistics.min_transitions=100",
    f"exchange.statistics.rounds={ROUNDS}",
]


def test_a_star_of_five_averages_at_the_rate_of_its_graph(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    done = orchestrate(runs, "up", str(CONFIG), "--name", "star", "network.topology.kind=star", *SMALL, timeout=200)
    directory = runs / "star"
    assert done.returncode == 0, done.stdout + done.stderr
    assert "statistics contraction a round 0.800 (predicted 0.800)" in " ".join(done.stdout.split())
    figures: dict[str, dict[int, float]] = {}
    for line in (directory / "nodes" / "run" / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        figures.setdefault(row["name"], {})[row["step"]] = row["value"]
    disagreement = figures["statistics.disagreement"]
    assert list(disagreement) == list(range(1, ROUNDS + 1)), "every round of one session"
    slope = np.polyfit(range(20, 80), np.log([disagreement[k] for k in range(20, 80)]), 1)[0]
    assert slope == pytest.approx(log(0.8), rel=0.02)
    nearest = figures["statistics.disagreement_min"]
    assert nearest[1] < 1e-13 < 1e-2 < disagreement[1], "the hub is exact after one round, the leaves are not"

    states = [load_file(max((directory / "nodes" / f"agent-{i}" / "checkpoints").glob("*.safetensors"))) for i in range(5)]
    own = np.array([state["statistics/machine/own"] for state in states])
    total = own.sum(axis=0)
    errors = np.array([np.abs(5 * state["statistics/machine/x"][: own.shape[1]] - total).max() for state in states]) / np.abs(total).max()
    assert 0 < errors[1:].max() < 1e-7 and errors[0] < 1e-13, "0.8^90 is 2e-9"
