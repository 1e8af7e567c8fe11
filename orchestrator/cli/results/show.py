"""`orchestrate show`: a configuration as a drawing, or a run as tables of results."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.command_options import GlobalOptions, examples, options, print_json, print_text
from protocols.runtime.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.results.run_summary import RunSummary


EPILOG = examples("orchestrate show configs/4agents_ring.yaml --format svg > ring.svg", "orchestrate show night", "orchestrate show --json")

_GOALS = 64
"""goals that are listed"""
_HEADINGS = {"cpu_seconds": "processor seconds", "peak_resident": "memory, peak", "proportional": "memory, shared pages divided"}


class Format(StrEnum):
    """Forms of a drawing."""

    TEXT = "text"
    SVG = "svg"
    DOT = "dot"
    MERMAID = "mermaid"
    JSON = "json"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("show", epilog=EPILOG)(show)


def show(
    context: typer.Context,
    what: Annotated[str | None, typer.Argument(metavar="[CONFIG | RUN]", help="A YAML file, or a run; the newest run without.")] = None,
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[key=value ...]", help="Overrides, for a CONFIG.")] = None,
    form: Annotated[Format, typer.Option("--format", help="Form of the drawing of a CONFIG; a RUN knows text and json.")] = Format.TEXT,
    plots: Annotated[bool, typer.Option("--plots", help="Draw the curves and tables of a RUN anew, as SVG, and print where.")] = False,
) -> None:
    """Draw the topology, placement and links of a configuration, or print the results of a run."""
    settings = options(context)
    path = Path(what) if what is not None else None
    if path is not None and (path.suffix in (".yaml", ".yml") or path.is_file()):
        if plots:
            raise UsageError(f"show: --plots are of a RUN, and {what} is a configuration")
        _configuration(settings, path, overrides or [], Format.JSON if settings.json else form)
        return
    if overrides:
        raise UsageError(f"show: overrides ({overrides[0]}) belong to a CONFIG, and {what} is none")
    if form not in (Format.TEXT, Format.JSON):
        raise UsageError(f"show: --format {form.value} draws a CONFIG; a RUN has text and json (its own configuration: RUN/config.yaml)")
    if plots:
        from orchestrator.report.charts.run_charts import draw

        drawn = draw(settings.find(what).directory)
        print_text("".join(f"{path}\n" for path in drawn) or "nothing was measured yet that could be drawn\n")
        return
    from orchestrator.results.recorded_run import RecordedRun
    from orchestrator.results.run_summary import summarize

    summary = summarize(RecordedRun(settings.find(what).directory))
    if settings.json or form is Format.JSON:
        print_json(summary.to_dict())
    else:
        _print(settings.console(), summary)


def _configuration(settings: GlobalOptions, path: Path, overrides: list[str], form: Format) -> None:
    from orchestrator.config import loader as configuration_loader
    from orchestrator.report.graphs import dry_run_summary as dry_run
    from orchestrator.report.graphs import graph_formats as formats

    loaded = configuration_loader.load(path, overrides, {})
    width = max(60, settings.console().width)
    if form is Format.TEXT:
        print_text(dry_run.dry_run_text(loaded.configuration, width))
        return
    draw = {Format.SVG: formats.to_svg, Format.DOT: formats.to_dot, Format.MERMAID: formats.to_mermaid, Format.JSON: formats.to_json}
    print_text(draw[form](loaded.configuration))


def _print(console: Console, summary: RunSummary) -> None:
    from rich.table import Table
    from rich.text import Text

    from orchestrator.cli.results.show_faults import print_faults
    from orchestrator.results.metric_series import BINS
    from orchestrator.results.run_summary import curve_text, taken_a_refresh, time_text
    from orchestrator.terminal import snapshot_figures as figures

    def table(title: str, *headings: str) -> Table:
        console.print(Text(f"\n{title}", "bold"))
        made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 1), header_style="dim")
        for number, heading in enumerate(headings):
            made.add_column(heading, justify="left" if number == 0 else "right", no_wrap=True)
        return made

    ended = f"exit {summary.exit_code}" if summary.exit_code is not None else ""
    head = [summary.run, summary.state.lower(), ended, f"seed {summary.seed}", figures.duration(summary.elapsed), summary.reason]
    console.print(Text("  ".join(part for part in head if part)), soft_wrap=True)
    console.print(Text(summary.directory, "dim"), soft_wrap=True)
    if summary.state == "LOST":
        console.print(Text(f"its run server is gone; clean up: orchestrate down {summary.run}", "yellow"), soft_wrap=True)
    if summary.training:
        made = table("training", "figure", "first", "best", "at step", "last", "")
        for c in summary.training:
            cells = (
                c.name,
                f"{c.first:.3f}",
                f"{c.best:.3f}",
                figures.count(c.best_step),
                f"{c.last:.3f}",
                figures.sparkline(c.values, BINS),
            )
            made.add_row(*map(Text, cells))
        console.print(made)
    if summary.evaluation:
        made = table("evaluation", "figure", "first", "best", "at episode", "last", "points", "")
        for c in summary.evaluation:
            row = (c.name.removeprefix("eval."), f"{c.first:.3f}", f"{c.best:.3f}", figures.count(c.best_episode), f"{c.last:.3f}")
            made.add_row(*map(Text, row), Text(str(c.points)), Text(figures.sparkline(c.values, 24)))
        console.print(made)
    if summary.goals:
        made = table("goals, newest evaluation", "goal", "success, given to all", "success, own choice", "followers who agreed")
        for goal in summary.goals[:_GOALS]:
            rates = ["-" if share is None else f"{share:.2f}" for share in (goal.given, goal.own, goal.agreed)]
            made.add_row(*map(Text, (goal.goal, *rates)))
        console.print(made)
        if len(summary.goals) > _GOALS:
            console.print(Text(f" and {len(summary.goals) - _GOALS} more: orchestrate show {summary.run} --json"))
    if summary.sums:
        made = table("statistics", "node", "agents", "missing", "published", "taken a refresh", "refused")
        for node, sums in sorted(summary.sums.items()):
            taken = taken_a_refresh(sums)
            numbers = [f"{sums.get(name, 0):.0f}" for name in ("origins", "staleness", "published")]
            made.add_row(*map(Text, (node, *numbers, "-" if taken is None else figures.size(taken), f"{sums.get('refused', 0):.0f}")))
        console.print(made)
    if summary.world_model:
        made = table("world model", "figure", "first", "best", "last")
        for c in summary.world_model:
            made.add_row(*map(Text, (c.name.removeprefix("world_model."), f"{c.first:.4g}", f"{c.best:.4g}", f"{c.last:.4g}")))
        console.print(made)
    if summary.contraction_predicted is not None:
        console.print(Text(f"\n{summary.averaged}", "bold"))
        found = summary.contraction_measured
        measured = f"measured {found:.3f}" if found is not None else "not measured (no round was complete)"
        console.print(Text(f" contraction a round: {measured}, predicted (largest) {summary.contraction_predicted:.3f}"))
        if summary.disagreement is not None:
            console.print(Text(f" disagreement: {curve_text(summary.disagreement)}"))
    if summary.time:
        parts = sorted({part for node in summary.time.values() for part in node})
        made = table("where the time goes", "node", *parts)
        for node, shares in summary.time.items():
            made.add_row(Text(node), *[Text(f"{100 * shares[part]:.1f} %" if part in shares else "-") for part in parts])
        console.print(made)
        if summary.slowest:
            console.print(Text(f" slowest part: {summary.slowest}   ({time_text(summary)})"))
    if summary.resources:
        _resources(table, console, summary.resources)
    if summary.links:
        keys = list(dict.fromkeys(key for link in summary.links for key in link))
        made = table("links", *(key.replace("_", " ") for key in keys))
        for link in summary.links:
            made.add_row(*[Text(_cell(key, link.get(key))) for key in keys])
        console.print(made)
    if summary.wire:
        made = table("messages refused, dropped or repeated", "what", "all", "most at")
        for what in sorted({what for counters in summary.wire.values() for what in counters}):
            counts = {node: counters.get(what, 0) for node, counters in summary.wire.items()}
            most = max(counts, key=counts.__getitem__)
            made.add_row(Text(what), Text(figures.count(sum(counts.values()))), Text(f"{most} {figures.count(counts[most])}"))
        console.print(made)
    if summary.faults:
        print_faults(table, console, summary)
    if summary.restarts:
        made = table("restarts", "node", "times")
        for node, times in summary.restarts.items():
            made.add_row(Text(node), Text(str(times)))
        console.print(made)


def _resources(table: Any, console: Console, resources: dict[str, dict[str, float]]) -> None:
    from rich.text import Text

    keys = list(dict.fromkeys(key for known in resources.values() for key in known))
    if not keys:
        return
    made = table("resources", "node", *(_HEADINGS.get(key, key.replace("_", " ")) for key in keys))
    for node, known in resources.items():
        made.add_row(Text(node), *[Text(_cell(key, known.get(key))) for key in keys])
    console.print(made)


def _cell(key: str, value: Any) -> str:
    from orchestrator.terminal import snapshot_figures as figures

    if value is None:
        return "-"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if key in ("bytes", "peak_resident", "proportional") or key.endswith("_bytes"):
            return figures.size(value)
        return figures.count(value) if float(value).is_integer() else f"{value:.4g}"
    return str(value)
