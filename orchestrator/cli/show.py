"""`orchestrate show`: a configuration as a drawing, or a run as tables of results. `orchestrate compare`: where runs differ."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.command_options import GlobalOptions, app, examples, options, print_json, print_text
from orchestrator.cli.completion import complete_overrides, complete_runs
from orchestrator.results.number_text import alone, count, decimal, elapsed, form, interval, plain, size, sparkline
from protocols.runtime.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.config.configuration import Configuration
    from orchestrator.report.run_comparison import RunComparison
    from orchestrator.results.run_summary import RunSummary

EPILOG = examples("orchestrate show configs/4agents_ring.yaml --format svg > ring.svg", "orchestrate show night", "orchestrate show --json")
COMPARE_EPILOG = examples(
    "orchestrate compare night noon",
    "orchestrate compare ring-brave-otter-0001 ring-calm-owl-0002 --metric eval.own.return",
    "orchestrate compare ring-a ring-b star-a star-b --json",
)
_LONG = 40
"""characters of a key's value that `compare` shows"""
_GOALS = 64
"""goals that are listed"""
_HEADINGS = {"cpu_seconds": "processor seconds", "peak_resident": "memory, peak", "proportional": "memory, shared pages divided"}

_FAULT_METRICS = (
    "detection_time.max", "recovery_time.max", "unavailable_time.sum", "episodes.substituted", "episodes.discarded", "episodes.lost",
    "consensus.error",
)  # fmt: skip


Format = StrEnum("Format", ["TEXT", "SVG", "DOT", "MERMAID", "JSON"])
"""forms of a drawing"""


@app.command("show", epilog=EPILOG)
def show(
    context: typer.Context,
    what: Annotated[
        str | None,
        typer.Argument(metavar="[CONFIG | RUN]", autocompletion=complete_runs, help="A YAML file, or a run; the newest run without."),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[key=value ...]", autocompletion=complete_overrides, help="Overrides, for a CONFIG.")
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="Form of the drawing of a CONFIG; a RUN has text and json.")] = Format.TEXT,
    plots: Annotated[bool, typer.Option("--plots", help="Draw the curves and tables of a RUN anew, as SVG, and print where.")] = False,
) -> None:
    """Draw the topology, placement and links of a configuration, or print the results of a run."""
    settings = options(context)
    path = Path(what) if what is not None else None
    if path is not None and (path.suffix in (".yaml", ".yml") or path.is_file()):
        if plots:
            raise UsageError(f"show: --plots are of a RUN, and {what} is a configuration")
        from orchestrator.config import loader as configuration_loader

        draw(settings, configuration_loader.load(path, overrides or []).configuration, form)
        return
    if overrides:
        raise UsageError(f"show: overrides ({overrides[0]}) belong to a CONFIG, and {what} is none")
    if form not in (Format.TEXT, Format.JSON):
        raise UsageError(f"show: --format {form.value} draws a CONFIG; a RUN has text and json (its own configuration: RUN/config.yaml)")
    if plots:
        from orchestrator.report.charts import run_charts

        drawn = run_charts.draw(settings.find(what).directory)
        print_text("".join(f"{path}\n" for path in drawn) or "nothing was measured yet that could be drawn\n")
        return
    from orchestrator.results.recorded_run import RecordedRun
    from orchestrator.results.run_summary import summarize

    summary = summarize(RecordedRun(settings.find(what).directory))
    if settings.json or form is Format.JSON:
        print_json(summary.to_dict())
    else:
        _print(settings.console(), summary)


def draw(settings: GlobalOptions, configuration: Configuration, form: Format = Format.TEXT) -> None:
    """Print the drawing of a configuration; with --json as JSON."""
    from orchestrator.report.graphs import graph_formats as formats

    if settings.json or form is Format.JSON:
        print_text(formats.to_json(configuration))
    elif form is Format.TEXT:
        print_text(formats.dry_run_text(configuration, max(60, settings.console().width)))
    else:
        print_text({Format.SVG: formats.to_svg, Format.DOT: formats.to_dot, Format.MERMAID: formats.to_mermaid}[form](configuration))


