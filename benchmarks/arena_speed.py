"""How many agent steps a second the landmarks arena makes, learning included, with 128 copies and two PPO agents in real processes.

    python benchmarks/arena_speed.py [--repeats 3] [--steps 300000] [--set agents.count=4 ...]

Each repeat is a run of `configs/dec_imsap/supervised.yaml` without evaluations, under each clock. A step of one environment copy is two
agent steps, whether both agents act or one has finished and watches. The original stack needs 43 s on 8 cores for 60,000 environment
steps (its published logs), 1,400 a second.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import machine, median, table

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIG = REPOSITORY / "configs" / "dec_imsap" / "supervised.yaml"
ORIGINAL = 60_000 / 43


def measure(clock: str, steps: int, changes: list[str]) -> float:
    """Environment steps per second of training."""
    with tempfile.TemporaryDirectory() as place:
        words = [sys.executable, "-m", "orchestrator", "--runs-dir", place, "up", str(CONFIG), "--plain", "--name", "speed"]
        given = [f"clock={clock}", f"until.steps={steps}", "evaluation.episodes=0", "evaluation.final_episodes=0", *changes]
        subprocess.run([*words, *given], check=True, cwd=REPOSITORY, capture_output=True)
        summary = json.loads((Path(place) / "speed" / "summary.json").read_text())
    rate: float = summary["steps"] / summary["training_seconds"]
    return rate


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300_000)
    parser.add_argument("--set", nargs="*", default=[], metavar="key=value", help="overrides for every run")
    arguments = parser.parse_args()
    print(machine(), flush=True)
    found: dict[str, list[float]] = {"logical": [], "wall": []}
    for _ in range(arguments.repeats):
        for clock, rates in found.items():
            rates.append(measure(clock, arguments.steps, arguments.set))
    rows = [
        [clock, median(rates, 0), median([2 * rate for rate in rates], 0), median([rate / ORIGINAL for rate in rates], 1)]
        for clock, rates in found.items()
    ]
    print(f"\nmedian (least..greatest) of {arguments.repeats} runs of {arguments.steps:,} steps\n")
    print(table(["clock", "environment steps/s", "agent steps/s", "environment steps/s of the original's 1,400"], rows))


if __name__ == "__main__":
    main()
