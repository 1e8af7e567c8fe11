"""`orchestrate experiment`: a grid of configurations times seeds, resumable at any moment; `orchestrate sweep`: one in a line."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.command_options import (
    ConfigArgument,
    DryRunOption,
    ExperimentsDirOption,
    GlobalOptions,
    JobsOption,
    LinesOption,
    app,
    examples,
    options,
    print_error,
    print_json,
    print_problems,
    print_text,
)
from orchestrator.config.parsing.problems import Problems
from orchestrator.config.shipped_configurations import locate
from orchestrator.results.software_versions import code_version
from orchestrator.terminal.interrupts import Interrupts
from protocols.runtime.errors import ExitCode, ResourceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.experiments.design.experiment_reader import ExperimentFile
    from orchestrator.experiments.results.experiment_results import ExperimentResults
    from orchestrator.experiments.running.experiment_store import CellStatus, Store
    from orchestrator.experiments.running.experiment_views import PlainExperimentView
    from orchestrator.results.statistics.runs_table import RunRow

EPILOG = examples(
    "orchestrate experiment configs/experiments/smoke.yaml",
    "orchestrate experiment configs/experiments/smoke.yaml --dry-run",
    "orchestrate experiment delay_sweep.yaml --small --jobs 2",
    "orchestrate experiment delay_sweep.yaml --only delay=50ms --only 'seed=0..2' --retry-failed",
)
SWEEP_EPILOG = examples(
    "orchestrate sweep configs/4agents_ring.yaml agents.learner.learning_rate=1e-3,1e-4 until.time=60s --seeds 0..2",
    "orchestrate sweep configs/4agents_ring.yaml 'network.topology={kind: ring},{kind: complete}' --metric success.cooperative",
    "orchestrate sweep configs/4agents_ring.yaml simulate.agents=16,256,4096 --simulate --metric rounds --name how-far",
)
_SHOWN = 3
"""missing measures that are named at the end"""


@app.command("experiment", epilog=EPILOG)
def experiment(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An experiment file (YAML).")],
    jobs: JobsOption = None,
    small: Annotated[bool, typer.Option("--small", help="As the file's section `small` changes it, as an experiment NAME-small.")] = False,
    dry_run: DryRunOption = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try cells again that have failed in former calls.")] = False,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="FACTOR=VALUE", help="Only these cells: delay=0ms,50ms or seed=0..2; may be repeated."),
    ] = None,
    accept_code: Annotated[
        list[str] | None,
        typer.Option("--accept-code", metavar="VERSION", help="Take finished cells of this version of the code as they are."),
    ] = None,
    plain: LinesOption = False,
    experiments_dir: ExperimentsDirOption = Path("experiments"),
) -> None:
    """Play every cell of the experiment in FILE that is not done yet, each as a run of its own, then judge and report.

    May be interrupted at any moment and started again: finished cells are kept, interrupted ones go on. Ctrl-C stops running cells in
    order; a second one at once. Ends with 0 when all that was asked for is done and expectations hold, 1 when one does not, 20 when cells
    have failed, 3 for a file that is wrong, 6 when another process works on it or the code was changed, 130 when it was interrupted.
    """
    from orchestrator.experiments.design import cell_generation as cells
    from orchestrator.experiments.running import experiment_store as planning
    from orchestrator.experiments.running.experiment_dry_run import facts, text
    from orchestrator.experiments.running.experiment_runner import ExperimentRunner, machine_capacity
    from orchestrator.experiments.running.experiment_store import Lock, Store

    settings = options(context)
    try:
        found, grid = cells.read_and_make(file, small)
        selected = cells.select(grid.cells, found.design, only or [])
    except Problems as problems:
        if not settings.json:
            raise
        for problem in problems.problems:
            print_json({"kind": "problem", **vars(problem)})
        print_json({"kind": "end", "exit_code": int(problems.exit_code)})
        raise typer.Exit(int(problems.exit_code)) from None
    print_problems([*found.warnings, *grid.warnings], str(file))
    code, accepted, directory = code_version(), accept_code or [], experiments_dir / found.name
    if dry_run:
        records = planning.known(directory)
        playing = planning.chosen(selected, records, code, accepted, retry_failed)
        _print_other_code(planning.other_codes(selected, records, playing))
        work = facts(found, directory, playing, jobs)
        if settings.json:
            print_json(work.record())
        else:
            print_text(text(work))
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(f"{directory} can't be made: {error.strerror}; choose another place with --experiments-dir") from None
    with Lock(directory), Store(directory, create=True) as store, Interrupts() as interrupts:
        playing = planning.enter(store, found, grid.cells, code, accepted, retry_failed)
        _print_other_code(planning.other_codes(grid.cells, store.records(), playing))
        wanted = {id(cell) for cell in selected}
        started = [one for one in playing if id(one.cell) in wanted]
        view = _view(settings, plain, found, directory, store)
        runner = ExperimentRunner(store, started, found.design.limits, machine_capacity(jobs), view, interrupts)
        try:
            ended = runner.run()
        finally:
            view.close()
        code_of_exit = _conclude(settings, found, directory, ended, runner.reason)
    raise typer.Exit(int(code_of_exit))


def _view(settings: GlobalOptions, plain: bool, found: ExperimentFile, directory: Path, store: Store) -> PlainExperimentView:
    from orchestrator.experiments.results.run_measures import rows
    from orchestrator.experiments.running import experiment_views as showing

    design = found.design

    def measures(playing: CellStatus) -> Sequence[RunRow]:
        place = store.record(playing.identity).directory or ""
        return rows(directory / place, design.measure, playing.cell.factors, playing.cell.seed, design.with_ == "simulate")

    if settings.prints and settings.live(plain):
        return showing.TerminalExperimentView(settings.console(), found.name, design.shape(), measures)
    lines = showing.PlainExperimentView if settings.prints else showing.QuietExperimentView
    return (showing.JsonExperimentView if settings.json else lines)(sys.stdout, found.name, design.shape(), measures)


def _print_other_code(others: dict[str, int]) -> None:
    for code, count in others.items():
        print_error(
            f"{count} of these cells are done with other code, {code}; they are not used, since results of different code are never mixed. "
            f"To take them as they are: --accept-code '{code}'"
        )


def _conclude(settings: GlobalOptions, found: ExperimentFile, directory: Path, ended: ExitCode, reason: str) -> ExitCode:
    """Tables, verdicts and report, whatever is there; the exit code."""
    from orchestrator.experiments.results.experiment_results import load, write_tables

    results = load(directory)
    write_tables(results)
    page = None if ended == ExitCode.INTERRUPTED else _report(results, directory)
    finished = results.count("DONE") == len(results.cells)
    broken = [one for one in results.verdicts if one.holds is False or (one.holds is None and finished)]
    lacking = results.lacking()
    code = ExitCode.EXPECTATION_FAILED if ended == ExitCode.OK and broken else ended
    counts = {state: results.count(state) for state in ("DONE", "FAILED", "WAITING")}
    if settings.json:
        for verdict in results.verdicts:
            print_json({"kind": "verdict", **verdict.record()})
        missing = [{"metric": metric, "reason": why, "cells": count} for (metric, why), count in lacking.items()]
        files = {"results": str(directory / "results.csv"), "report": str(page) if page is not None else None}
        facts = {"directory": str(directory), "cells": counts, "missing": missing, "reason": reason}
        print_json({"kind": "end", "exit_code": int(code), **facts, **files})
        return code
    if settings.verbosity < 0:
        return code
    for verdict in results.verdicts:
        print_text(verdict.text)
    if reason:
        print_error(reason)
    if lacking:
        print_error(_lacking_text(lacking))
    where = f"results: {directory / 'results.csv'}" + (f"   report: {page}" if page is not None else "")
    print_text(f"{counts['DONE']} of {len(results.cells)} cells done, {counts['FAILED']} failed.   {where}")
    if counts["FAILED"]:
        print_text("try the failed ones again with --retry-failed; their logs are in the directories that cells.csv names")
    if counts["WAITING"]:
        print_text(f"go on with: orchestrate experiment {found.path}{' --small' if found.small else ''}")
    return code


def _lacking_text(lacking: Mapping[tuple[str, str], int]) -> str:
    count = sum(lacking.values())
    shown = "; ".join(f"{metric} ({why})" for metric, why in list(lacking)[:_SHOWN])
    more = f"; and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
    return (
        f"{count} {'metric' if count == 1 else 'metrics'} of finished cells missing: {shown}{more}. If a name is wrong: correcting it "
        "costs nothing, metrics are read again from the runs"
    )


def _report(results: ExperimentResults, directory: Path) -> Path | None:
    """The page; what is wrong with it changes nothing about the experiment."""
    try:
        from orchestrator.report import report

        return report(results, directory)
    except Exception as error:
        print_error(f"the report failed ({type(error).__name__}: {error}); try again with: orchestrate report {directory}")
        return None


@app.command("sweep", epilog=SWEEP_EPILOG)
def sweep(
    context: typer.Context,
    config: ConfigArgument,
    values: Annotated[
        list[str], typer.Argument(metavar="key=a,b,c ...", help="Keys with their values; one value alone is set for all cells.")
    ],
    seeds: Annotated[str, typer.Option("--seeds", help="0..4, a single one, or several: 0,2,5.")] = "0..4",
    name: Annotated[str | None, typer.Option("--name", help="Name of the experiment; else made of CONFIG and the keys.")] = None,
    metric: Annotated[list[str] | None, typer.Option("--metric", help="What is measured; may be repeated.  [default: return]")] = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="Simulate the conversations alone, for up to 100,000 agents.")] = False,
    jobs: JobsOption = None,
    dry_run: DryRunOption = False,
    plain: LinesOption = False,
    experiments_dir: ExperimentsDirOption = Path("experiments"),
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
    experiment(context, file, jobs, dry_run=dry_run, plain=plain, experiments_dir=experiments_dir)
