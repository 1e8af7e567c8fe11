"""`orchestrate compare`: in which keys runs differ, and then in which figures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.command_options import examples, options, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.report.run_comparison import RunComparison

EPILOG = examples(
    "orchestrate compare night noon",
    "orchestrate compare ring-brave-otter-0001 ring-calm-owl-0002 --metric eval.own.return",
    "orchestrate compare ring-a ring-b star-a star-b --json",
)
_LONG = 40
"""characters of a key's value that are shown"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare", epilog=EPILOG)(compare)


def compare(
    context: typer.Context,
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN ...", help="Names or directories, at least two.", show_default=False)],
    metric: Annotated[
        str | None,
        typer.Option("--metric", metavar="NAME", help="Compare this metric alone (docs/reference/metrics.md).", show_default=False),
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
        _print(settings.console(), found)


def _print(console: Console, found: RunComparison) -> None:
    from rich.table import Table
    from rich.text import Text

    from orchestrator.report.number_format import alone, form, interval, plain

    def table(title: str, *headings: str) -> Table:
        console.print(Text(f"\n{title}", "bold"))
        made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 1), header_style="dim")
        for number, heading in enumerate(headings):
            made.add_column(heading, justify="left" if number == 0 else "right", overflow="fold")
        return made

    names = [side.name for side in found.sides]
    made = table("runs", "", "runs", "seeds", "code")
    for side in found.sides:
        seeds = " ".join("-" if seed is None else str(seed) for seed in side.seeds)
        made.add_row(*map(Text, (side.name, " ".join(side.runs), seeds, ", ".join(sorted(set(side.codes))))))
    console.print(made)
    if len(found.sides) == 1:
        console.print(Text("\nthe configurations differ in the seed alone: one side", "dim"))
    if found.keys:
        made = table("keys that differ", "key", *names)
        for key, values in found.keys.items():
            made.add_row(Text(key), *(Text(_short(value)) for value in values))
        console.print(made)
    if found.figures:
        made = table("results that differ" if len(names) > 1 else "results", "figure", *names)
        for name, estimates in found.figures.items():
            shape = form(value for one in estimates for value in (one.value, *(one.interval or ())))
            cells = []
            for one in estimates:
                if one.value is None:
                    cells.append("-")
                elif one.n == 1 and not one.failed:
                    cells.append(plain(f"{one.value:{shape}}") if len(estimates) > 1 else alone(one.value))
                else:
                    count = f"n={one.n}" + (f" of {one.n + one.failed}" if one.failed else "")
                    cells.append(
                        f"{plain(f'{one.value:{shape}}')} {interval(one, shape) if one.interval else ''} {count}".replace("  ", " ")
                    )
            made.add_row(Text(name), *map(Text, cells))
        console.print(made)
    if found.equal:
        console.print(Text(f"\nthe same everywhere: {', '.join(found.equal)}", "dim"), soft_wrap=True)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str).strip('"')
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"