def _print(console: Console, summary: RunSummary) -> None:
    from rich.text import Text

    from orchestrator.results.metric_series import BINS
    from orchestrator.results.run_summary import curve_text, heading, taken_a_refresh, time_text
    from orchestrator.terminal.tables import print_table

    def line(text: str, style: str = "") -> None:
        console.print(Text(text, style), soft_wrap=True)

    ended = f"exit {summary.exit_code}" if summary.exit_code is not None else ""
    head = [summary.run, summary.state.lower(), ended, f"seed {summary.seed}", elapsed(summary.elapsed), summary.reason]
    line("  ".join(part for part in head if part))
    line(summary.directory, "dim")
    if summary.state == "LOST":
        from orchestrator.run_server.lead.living_run import advice

        line(f"its run server is gone; {advice(Path(summary.directory))}", "yellow")
    if curves := summary.training:
        rows = [
            (
                heading(c, summary.agents),
                decimal(c.first, 3),
                decimal(c.best, 3),
                count(c.best_step),
                decimal(c.last, 3),
                sparkline(c.values, BINS),
            )
            for c in curves
        ]
        print_table(console, "training", ("figure", "first", "best", "at step", "last", ""), rows)
    if curves := summary.evaluation:
        evaluated = [
            (heading(c, summary.agents).removeprefix("eval."), decimal(c.first, 3), decimal(c.best, 3), count(c.best_episode),
             decimal(c.last, 3), str(c.points), sparkline(c.values, 24))
            for c in curves
        ]  # fmt: skip
        print_table(console, "evaluation", ("figure", "first", "best", "at episode", "last", "points", ""), evaluated)
    if summary.last_evaluation:
        line(f" last evaluation: {summary.last_evaluation}")
    if summary.goals:
        shares = [(goal.goal, *map(decimal, (goal.given, goal.own, goal.agreed))) for goal in summary.goals[:_GOALS]]
        headings = ("goal", "success, given to all", "success, own choice", "followers who agreed")
        print_table(console, "goals, newest evaluation", headings, shares)
        if len(summary.goals) > _GOALS:
            line(f" and {len(summary.goals) - _GOALS} more: orchestrate show {summary.run} --json")
    if summary.sums:
        found = []
        for node, sums in sorted(summary.sums.items()):
            numbers = [f"{sums.get(name, 0):.0f}" for name in ("origins", "staleness", "published")]
            found.append((node, *numbers, size(taken_a_refresh(sums)), f"{sums.get('refused', 0):.0f}"))
        print_table(console, "statistics", ("node", "agents", "missing", "published", "taken a refresh", "refused"), found)
    if curves := summary.world_model:
        errors = [(c.name.removeprefix("world_model."), f"{c.first:.4g}", _cell("", c.best), f"{c.last:.4g}") for c in curves]
        print_table(console, "world model", ("figure", "first", "best", "last"), errors)
    if summary.contraction_predicted is not None:
        line(f"\n{summary.averaged}", "bold")
        value = summary.contraction_measured
        measured = f"measured {value:.3f}" if value is not None else "not measured (no round was complete)"
        line(f" contraction a round: {measured}, predicted (largest) {summary.contraction_predicted:.3f}")
        if summary.disagreement is not None:
            line(f" disagreement: {curve_text(summary.disagreement)}")
    if summary.time:
        parts = sorted({part for node in summary.time.values() for part in node})
        spent = [(node, *(f"{100 * found[p]:.1f} %" if p in found else "-" for p in parts)) for node, found in summary.time.items()]
        print_table(console, "where the time goes", ("node", *parts), spent)
        if summary.slowest:
            line(f" slowest part: {summary.slowest}   ({time_text(summary)})")
    if keys := list(dict.fromkeys(key for known in summary.resources.values() for key in known)):
        used = [(node, *(_cell(key, known.get(key)) for key in keys)) for node, known in summary.resources.items()]
        print_table(console, "resources", ("node", *(_HEADINGS.get(key, key.replace("_", " ")) for key in keys)), used)
    if summary.links:
        keys = list(dict.fromkeys(key for link in summary.links for key in link))
        links = [[_cell(key, link.get(key)) for key in keys] for link in summary.links]
        print_table(console, "links", [key.replace("_", " ") for key in keys], links)
    if summary.wire:
        troubles = []
        for what in sorted({what for counters in summary.wire.values() for what in counters}):
            counts = {node: counters.get(what, 0) for node, counters in summary.wire.items()}
            most = max(counts, key=counts.__getitem__)
            troubles.append((what, count(sum(counts.values())), f"{most} {count(counts[most])}"))
        print_table(console, "messages refused, dropped or repeated", ("what", "all", "most at"), troubles)
    if summary.faults:
        _print_faults(console, summary)
    if summary.restarts:
        print_table(console, "restarts", ("node", "times"), [(node, str(times)) for node, times in summary.restarts.items()])


