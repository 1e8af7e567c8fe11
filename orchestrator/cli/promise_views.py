"""`orchestrate simulate --check` and `--search`: what the protocols promise, under the faults of a configuration or drawn ones."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from orchestrator.cli.command_options import GlobalOptions, print_error, print_json, print_problems, print_text, write_text
from orchestrator.config.parsing.problems import Problems
from orchestrator.config.resolved_configuration import flow
from orchestrator.config.shipped_configurations import locate
from orchestrator.results.number_text import count
from protocols.runtime.errors import ExitCode

if TYPE_CHECKING:
    from orchestrator.config.configuration import Configuration
    from orchestrator.experiments.nemesis.schedule_search import SearchOutcome

PROGRESS = 5.0
"""seconds between two reports"""


def check_once(settings: GlobalOptions, config: Path, overrides: Sequence[str], seed: int | None) -> None:
    """One simulation of the configuration's own faults; `typer.Exit` with 1 where a promise is broken."""
    from orchestrator.experiments.nemesis.schedule_check import broken_promise

    broken = broken_promise(_loaded(config, overrides, seed))
    if settings.json:
        print_json({"kept": broken is None, "promise": broken.promise if broken else None, "text": str(broken) if broken else None})
    elif settings.verbosity >= 0:
        print_text(f"broken promise  {broken}" if broken else "all promises are kept")
    if broken is not None:
        raise typer.Exit(int(ExitCode.EXPECTATION_FAILED))


def search_seeds(
    settings: GlobalOptions, config: Path, overrides: Sequence[str], number: int, seconds: float, jobs: int, first: int, save: Path | None
) -> None:
    """A search over drawn faults; `typer.Exit` with 1 where a promise is broken."""
    from orchestrator.experiments.nemesis.schedule_search import regression_text, repeats, search

    configuration = _loaded(config, overrides, None)
    reported = time.monotonic()

    def report(outcome: SearchOutcome) -> None:
        nonlocal reported
        if settings.prints and time.monotonic() - reported >= PROGRESS:
            reported = time.monotonic()
            print_error(f"{count(outcome.simulated)} of {count(number)} seeds in {outcome.seconds:.0f} s, no promise is broken")

    outcome = search(configuration, number, seconds, jobs, first, report)
    failure = outcome.failure
    if failure is not None:
        outcome.repeats = repeats(failure, configuration, config, overrides)
        if save is not None:
            base = locate(config).resolve()
            write_text(save, regression_text(failure, Path(os.path.relpath(base, save.resolve().parent)), overrides))
    if settings.json:
        print_json(outcome.to_dict())
    elif settings.verbosity >= 0:
        _print(outcome, save)
    if failure is not None:
        raise typer.Exit(int(ExitCode.EXPECTATION_FAILED))


def _print(outcome: SearchOutcome, save: Path | None) -> None:
    failure, cost = outcome.failure, outcome.processor / max(1, outcome.simulated)
    print_text(f"{count(outcome.simulated)} seeds in {outcome.seconds:.1f} s, {cost:.2g} s of processor time each")
    if failure is None:
        print_text("all promises are kept")
        return
    print_text(f"broken promise  seed {failure.seed}: {failure.text}")
    print_text(f"schedule        {len(failure.schedule)} of {failure.drawn} entries, after {failure.trials} simulations")
    for entry in failure.schedule:
        print_text(f"                {flow(entry)}")
    print_text(f"simulate again  {outcome.repeats['simulate']}")
    print_text(f"run again       {outcome.repeats['up']}")
    if save is not None:
        print_text(f"saved           {save}")


def _loaded(config: Path, overrides: Sequence[str], seed: int | None) -> Configuration:
    from orchestrator.experiments.design.experiment_design import SimulationSettings
    from orchestrator.experiments.running.averaging_simulation import loaded

    try:
        return loaded(config, overrides, SimulationSettings(), seed).configuration
    except Problems as problems:
        print_problems(problems.problems)
        raise typer.Exit(int(problems.exit_code)) from None
