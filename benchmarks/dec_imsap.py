"""What Dec-IMSAP learns: the experiments of docs/results/dec_imsap.md, as real runs with several seeds.

    python benchmarks/dec_imsap.py                             # everything: about a day on two cores; can be interrupted at any time
    python benchmarks/dec_imsap.py methods --seeds 0 1 2       # one experiment
    python benchmarks/dec_imsap.py --list                      # the experiments, their runs, and which of them are there
    python benchmarks/dec_imsap.py --report                    # the document anew, from the runs that are there and from earlier figures

Runs that are there are not made again, interrupted ones go on where they were. Figures of finished runs are kept in
docs/results/dec_imsap.csv, so that the document needs no run directories.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import dec_imsap_report as report

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIGS = REPOSITORY / "configs" / "dec_imsap"
PAIRS_ONLY = "environment.options.smallest=2"
SIX = ("environment.options.landmarks=6", "evaluation.episodes=210", "evaluation.final=1050")
BOUNCING = ("environment.options.restitution=0.25", "environment.options.margin=2.5")
PUBLISHED_RULE = "exchange.negotiation.update=forgetting"
INDIVIDUAL_ONLY = "exchange.hindsight.strategies=[own_individual]"


@dataclass(frozen=True)
class Method:
    """One column of an experiment: a configuration with overrides, for so many steps."""

    name: str
    config: str
    steps: int
    overrides: tuple[str, ...] = ()


LEARNT = {
    "success with pairs, training": ("success.cooperative", ".2f"),
    "alignment, training": ("aligned", ".2f"),
    "return, training": ("return", ".2f"),
    "pairs, one goal given to both": ("eval.aligned.success.cooperative", ".2f"),
    "length, one goal given to both": ("eval.aligned.length", ".0f"),
}
"""columns of a table: the figure and its form"""
RELEARNT = {
    "pairs, training": ("success.cooperative", ".2f"),
    "pairs, own goals": ("eval.own.success.cooperative", ".2f"),
    "singles, own goals": ("eval.own.success.individual", ".2f"),
    "pairs, one goal given to both": ("eval.aligned.success.cooperative", ".2f"),
    "singles, one goal given to both": ("eval.aligned.success.individual", ".2f"),
}
SKILLS = {
    "alignment, training": ("aligned", ".2f"),
    "evaluation return / R*": ("eval.aligned.return.normalised", ".2f"),
    "the same, every goal alike": ("eval.aligned.return.per_goal", ".2f"),
    "length": ("eval.aligned.length", ".0f"),
    "diversity": ("eval.aligned.diversity", ".2f"),
    "specialization": ("eval.aligned.specialization", ".2f"),
    "as published": ("eval.aligned.specialization.published", ".2f"),
}


@dataclass(frozen=True)
class Experiment:
    """Methods that are compared, each with the same seeds."""

    name: str
    methods: tuple[Method, ...]
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    columns: tuple[dict[str, tuple[str, str]], ...] = (LEARNT,)
    """of its tables"""
    compared: str = "success.cooperative"
    """the figure whose differences between methods are tested"""


def _compared(steps: int, *overrides: str) -> tuple[Method, ...]:
    """The five methods of the first table."""
    return (
        Method("independent", "independent", steps, overrides),
        Method("aligned 50 %", "aligned_50", steps, overrides),
        Method("game, forgetting (A)", "coordination_game", steps, (*overrides, PUBLISHED_RULE)),
        Method("game, inhibition (E)", "coordination_game", steps, overrides),
        Method("supervised", "supervised", steps, overrides),
    )


EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        Experiment("methods", _compared(800_000)),
        Experiment(
            "hindsight",
            (
                Method("none", "hindsight", 640_000, ("exchange.hindsight=null",)),
                Method("own individual goals", "hindsight", 640_000, (INDIVIDUAL_ONLY,)),
                Method("joint and own", "hindsight", 640_000),
            ),
            columns=(RELEARNT,),
        ),
        Experiment(
            "cooperative",
            (
                Method("independent", "independent", 1_200_000, (PAIRS_ONLY,)),
                Method("game, forgetting (A)", "coordination_game", 1_200_000, (PAIRS_ONLY, PUBLISHED_RULE)),
                Method("game, inhibition (E)", "coordination_game", 1_200_000, (PAIRS_ONLY,)),
                Method("supervised", "supervised", 1_200_000, (PAIRS_ONLY,)),
            ),
        ),
        Experiment(
            "six",
            (
                Method("independent", "independent", 2_600_000, SIX),
                Method("game, forgetting (A)", "coordination_game", 4_400_000, (*SIX, PUBLISHED_RULE)),
                Method("game, inhibition (E)", "coordination_game", 3_300_000, SIX),
                Method("supervised", "supervised", 1_300_000, SIX),
            ),
            columns=(LEARNT, SKILLS),
        ),
        Experiment(
            "published",
            (
                Method("independent", "independent", 10_000_000, (*SIX, *BOUNCING)),
                Method("game, inhibition (E)", "coordination_game", 10_000_000, (*SIX, *BOUNCING)),
                Method("supervised", "supervised", 10_000_000, (*SIX, *BOUNCING)),
            ),
            seeds=(0,),
            columns=(SKILLS,),
        ),
    )
}


def directory_of(runs: Path, experiment: Experiment, method: Method, seed: int) -> Path:
    """Where a run lies."""
    words = "".join(letter if letter.isalnum() else " " for letter in method.name).split()
    return runs / "-".join([experiment.name, *words, str(seed)]).lower()


def state(directory: Path) -> str:
    """`DONE`, or another state of the run; `MISSING` if there is none."""
    try:
        return str(json.loads((directory / "run.json").read_text())["state"])
    except OSError:
        return "MISSING"


def play(runs: Path, experiment: Experiment, method: Method, seed: int) -> None:
    """Make a run, or bring an interrupted one to its end."""
    directory = directory_of(runs, experiment, method, seed)
    found = state(directory)
    if found == "DONE":
        return
    words = [sys.executable, "-m", "orchestrator", "--runs-dir", str(runs), "up", "--plain"]
    if found != "MISSING" and subprocess.run([*words, "--resume", directory.name], cwd=REPOSITORY, check=False).returncode == 0:
        return
    if directory.exists():
        directory.rename(runs / f"{directory.name}.failed-{len(list(runs.glob(directory.name + '.failed-*')))}")
    config = str(CONFIGS / f"{method.config}.yaml")
    given = [config, *method.overrides, f"until.steps={method.steps}", "--seed", str(seed), "--name", directory.name]
    subprocess.run([*words, *given], cwd=REPOSITORY, check=True)


def document() -> None:
    """Tables and picture anew from the figures that are kept."""
    figures = report.read()
    tables: dict[str, list[str]] = {}
    for experiment in EXPERIMENTS.values():
        order = [method.name for method in experiment.methods]
        if not any(key[0] == experiment.name for key in figures):
            tables[experiment.name] = [f"No runs yet: `python benchmarks/dec_imsap.py {experiment.name}`."]
            continue
        lines = [line for columns in experiment.columns for line in [*report.rows_of(experiment.name, order, columns, figures), ""]]
        compared = report.differences(report.final(figures, experiment.name, experiment.compared))
        tables[experiment.name] = [*lines, compared] if compared else lines[:-1]
    report.write(tables)
    try:
        import dec_imsap_plot as plot
    except ImportError as error:
        raise SystemExit(f"no picture without {error.name}; install it: python -m pip install -e '.[report]'") from None
    plot.draw(figures)


def main() -> None:
    """Make what is missing, then the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*", choices=[[], *EXPERIMENTS], metavar="experiment", help=", ".join(EXPERIMENTS))
    parser.add_argument("--seeds", type=int, nargs="+", help="in the place of each experiment's own")
    parser.add_argument("--runs", type=Path, default=REPOSITORY / "runs" / "dec_imsap", help="where the runs are kept")
    parser.add_argument("--list", action="store_true", help="say which runs there are, and make none")
    parser.add_argument("--report", action="store_true", help="only write the document")
    arguments = parser.parse_args()
    arguments.runs.mkdir(parents=True, exist_ok=True)
    chosen = [EXPERIMENTS[name] for name in arguments.experiments or EXPERIMENTS]
    # Seed by seed: whenever it is interrupted, methods have about as many runs each.
    plan = [
        (experiment, method, seed)
        for experiment in chosen
        for seed in (arguments.seeds or experiment.seeds)
        for method in experiment.methods
    ]
    for experiment, method, seed in plan:
        directory = directory_of(arguments.runs, experiment, method, seed)
        if arguments.list:
            print(f"{state(directory):8} {directory.name}")
            continue
        if not arguments.report:
            play(arguments.runs, experiment, method, seed)
        if state(directory) == "DONE":
            report.keep(experiment.name, method.name, seed, directory)
    if not arguments.list:
        document()


if __name__ == "__main__":
    main()
