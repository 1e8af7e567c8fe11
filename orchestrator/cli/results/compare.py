"""`orchestrate compare`: in which keys runs differ, and then in which metrics."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.command_options import app, examples, options, print_json
from orchestrator.cli.completion import complete_runs

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


@app.command("compare", epilog=EPILOG)
def compare(
    context: typer.Context,
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN RUN ...", autocompletion=complete_runs, help="Names or directories, at least two.", show_default=False),
    ],
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
    from rich.text import Text

    from orchestrator.results.number_text import alone, form, interval, plain
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
            shape = form(value for one in estimates for value in (one.value, *(one.interval or ())))
            cells = []
            for one in estimates:
                if one.value is None:
                    cells.append("-")
                elif one.n == 1 and not one.failed:
                    cells.append(plain(f"{one.value:{shape}}") if len(estimates) > 1 else alone(one.value))
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
