"""What the main configuration learns, against the same without negotiation: real runs, several seeds, one table.

    python benchmarks/main_configuration.py                    # 3 seeds each, about half an hour on two cores
    python benchmarks/main_configuration.py --seeds 0 --set until.steps=20000

Runs that are there already and ended well are not run again, so that it can be interrupted. Intervals are the least and the greatest of
the seeds. Beside the learning metrics: the world model's held-out error, the contraction of disagreement, memory and start-up.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measuring import machine

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIG = REPOSITORY / "configs" / "4agents_ring.yaml"
VARIANTS: dict[str, list[str]] = {"negotiation": [], "alone": ["exchange.negotiation=null"]}
FIGURES = {
    "eval.own.success.individual": "success, individual goals (greedy)",
    "eval.own.success.cooperative": "success, cooperative goals (greedy)",
    "eval.own.aligned": "alignment (greedy)",
    "success.individual": "success, individual goals (training)",
    "success.cooperative": "success, cooperative goals (training)",
    "aligned": "alignment (training)",
    "eval.aligned.success.cooperative": "success, cooperative goals given to both (greedy)",
}
AGENTS = [f"agent-{i}" for i in range(4)]


def run(runs: Path, variant: str, seed: int, changes: Sequence[str]) -> Path:
    """The finished run of a variant and seed; made if it is not there."""
    directory = runs / f"{variant}-{seed}"
    if not done(directory):
        if directory.exists():
            directory.rename(runs / f"{directory.name}.failed-{len(list(runs.glob(directory.name + '.failed-*')))}")
        words = [sys.executable, "-m", "orchestrator", "--runs-dir", str(runs), "up", str(CONFIG), *VARIANTS[variant], *changes]
        subprocess.run([*words, "--seed", str(seed), "--name", directory.name, "--plain"], check=True, cwd=REPOSITORY)
    return directory


def done(directory: Path) -> bool:
    """Whether a run ended well."""
    try:
        return json.loads((directory / "run.json").read_text())["state"] == "DONE"
    except OSError:
        return False


def values(directory: Path, node: str, name: str) -> list[float]:
    """All values of a node's figure, in order."""
    lines = (directory / "nodes" / node / "metrics.jsonl").read_text().splitlines()
    return [row["value"] for line in lines if (row := json.loads(line))["name"] == name]


def share(directory: Path, name: str, start: bool) -> float:
    """An evaluation's figure at the start or the end; of a training figure the mean of the first or last tenth of its windows."""
    found = values(directory, "env-0", name)
    if name.startswith("eval."):
        return found[0 if start else -1]
    tenth = max(1, len(found) // 10)
    return statistics.fmean(found[:tenth] if start else found[-tenth:])


def interval(numbers: Sequence[float], form: str = ".2f") -> str:
    """Mean and range over seeds."""
    return f"{statistics.fmean(numbers):{form}} ({min(numbers):{form}} to {max(numbers):{form}})"


def report(runs: dict[str, list[Path]]) -> str:
    """The table as Markdown."""
    lines = ["| | start | end, with negotiation | end, each for itself |", "|---|---|---|---|"]
    for name, text in FIGURES.items():
        start = interval([share(path, name, True) for path in runs["negotiation"]])
        ends = [interval([share(path, name, False) for path in runs[variant]]) for variant in VARIANTS]
        lines.append(f"| {text} | {start} | {ends[0]} | {ends[1]} |")
    errors = [[values(path, agent, "world_model.error") for agent in AGENTS] for path in runs["negotiation"]]
    before = [statistics.fmean(found[0] for found in agents) for agents in errors]
    after = [statistics.fmean(statistics.fmean(found[-5:]) for found in agents) for agents in errors]
    ratios = [b / a for b, a in zip(before, after, strict=True)]
    summaries: list[dict[str, Any]] = [json.loads((path / "summary.json").read_text()) for path in runs["negotiation"]]
    disagreement = [summary["disagreement"] for summary in summaries]
    lines += [
        "",
        f"- world model, held-out one-step error: {interval(before)} before its first fit, {interval(after, '.3f')} at the end; "
        f"it falls by a factor of {interval(ratios, '.1f')}",
        f"- disagreement after an averaging: {interval([d['contraction_median'] for d in disagreement], '.4f')} of that before; the "
        f"spectral gap predicts {disagreement[0]['contraction_predicted']:.4f}",
        f"- environment steps: {interval([s['steps'] for s in summaries], ',.0f')}; training took "
        f"{interval([s['training_seconds'] for s in summaries], '.0f')} s",
    ]
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=REPOSITORY / "runs" / "main_configuration", help="where the runs are kept")
    parser.add_argument("--set", nargs="*", default=[], metavar="key=value", help="overrides for every run")
    parser.add_argument("--report-only", action="store_true", help="only the table, of runs that are there")
    arguments = parser.parse_args()
    arguments.runs.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[Path]] = {variant: [] for variant in VARIANTS}
    for seed in arguments.seeds:
        for variant in VARIANTS:
            directory = arguments.runs / f"{variant}-{seed}"
            if arguments.report_only and not done(directory):
                continue
            found[variant].append(run(arguments.runs, variant, seed, arguments.set))
    print(f"{machine()}\nseeds {arguments.seeds}\n")
    print(report(found))


if __name__ == "__main__":
    main()
