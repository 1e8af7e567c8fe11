"""Two rows of a results page: their values, and Mann and Whitney's rank test between them.

    python benchmarks/compare_rows.py odmar far hallucination "no optimism"                       # last evaluations, all seeds
    python benchmarks/compare_rows.py odmar far hallucination "no optimism" --seeds 0 1 2 3 4
    python benchmarks/compare_rows.py odmar reference "ODMAR, no bonus" "SAC, own reward, 4 updates, shared buffer" --steps 2500

Values are those of docs/results/NAME.csv; with `--steps` those of the last evaluation up to there.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.stats import mannwhitneyu
from study import REPOSITORY
from study_report import LEAST_RUNS, Report


def main() -> None:
    """Print both rows and the test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", help="NAME of docs/results/NAME.csv")
    parser.add_argument("experiment")
    parser.add_argument("rows", nargs=2, metavar="ROW")
    parser.add_argument("--metric", default="eval.own.return")
    parser.add_argument("--seeds", type=int, nargs="+", help="only these")
    parser.add_argument("--steps", type=int, help="values after so many steps")
    given = parser.parse_args()
    metrics = Report(REPOSITORY / "docs" / "results" / f"{given.page}.md", (), ()).read()
    found: list[list[float]] = []
    for row in given.rows:
        curves = {key[2]: curves.get(given.metric, []) for key, curves in sorted(metrics.items()) if key[:2] == (given.experiment, row)}
        upto = {seed: [value for steps, value in curve if given.steps is None or steps <= given.steps] for seed, curve in curves.items()}
        values = {seed: past[-1] for seed, past in upto.items() if past and (given.seeds is None or seed in given.seeds)}
        if not values:
            parser.error(f"{given.page}.csv has no {given.metric} of {given.experiment}, {row!r}")
        found.append(list(values.values()))
        print(f"{row}: mean {np.mean(found[-1]):.4g};", ", ".join(f"{value:.4g} (seed {seed})" for seed, value in values.items()))
    if min(map(len, found)) >= LEAST_RUNS:
        print(f"Mann and Whitney's rank test: p = {mannwhitneyu(*found).pvalue:.2g}")


if __name__ == "__main__":
    main()
