"""How fast agents come to one Gaussian process by averaging, and whether the graph's spectrum predicts it: the runs of
docs/results/gp_consensus.md.

    python benchmarks/gp_consensus.py                            # four graphs x 5 seeds, each a real run of six processes; ten minutes
    python benchmarks/gp_consensus.py star --seeds 0             # one graph
    python benchmarks/gp_consensus.py --report                   # only the document, from the metrics that are kept

Each run is configs/odmar/gp_consensus_demo.yaml with another `network.topology` and seed. Runs that are there are not made again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gp_consensus_report as report
import numpy as np
import torch
from safetensors.numpy import load_file

from agent_node.session.observation_features import Features
from agent_node.world_models.gp.gp_model import GPModel
from agent_node.world_models.gp.gp_posterior import Posterior
from agent_node.world_models.gp.gp_statistics import Statistics
from agent_node.world_models.settings import GPSettings
from env_server.environments.registry import create
from env_server.settings import EnvironmentSettings

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIG = REPOSITORY / "configs" / "odmar" / "gp_consensus_demo.yaml"
NAMES = [f"agent-{i}" for i in range(report.AGENTS)]
QUERIES = 500
"""places and actions at which predictions are compared"""
Array = np.ndarray[Any, Any]


def play(runs: Path, kind: str, seed: int) -> Path:
    """Make a run if it is not there; its directory."""
    directory = runs / f"{kind}-{seed}"
    if not _done(directory):
        if directory.exists():
            directory.rename(runs / f"{directory.name}.failed-{len(list(runs.glob(directory.name + '.failed-*')))}")
        words = [sys.executable, "-m", "orchestrator", "--runs-dir", str(runs), "up", "--plain", str(CONFIG)]
        given = [f"network.topology.kind={kind}", "--seed", str(seed), "--name", directory.name]
        subprocess.run([*words, *given], cwd=REPOSITORY, check=True)
    return directory


def _done(directory: Path) -> bool:
    try:
        return bool(json.loads((directory / "run.json").read_text())["state"] == "DONE")
    except OSError:
        return False


# --- what a run has shown ---------------------------------------------------------------------------------------------------------------


def measured(directory: Path) -> dict[str, report.Curve]:
    """What the agents reported while they averaged (`disagreement`, `nearest`)."""
    found: dict[str, dict[int, float]] = {}
    for line in (directory / "nodes" / "run" / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        found.setdefault(row["name"], {})[int(row["step"])] = float(row["value"])
    after, before = found["statistics.disagreement"], found["statistics.disagreement_before"]
    first = min(after)
    curve = [(first - 1, before[first]), *sorted(after.items())]
    return {"disagreement": curve, "nearest": [(first, found["statistics.disagreement_min"][first])]}


def predictions(directory: Path, kind: str) -> report.Curve:
    """Largest difference, over agents, places and actions, between the mean that an agent predicts after k rounds and that of the model of
    all data, in units of a step. From the sums that each agent has published, which W^k mixes; `RuntimeError` unless all rounds of
    that give what the agents ended with."""
    states = [_state(directory, name) for name in NAMES]
    own = np.array([state["statistics/machine/own"] for state in states])
    size = own.shape[1]
    ended = np.array([state["statistics/machine/x"][:size] for state in states])
    weights, total = report.weights_of(kind), own.sum(axis=0)
    configuration = json.loads((directory / "config.json").read_text())
    most = int(configuration["exchange"]["statistics"]["rounds"])
    apart = float(np.abs(np.linalg.matrix_power(weights, most) @ own - ended).max() / np.abs(total).max())
    if apart > 1e-12:
        raise RuntimeError(f"{directory.name}: what the agents ended with is {apart:.1e} from what {most} rounds make of their sums")
    model, inputs = _model(configuration)
    if bytes(states[0]["world_model/model/basis_id"].tolist()).hex() != model.basis_id:
        raise RuntimeError(f"{directory.name} has another basis than its configuration describes")

    def mean(vector: Array) -> Array:
        sums = Statistics.unpack(vector, model.basis, outputs=2)
        return np.asarray(Posterior.of(model.basis, model.parameters, sums).mean(inputs))

    exact, curve = mean(total), []
    for k in report.PREDICTED:
        mixing = np.linalg.matrix_power(weights, k)
        # An agent multiplies its average by the number of agents in it.
        origins = np.count_nonzero(mixing > 0, axis=1)
        curve.append((k, max(float(np.abs(mean(n * row @ own) - exact).max()) for n, row in zip(origins, mixing, strict=True))))
    return curve


def _state(directory: Path, name: str) -> dict[str, Array]:
    return load_file(sorted((directory / "nodes" / name / "checkpoints").glob("*.safetensors"))[-1])


def _model(configuration: dict[str, Any]) -> tuple[GPModel, torch.Tensor]:
    """An agent's world model without data, and raw inputs `[QUERIES, 4]` all over the plane."""
    environment = create(EnvironmentSettings.model_validate(configuration["environment"]), NAMES)
    settings = GPSettings.model_validate(configuration["agents"]["world_model"])
    model = GPModel(settings, Features(environment.layout(NAMES[0]), 1), 0, 0)
    low, high = np.array(model.basis.box.low), np.array(model.basis.box.high)
    return model, torch.from_numpy(np.random.default_rng(0).uniform(low, high, (QUERIES, len(low))))


# --- the document -----------------------------------------------------------------------------------------------------------------------


def document() -> None:
    """Tables and picture anew from the metrics that are kept."""
    metrics = report.read()
    tables = {"rates": report.rates_table(metrics), "predictions": report.prediction_table(metrics)}
    report.write(tables)
    print("\n\n".join(tables.values()))
    report.draw(metrics)


def main() -> None:
    """Make what is missing, then the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graphs", nargs="*", choices=[[], *report.COLOURS], metavar="graph", help=", ".join(report.COLOURS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--runs", type=Path, default=REPOSITORY / "runs" / "gp_consensus", help="where the runs are kept")
    parser.add_argument("--report", action="store_true", help="only write the document")
    arguments = parser.parse_args()
    if not arguments.report:
        arguments.runs.mkdir(parents=True, exist_ok=True)
        for seed in arguments.seeds:
            for kind in arguments.graphs or report.COLOURS:
                directory = play(arguments.runs, kind, seed)
                report.keep(kind, seed, {**measured(directory), "prediction": predictions(directory, kind)})
    document()


if __name__ == "__main__":
    main()
