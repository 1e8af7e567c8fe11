"""Learning experiments as real runs with several seeds: what a study is, how its runs are made, and its command line.

Runs that are there are not made again, interrupted ones go on where they were. Metrics of finished runs are kept beside the study's
document, so that the document needs no run directories.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from study_report import Curve, Key, Report, differences, final, rows_of

from orchestrator.results.run_directories import lock_held
from protocols.runtime.errors import ExitCode

REPOSITORY = Path(__file__).resolve().parents[1]
Columns = dict[str, tuple[str, str]]
"""of a table: title -> the figure and its form"""


@dataclass(frozen=True)
class Method:
    """One line of an experiment: a configuration with overrides, for so many steps. With `peer` a run of another implementation instead:
    the first words of a command that takes `--steps`, `--seed` and `--directory`, and writes a run's metrics there."""

    name: str
    config: str
    steps: int
    overrides: tuple[str, ...] = ()
    peer: tuple[str, ...] = ()


@dataclass(frozen=True)
class Experiment:
    """Methods that are compared, each with the same seeds. `compared`: the figure whose differences between methods are tested."""

    name: str
    methods: tuple[Method, ...]
    columns: tuple[Columns, ...]
    compared: str
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    open_ended: bool = False
    """its runs are very long: made only where it is named; interrupted ones are reported too"""


@dataclass(frozen=True)
class Study:
    """Experiments and their page. `configs`: where the configurations are; `draw`: makes its picture; `derive`: more
    metrics of a run, from those that are kept."""

    name: str
    configs: Path
    report: Report
    experiments: tuple[Experiment, ...]
    draw: Callable[[dict[Key, dict[str, Curve]]], None]
    derive: Callable[[Key, dict[str, Curve]], dict[str, Curve]] = lambda key, curves: {}

    def directory_of(self, runs: Path, experiment: Experiment, method: Method, seed: int) -> Path:
        """Directory of a run."""
        words = "".join(letter if letter.isalnum() else " " for letter in method.name).split()
        return runs / "-".join([experiment.name, *words, str(seed)]).lower()

    def play(self, runs: Path, experiment: Experiment, method: Method, seed: int) -> bool:
        """Make a run, or bring an interrupted one to its end; False when it was interrupted. `SystemExit` when it can't be made."""
        directory = self.directory_of(runs, experiment, method, seed)
        found = state(directory)
        if found == "DONE":
            return True
        if lock_held(directory):
            raise SystemExit(f"{directory.name} is being made: look on with `orchestrate --runs-dir {runs} attach {directory.name}`")
        if method.peer:
            given = [*method.peer, "--steps", str(method.steps), "--seed", str(seed), "--directory", str(directory)]
            if code := _ended([sys.executable, *given]):
                raise SystemExit(f"{directory.name} ended with exit code {code}")
            return True
        words = [sys.executable, "-m", "orchestrator", "--runs-dir", str(runs), "up", "--plain"]
        code = None if found == "MISSING" else _ended([*words, "--resume", directory.name])
        if code in (ExitCode.OK, ExitCode.INTERRUPTED):
            return code == ExitCode.OK
        if directory.exists():
            directory.rename(runs / f"{directory.name}.failed-{len(list(runs.glob(directory.name + '.failed-*')))}")
        config = str(self.configs / f"{method.config}.yaml")
        given = [config, *method.overrides, f"until.steps={method.steps}", "--seed", str(seed), "--name", directory.name]
        code = _ended([*words, *given])
        if code not in (ExitCode.OK, ExitCode.INTERRUPTED):
            raise SystemExit(f"{directory.name} ended with exit code {code}: look at {directory}/server.log")
        return code == ExitCode.OK

    def document(self) -> None:
        """Tables and picture anew from the metrics that are kept."""
        metrics = self.report.read()
        for key, curves in metrics.items():
            curves |= self.derive(key, curves)
        tables: dict[str, list[str]] = {}
        for experiment in self.experiments:
            order = [method.name for method in experiment.methods]
            if not any(key[0] == experiment.name for key in metrics):
                tables[experiment.name] = [f"No runs yet: `python benchmarks/{self.name}.py {experiment.name}`."]
                continue
            lines = [line for columns in experiment.columns for line in [*rows_of(experiment.name, order, columns, metrics), ""]]
            compared = differences(final(metrics, experiment.name, experiment.compared))
            tables[experiment.name] = [*lines, compared] if compared else lines[:-1]
        self.report.write(tables)
        self.draw(metrics)

    def main(self, description: str) -> None:
        """Make what is missing, then the document."""
        names = [experiment.name for experiment in self.experiments]
        parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("experiments", nargs="*", metavar="experiment", help=", ".join(names))
        parser.add_argument("--methods", nargs="+", metavar="METHOD", help="only these lines of the tables, by their names")
        parser.add_argument("--seeds", type=int, nargs="+", help="in the place of each experiment's own")
        parser.add_argument("--runs", type=Path, default=REPOSITORY / "runs" / self.name, help="where the runs are kept")
        parser.add_argument("--list", action="store_true", help="list the runs, and make none")
        parser.add_argument("--missing", action="store_true", help="make only runs whose metrics are not kept yet")
        parser.add_argument("--report", action="store_true", help="only write the document")
        arguments = parser.parse_args()
        if strange := [name for name in arguments.experiments if name not in names]:
            parser.error(f"no experiment {', '.join(strange)}; there are {', '.join(names)}")
        arguments.runs.mkdir(parents=True, exist_ok=True)
        everything = [one for one in self.experiments if arguments.list or arguments.report or not one.open_ended]
        chosen = [one for one in self.experiments if one.name in arguments.experiments] or everything
        known = {method.name for experiment in chosen for method in experiment.methods}
        if unknown := sorted(set(arguments.methods or []) - known):
            parser.error(f"no method {', '.join(unknown)}; there are {', '.join(sorted(known))}")
        # Seed by seed: whenever it is interrupted, methods have about as many runs each.
        plan = [
            (experiment, method, seed)
            for experiment in chosen
            for seed in (arguments.seeds or experiment.seeds)
            for method in experiment.methods
            if not arguments.methods or method.name in arguments.methods
        ]
        interrupted = False
        for experiment, method, seed in plan:
            directory = self.directory_of(arguments.runs, experiment, method, seed)
            if arguments.list:
                print(f"{state(directory):8} {directory.name}")
                continue
            kept = arguments.missing and (experiment.name, method.name, seed) in self.report.read()
            if not (arguments.report or kept or interrupted):
                interrupted = not self.play(arguments.runs, experiment, method, seed)
            if state(directory) == "DONE" or (experiment.open_ended and state(directory) != "MISSING"):
                self.report.keep(experiment.name, method.name, seed, directory)
        if not arguments.list:
            self.document()
        if interrupted:
            print("interrupted: the same command goes on where it was")
            raise SystemExit(ExitCode.INTERRUPTED)


def _ended(words: list[str]) -> int:
    """The exit code of a command, which deals with interruptions itself: a run is stopped in order, with checkpoints."""
    with subprocess.Popen(words, cwd=REPOSITORY) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue


def state(directory: Path) -> str:
    """`DONE`, or another state of the run; `MISSING` without a run."""
    try:
        return str(json.loads((directory / "run.json").read_text())["state"])
    except OSError:
        return "MISSING"
