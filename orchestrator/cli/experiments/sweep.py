"""`orchestrate sweep`: an experiment in one line."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.command_options import app, examples, options
from orchestrator.cli.completion import CONFIG, complete_configurations
from orchestrator.cli.experiments.experiment import DIRECTORY, play
from orchestrator.config.shipped_configurations import locate
from protocols.runtime.errors import UsageError

EPILOG = examples(
    "orchestrate sweep configs/4agents_ring.yaml agents.learner.learning_rate=1e-3,1e-4 until.time=60s --seeds 0..2",
    "orchestrate sweep configs/4agents_ring.yaml 'network.topology={kind: ring},{kind: complete}' --metric success.cooperative",
    "orchestrate sweep configs/4agents_ring.yaml simulate.agents=16,256,4096 --simulate --metric rounds --name how-far",
)


@app.command("sweep", epilog=EPILOG)
def sweep(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(metavar="CONFIG", autocompletion=complete_configurations, help=CONFIG, show_default=False)],
    values: Annotated[
        list[str],
        typer.Argument(metavar="key=a,b,c ...", help="Keys with their values; one value alone is set for all cells.", show_default=False),
    ],
    seeds: Annotated[str, typer.Option("--seeds", help="0..4, a single one, or several: 0,2,5.")] = "0..4",
    name: Annotated[str | None, typer.Option("--name", help="Name of the experiment; else made of CONFIG and the keys.")] = None,
    metric: Annotated[list[str] | None, typer.Option("--metric", help="What is measured; may be repeated.  [default: return]")] = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="Simulate the conversations alone, for up to 10,000 agents.")] = False,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="Cells side by side.", show_default=False)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check every cell, estimate the time, and start nothing.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Lines only, without the line of running cells.")] = False,
    experiments_dir: Annotated[Path, DIRECTORY] = Path("experiments"),
) -> None:
    """Play all combinations of the given values, with several seeds.

    Writes the experiment file EXPERIMENTS/NAME/sweep.yaml and does as `orchestrate experiment` with it: edit it to go on from here.
    """
    from orchestrator.experiments.design import sweep_design as sweeping
    from orchestrator.experiments.design.experiment_design import NAME

    config = locate(config)
    chosen = name or sweeping.default_name(config, values)
    directory = experiments_dir / chosen
    measured = metric or (["rounds"] if simulate else ["return"])
    if not config.is_file():
        raise UsageError(f"there is no file {config}")
    if not re.fullmatch(NAME, chosen):
        raise UsageError(f'--name: "{chosen}" is no name; it begins with a small letter or digit, and has up to 41 of a-z, 0-9, _ and -')
    design = sweeping.design(config, directory, chosen, values, seeds, measured, simulate)
    file = sweeping.write(directory, design, shlex.join(["orchestrate", *sys.argv[1:]]))
    play(options(context), file, jobs, dry_run=dry_run, plain=plain, experiments_dir=experiments_dir)
