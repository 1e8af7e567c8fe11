"""`orchestrate simulate`: the conversations of a configuration alone, among as many agents as one likes, under virtual time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.command_options import (
    ConfigArgument,
    GlobalOptions,
    OverridesArgument,
    app,
    examples,
    options,
    print_error,
    print_json,
    print_problems,
    print_text,
    write_text,
)
from orchestrator.config.parsing.problems import Problems
from orchestrator.results.number_text import count, size
from protocols.runtime.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from orchestrator.experiments.running.simulation_outcome import SimulationOutcome
    from protocols.simulation.simulated_averaging import PopulationPoint

EPILOG = examples(
    "orchestrate simulate configs/4agents_ring.yaml --agents 64",
    "orchestrate simulate configs/4agents_ring.yaml 'network.topology={kind: random_regular, degree: 4}' --agents 10000 --dimension 4",
    "orchestrate simulate configs/4agents_ring.yaml 'network.links=[{id: bad, delay: 50ms, loss: 0.3}]' --agents 16",
    "orchestrate simulate configs/4agents_ring.yaml 'network.links=[{id: bad, loss: 0.1}]' --agents 100000 --dimension 4 --arrays",
    "orchestrate simulate configs/4agents_ring.yaml exchange.consensus.mode=mh --rounds 200 --json",
    "orchestrate simulate configs/4agents_ring.yaml --search 10000 --jobs 2 --save found.yaml",
)


@app.command("simulate", epilog=EPILOG)
def simulate(
    context: typer.Context,
    config: ConfigArgument,
    overrides: OverridesArgument = None,
    agents: Annotated[int | None, typer.Option("--agents", min=1, help="So many instead of agents.count.")] = None,
    rounds: Annotated[
        int | None, typer.Option("--rounds", min=1, help="Rounds after which it ends; else twenty times those predicted.")
    ] = None,
    dimension: Annotated[int, typer.Option("--dimension", min=1, help="Numbers in each agent's vector.")] = 16,
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="Disagreement, as a share of that at the start, at which they agree.")
    ] = 1e-6,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Instead of the configuration's seed.")] = None,
    episodes: Annotated[
        int | None,
        typer.Option(
            "--episodes",
            min=0,
            help="Episodes that each pair of neighbours negotiates and shares; else 4 where the configuration negotiates.",
        ),
    ] = None,
    wire: Annotated[bool, typer.Option("--wire", help="Send every message through the codec, byte by byte (slower).")] = False,
    arrays: Annotated[
        bool | None,
        typer.Option(
            "--arrays/--no-arrays",
            help="Compute synchronous rounds as arrays of all agents (constant delays, independent losses; mh or pushsum), or simulate "
            "message by message; else arrays where the result is equal: equal delays without losses.",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Check what the protocols promise, under the faults of the configuration.")
    ] = False,
    search: Annotated[
        int | None, typer.Option("--search", min=1, metavar="N", help="Check under faults drawn from N seeds, until a promise is broken.")
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="Most seconds of a search.")] = 3600.0,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes of a search.")] = 1,
    save: Annotated[Path | None, typer.Option("--save", metavar="FILE.yaml", help="Write what a search finds as a configuration.")] = None,
    picture: Annotated[Path | None, typer.Option("--picture", metavar="FILE.svg", help="Draw the curve into a file.")] = None,
) -> None:
    """Simulate how agents agree: the configured topology, averaging and links, without learning and without processes.

    Each agent averages a random vector with its neighbours, by the same state machines as in a run, and in virtual time: delays cost
    nothing. Large populations are computed as arrays. Ends with 1 when they do not agree within the rounds.

    With --check or --search the protocols' promises are checked (docs/explanation/simulation.md); ends with 1 when one is broken. A search
    begins with --seed (0).
    """
    if not 0.0 < tolerance < 1.0:
        raise UsageError(f"--tolerance: {tolerance:g} is no share between 0 and 1; write for example 1e-6")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the spectral gap of a large graph: threads wait for each other at every short step
    from orchestrator.experiments.design.experiment_design import SimulationSettings
    from orchestrator.experiments.running.array_simulation import simulation_of
    from orchestrator.experiments.running.averaging_simulation import loaded

    settings = options(context)
    if check or search is not None:
        from orchestrator.cli.promise_views import check_once, search_seeds

        if search is None:
            check_once(settings, config, overrides or [], seed)
        else:
            search_seeds(settings, config, overrides or [], search, seconds, jobs, seed or 0, save)
        return
    wish = SimulationSettings(
        agents=agents, rounds=rounds, dimension=dimension, tolerance=tolerance, episodes=episodes, wire=wire, arrays=arrays
    )
    try:
        simulation = simulation_of(loaded(config, overrides or [], wish, seed).configuration, wish)
    except Problems as problems:
        print_problems(problems.problems)
        raise typer.Exit(int(problems.exit_code)) from None

    def report(point: PopulationPoint) -> None:
        if settings.prints:
            sent = count(simulation.sent)
            print_error(f"round {point.rounds:.0f}  {point.time:.2f} s  disagreement {point.disagreement:.1e}  {sent} messages")

    outcome = simulation.run(report)
    if settings.json:
        print_json(outcome.to_dict())
    elif settings.verbosity >= 0:
        _print(settings, outcome)
    if picture is not None:
        from orchestrator.report.charts import disagreement_chart as disagreement

        drawn = disagreement.picture(outcome.curve, f"{outcome.agents} agents, {outcome.topology}, {outcome.mode}")
        write_text(picture, drawn.svg)
    if not outcome.agreed:
        raise typer.Exit(int(ExitCode.EXPECTATION_FAILED))


def _print(settings: GlobalOptions, outcome: SimulationOutcome) -> None:
    from rich.table import Table
    from rich.text import Text

    from orchestrator.report.charts.disagreement_chart import text_plot

    console = settings.console()
    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, text in rows(outcome):
        made.add_row(Text(name, "dim"), Text(text))
    console.print(Text(f"{outcome.topology} of {count(outcome.agents)} agents, {outcome.mode}, seed {outcome.seed}", "bold"))
    console.print(made)
    print_text("\n" + text_plot(outcome.curve, min(console.width, 100)))
    for note in outcome.notes:
        console.print(Text(f"note: {note}", "dim"), soft_wrap=True)


def rows(outcome: SimulationOutcome) -> list[tuple[str, str]]:
    """Rows of the table."""
    predicted = "never" if outcome.predicted is None else f"{count(outcome.predicted)} without faults"
    gap = 1.0 - outcome.contraction
    found = f"{outcome.rounds:.4g} rounds each" if outcome.agreed else f"NOT within {outcome.rounds:.4g} rounds"
    exact = outcome.mode == "pushsum"
    lines = [
        ("agreement", f"{found}, {outcome.seconds:.3g} s of virtual time (to {outcome.tolerance:g} of the disagreement at the start)"),
        ("predicted", f"{predicted} (spectral gap {gap:.3g})"),
        ("disagreement", f"{outcome.disagreement:.2g}"),
        (
            "error of the mean",
            f"{outcome.error:.2g}" + ("" if exact or outcome.error < outcome.tolerance else "  (pushsum keeps it under loss)"),
        ),
        ("mass", f"{outcome.mass:.2g} off" if exact else "not conserved by this mode"),
        ("messages", f"{count(outcome.messages)}, {size(outcome.bytes)} on the wire"),
        ("missed", f"{outcome.missing:.3g} neighbours a round"),
    ]
    fates = [f"{count(number)} {name.removeprefix('lost.')}" for name, number in outcome.lost.items()]
    lines.append(("on the way", ", ".join(fates) or "nothing was lost"))
    if outcome.retries:
        lines.append(("repeated", f"{count(outcome.retries)} proposals and traces that were not acknowledged in time"))
    if outcome.died:
        lines.append(("deaths", count(outcome.died)))
    if outcome.episodes is not None:
        e = outcome.episodes
        text = f"{count(e.played)} played, {count(e.negotiated)} negotiated, {count(e.complete)} with all traces, {e.seconds:.2g} s each"
        lines.append(("episodes", text))
    rate = outcome.events / outcome.real if outcome.real else 0.0
    form = "as arrays" if outcome.arrays else "message by message"
    lines.append(("simulated in", f"{outcome.real:.1f} s, {count(rate)} messages a second, {form}"))
    return lines
