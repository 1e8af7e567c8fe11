"""Processor seconds of PMIC's runs by process, for each million training steps.

    python benchmarks/pmic_cost.py navigation_maddpg navigation predator_prey    # files of configs/pmic
    python benchmarks/pmic_cost.py navigation --set environment.copies=64 --steps 80000

Each configuration is played twice, for few and for more steps, without evaluations; the difference leaves out the starts and ends of the
processes. Evaluations of the studies come to 2 % of the steps of a long run, without updates. Seconds are those that processes computed, by
the run's own summary; on a machine whose cores run two threads each they depend on what else is running.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from measuring import machine, table

REPOSITORY = Path(__file__).resolve().parents[1]
EVALUATION = "evaluation={every: {steps: 1000000000}, episodes: 1, final_episodes: 1}"


def spent(config: str, steps: int, overrides: Sequence[str]) -> tuple[float, dict[str, float]]:
    """Steps of a run, and the processor seconds of its processes; those of the agents as a mean."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "orchestrator", "--runs-dir", folder, "up", str(REPOSITORY / "configs" / "pmic" / f"{config}.yaml")]
        given = [EVALUATION, *overrides, f"until.steps={steps}", "--plain", "--name", "cost"]
        subprocess.run([*words, *given], check=True, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
        summary = json.loads((Path(folder) / "cost" / "summary.json").read_text())
    nodes = {name: float(node["usage"]["cpu_seconds"]) for name, node in summary["nodes"].items() if node["usage"]}
    agents = [seconds for name, seconds in nodes.items() if name.startswith("agent-")]
    environment = sum(seconds for name, seconds in nodes.items() if name.startswith("env-"))
    return float(summary["steps"]), {
        "agent": sum(agents) / len(agents), "environment": environment, "run server": float(summary["server_cpu_seconds"]),
        "all": sum(agents) + environment + float(summary["server_cpu_seconds"]),
    }  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="+", metavar="CONFIG")
    parser.add_argument("--steps", type=int, default=100_000, help="training steps between the two runs")
    parser.add_argument(
        "--least", type=int, default=20_000, help="steps of the shorter run: after it the learners update, bounds are trained"
    )
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="overrides of all runs")
    given = parser.parse_args()
    print(machine(), flush=True)
    rows = []
    for config in given.configs:
        (before, less), (after, more) = (spent(config, steps, given.set) for steps in (given.least, given.least + given.steps))
        if after <= before:
            raise SystemExit(f"{config}: both runs ended after {before:,.0f} steps; give a larger --steps")
        rows.append([config, *(f"{(more[name] - less[name]) / (after - before) * 1e6:.0f}" for name in more)])
    print(table(["processor seconds / million steps", "each agent", "environment", "run server", "all processes"], rows))


if __name__ == "__main__":
    main()
