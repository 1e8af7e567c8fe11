"""`orchestrate export marl-eval`: an experiment as marl-eval, and with it BenchMARL's plots, read it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.command_options import examples, experiment_directory, experiment_names, options, print_error, print_json, print_text
from protocols.runtime.errors import ResourceError, UsageError

EPILOG = examples(
    "orchestrate export marl-eval delay_sweep",
    "orchestrate export marl-eval delay_sweep --algorithm topology -o night.json",
)


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command("marl-eval", epilog=EPILOG)(marl_eval)


def marl_eval(
    context: typer.Context,
    experiment: Annotated[str, typer.Argument(metavar="EXPERIMENT", help="Name or directory.", show_default=False)],
    algorithm: Annotated[
        str | None,
        typer.Option("--algorithm", metavar="FACTOR", help="The factor that is the algorithm; without it the only one, or the baseline's."),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metric", metavar="NAME", help="A measure of the experiment; may be repeated; without it the first."),
    ] = None,
    points: Annotated[int, typer.Option("--points", min=2, max=10_000, help="Common steps of all curves.")] = 100,
    common_seeds: Annotated[
        bool, typer.Option("--common-seeds", help="Leave seeds out of which any cell is missing; without it that is an error.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="By default marl_eval.json in the experiment's directory.")
    ] = None,
    experiments_dir: Annotated[
        Path, typer.Option("--experiments-dir", envvar="ORCHESTRATE_EXPERIMENTS", help="Folder of the experiments.")
    ] = Path("experiments"),
) -> None:
    """Write the curves of an experiment in the JSON layout of marl-eval. Each combination of the other factors is a task."""
    settings = options(context)
    directory = experiment_directory(experiment, experiments_dir)
    if directory is None:
        known = experiment_names(experiments_dir)
        raise UsageError(f"no experiment {experiment} in {experiments_dir}/; there: {', '.join(known) or 'none'}")
    from orchestrator.experiments.results.experiment_results import load
    from orchestrator.experiments.results.marl_eval_export import marl_eval
    from orchestrator.results.run_files import write_json

    found = marl_eval(load(directory, over_time=False), algorithm, metrics or [], points, common_seeds)
    file = output or directory / "marl_eval.json"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, found.content)
    except OSError as error:
        raise ResourceError(f"{file} can't be written: {error.strerror}; choose another place with -o") from None
    if settings.json:
        told = {"metrics": found.metrics, "runs": found.runs, "axis": found.axis, "steps": found.steps, "left_out": found.left_out}
        print_json({"file": str(file), **told})
        return
    if found.left_out:
        print_error(f"note: left out, since not whole in all groups: seed {', '.join(map(str, found.left_out))}")
    if settings.verbosity >= 0:
        print_text(f"{file}: {found.runs} runs, {', '.join(found.metrics)}, {found.axis} {found.steps[0]:,} to {found.steps[1]:,}")
