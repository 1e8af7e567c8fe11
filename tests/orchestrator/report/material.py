"""Experiments made up for tests: results as `orchestrator.experiments` gives them, without a single run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.experiments.design.experiment_design import ExperimentDesign
from orchestrator.experiments.results.experiment_results import CellResult, ExperimentResults
from orchestrator.experiments.results.experiment_verdicts import judge
from orchestrator.results.statistics.runs_table import Curve, RunRow, RunsTable

Value = Callable[[Mapping[str, str], int], float]


def design(**changes: Any) -> ExperimentDesign:
    """Delays by topologies, two measures, a baseline and expectations."""
    settings: dict[str, Any] = {
        "version": 1,
        "name": "delay_sweep",
        "question": "How much delay can each topology bear before learning suffers?",
        "base": "../4agents_ring.yaml",
        "factors": {
            "delay": {"key": "network.links.0.delay.mean", "values": ["0ms", "100ms", "500ms"]},
            "topology": {"key": "network.topology", "values": {"ring": {"kind": "ring"}, "complete": {"kind": "complete"}}},
        },
        "seeds": "0..5",
        "measure": [
            {"metric": "return", "over": "final 10%", "threshold": 0.6},
            {"metric": "consensus.disagreement", "over": "all", "scale": "log", "higher": "worse"},
        ],
        "compare": {"baseline": {"delay": "0ms"}},
        "report": ["curves", "heatmap", "profile", "time_bands", "links"],
        "expect": [
            {
                "metric": "return",
                "where": {"topology": "complete", "delay": "100ms"},
                "relative_to": {"delay": "0ms"},
                "op": ">=",
                "value": 0.85,
            },
            {"metric": "return", "where": {"delay": "500ms"}, "op": ">", "value": 0.9, "statistic": "lower"},
        ],
        **changes,
    }
    return ExperimentDesign.model_validate(settings)


def value(factors: Mapping[str, str], seed: int) -> float:
    """Falls with delay, more so in a ring; differs from seed to seed."""
    draw = np.random.default_rng([seed, *map(ord, "".join(factors.values()))])
    delay = int(factors.get("delay", "0ms").removesuffix("ms"))
    level = 0.83 - delay * (0.0009 if factors.get("topology") == "ring" else 0.0004)
    return float(level + 0.03 * draw.standard_normal())


def results(
    of: ExperimentDesign | None = None, directory: Path = Path("experiments/delay_sweep"), value: Value = value,
    states: Mapping[int, str] | None = None, directories: Mapping[int, Path] | None = None,
    failure: str = "agent-2 ended with exit code 10\nValueError: <no> `reason` | at *all*", curves: bool = True,
) -> ExperimentResults:  # fmt: skip
    """`states`: of the cells with these numbers, in the place of DONE; `directories`: their runs. Without `curves`
    values are as they are."""
    of = of or design()
    cells, rows = [], []
    combinations = [(factors, seed) for factors in of.combinations() for seed in of.seeds]
    for number, (factors, seed) in enumerate(combinations):
        state: Any = (states or {}).get(number, "DONE")
        words = " ".join(f"{name}={label}" for name, label in factors.items())
        failed = failure if state == "FAILED" else ""
        ended = state in ("DONE", "FAILED")
        cells.append(
            CellResult(
                factors, seed, state, (directories or {}).get(number), f"orchestrate up base.yaml {words} --seed {seed}", f"{number:064x}",
                "0.1.0 0123456789ab", 61.5 + number if ended else None, 100.25 + number if ended else None, failed,
            )
        )  # fmt: skip
        why = failed or {"WAITING": "not begun", "RUNNING": "still running"}.get(state, "")
        for measure in of.measure:
            if state != "DONE":
                rows.append(RunRow(factors, seed, measure.title, failure=why, to_come=not ended))
                continue
            if not curves:
                rows.append(RunRow(factors, seed, measure.title, value(factors, seed)))
                continue
            end = value(factors, seed) if measure.higher == "better" else 10 ** (-4 * value(factors, seed))
            steps = np.linspace(0, 20_000, 41)
            shape = 1 - np.exp(-steps / 5_000)
            heights = end * shape if measure.higher == "better" else end ** np.maximum(shape, 0.05)
            rows.append(RunRow(factors, seed, measure.title, end, Curve(steps, heights)))
    table = RunsTable.of(rows)
    return ExperimentResults(of, directory, tuple(cells), table, judge(of, table))