def _print_faults(console: Console, summary: RunSummary) -> None:
    from rich.text import Text

    from orchestrator.terminal.tables import print_table

    rows = []
    for record in summary.faults.get("faults") or []:
        end, rates = record.get("end"), record.get("steps_per_second") or {}
        lasted = _seconds(None if end is None else end - record["begin"])
        recovery = "never" if record.get("recovery") is None else _seconds(record["recovery"])
        cells = [record["id"], record["kind"], record["node"], lasted, _seconds(record.get("detection")), recovery]
        rows.append([*cells, *(f"{rates[part]:.0f}" if part in rates else "-" for part in ("before", "during", "after"))])
    headings = ("fault", "kind", "node", "lasted", "noticed after", "recovery", "steps/s before", "during", "after")
    print_table(console, "faults", headings, rows)
    metrics = summary.faults.get("figures") or {}
    words = [f"{name} {'never' if metrics[name] is None else format(metrics[name], '.3g')}" for name in _FAULT_METRICS if name in metrics]
    console.print(Text(" " + "   ".join(words)), soft_wrap=True)
    for one in summary.verdict.get("expectations") or []:
        measured = "not measured" if one.get("measured") is None else f"measured {_figure(one['measured'])}"
        result, style = ("passed", "") if one.get("passed") else ("FAILED", "red")
        console.print(Text(f" expected {one.get('metric')} {one.get('op')} {_figure(one.get('value'))}: {measured}, {result}", style))
    if summary.verdict and not summary.verdict.get("passed"):
        console.print(Text(f" to repeat: {summary.verdict.get('repeat')}"), soft_wrap=True)


def _cell(key: str, value: Any) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if key in ("bytes", "peak_resident", "proportional") or key.endswith("_bytes"):
            return size(value)
        return count(value) if float(value).is_integer() else f"{value:.4g}"
    return "-" if value is None else str(value)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _figure(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)


@app.command("compare", epilog=COMPARE_EPILOG)
def compare(
    context: typer.Context,
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN RUN ...", autocompletion=complete_runs, help="Names or directories, at least two.")
    ],
    metric: Annotated[
        str | None, typer.Option("--metric", metavar="NAME", help="Compare this metric alone (docs/reference/metrics.md).")
    ] = None,
) -> None:
    """Lay runs side by side: configuration keys that differ, then results that differ.

    Runs that differ in nothing but their seed count as one side, with an interval where there are enough of them.
    """
    settings = options(context)
    from orchestrator.report import run_comparison as comparing

    found = comparing.compare([settings.find(which).directory for which in runs], metric)
    if settings.json:
        print_json(found.record())
    else:
        _print_comparison(settings.console(), found)


def _print_comparison(console: Console, found: RunComparison) -> None:
    from rich.text import Text

    from orchestrator.terminal.tables import print_table

    names = [side.name for side in found.sides]
    sides = []
    for side in found.sides:
        seeds = " ".join("-" if seed is None else str(seed) for seed in side.seeds)
        sides.append((side.name, " ".join(side.runs), seeds, ", ".join(sorted(set(side.codes)))))
    print_table(console, "runs", ("", "runs", "seeds", "code"), sides, "fold")
    if len(found.sides) == 1:
        console.print(Text("\nthe configurations differ in the seed alone: one side", "dim"))
    if found.keys:
        rows = [(key, *map(_short, values)) for key, values in found.keys.items()]
        print_table(console, "keys that differ", ("key", *names), rows, "fold")
    if found.metrics:
        compared = []
        for name, estimates in found.metrics.items():
            cells = []
            for one in estimates:
                shape = form((one.value, *(one.interval or ())))  # one for all sides would hide the smallest
                if one.value is None:
                    cells.append("-")
                elif one.n == 1 and not one.failed:
                    cells.append(alone(one.value))
                else:
                    count = f"n={one.n}" + (f" of {one.n + one.failed}" if one.failed else "")
                    between = interval(one, shape) if one.interval else ""
                    cells.append(f"{plain(f'{one.value:{shape}}')} {between} {count}".replace("  ", " "))
            compared.append((name, *cells))
        print_table(console, "results that differ" if len(names) > 1 else "results", ("metric", *names), compared, "fold")
    if found.equal:
        console.print(Text(f"\nthe same everywhere: {', '.join(found.equal)}", "dim"), soft_wrap=True)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str).strip('"')
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"
