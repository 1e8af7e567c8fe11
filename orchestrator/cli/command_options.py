"""What all commands share: the global options, and how they print."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.completion import complete_configurations, complete_overrides, complete_runs
from orchestrator.config.parsing.problems import Problem, counted, lines
from orchestrator.results import run_directories as runs
from orchestrator.results.run_directories import Run
from orchestrator.terminal.line_views import JsonView, PlainView, finite
from orchestrator.terminal.run_view import ProgressView
from protocols.runtime.errors import ResourceError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.run_server.run_client import RunClient

_STORE = "experiment.sqlite"
"""file that marks the directory of an experiment"""
_SECONDS = {"ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def examples(*lines: str) -> str:
    """An epilog of help: examples, one a line, not wrapped together."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


app = typer.Typer(
    name="orchestrate",
    help="Runs systems of agents, each a process of its own, from one YAML file.",
    epilog=examples(
        "orchestrate up configs/4agents_ring.yaml until.time=60s",
        "orchestrate --install-completion      (the shell then completes names of runs and configuration keys)",
    ),
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
"""every module of commands adds its own"""

CONFIG_HELP = "A YAML file, or the name of a shipped configuration."
ConfigArgument = Annotated[Path, typer.Argument(metavar="CONFIG", autocompletion=complete_configurations, help=CONFIG_HELP)]
OverridesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[key=value ...]", autocompletion=complete_overrides, help="Overrides, as for up.")
]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", autocompletion=complete_runs, help="Name or directory of a run.")]
NewestRunArgument = Annotated[
    str | None, typer.Argument(metavar="[RUN]", autocompletion=complete_runs, help="Name or directory of a run; the newest without.")
]
ExperimentsDirOption = Annotated[
    Path, typer.Option("--experiments-dir", envvar="ORCHESTRATE_EXPERIMENTS", help="Folder of the experiments.")
]
JobsOption = Annotated[
    int | None,
    typer.Option("--jobs", "-j", min=1, help="Cells side by side; else as many as fit by cores and memory."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Check every cell, estimate the time, and start nothing.")]
LinesOption = Annotated[bool, typer.Option("--plain", help="Lines only, without the line of running cells.")]


@dataclass(frozen=True)
class GlobalOptions:
    """The global options."""

    runs_dir: Path = Path("runs")
    json: bool = False
    color: bool = True
    verbosity: int = 0
    """-1 quiet, 0 normal, 1 and more verbose"""

    def console(self) -> Console:
        """A rich console for standard output that honours --no-color and NO_COLOR."""
        from rich.console import Console

        class _PipedConsole(Console):
            def on_broken_pipe(self) -> None:
                """The reader of the output has ended, as `head` does. Rich would end with 1; `orchestrator.cli.app.main` ends with 0."""
                raise BrokenPipeError

        plain = not self.color or "NO_COLOR" in os.environ
        width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160
        return _PipedConsole(file=sys.stdout, no_color=plain, highlight=False, width=width, markup=False, emoji=False)

    @property
    def prints(self) -> bool:
        """Whether text for people is printed: neither --json nor --quiet."""
        return not self.json and self.verbosity >= 0

    def live(self, plain: bool) -> bool:
        """Whether progress is redrawn in place: on a terminal that can, unless plain lines are asked for."""
        return not plain and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"

    def answer(self, record: Any, text: str) -> None:
        """The result of a command: JSON for a script, text for a person, nothing with --quiet."""
        if self.json:
            print_json(record)
        elif self.prints:
            print_text(text)

    def client(self, run: Run, timeout: float = 10.0) -> RunClient:
        """A connection to the run server of this run; use it as a context."""
        from orchestrator.run_server.run_client import RunClient

        return RunClient(run.directory, timeout)

    def find(self, which: str | None) -> Run:
        """The run of that name or directory, or the newest."""
        return runs.find(self.runs_dir, which)

    def view(self, plain: bool, hint: str = "") -> ProgressView:
        """The view that fits: JSON lines, a live table on a terminal, else plain lines; nothing with --quiet."""
        if self.json:
            return JsonView(sys.stdout)
        if self.verbosity < 0:
            return ProgressView()
        if not self.live(plain):
            return PlainView(sys.stdout)
        from orchestrator.terminal.table_view import TableView

        return TableView(self.console(), hint)


def options(context: typer.Context) -> GlobalOptions:
    """The global options of this call."""
    found = context.find_object(GlobalOptions)
    return found if found is not None else GlobalOptions()


def experiment_directory(what: str, experiments_dir: Path) -> Path | None:
    """Directory of the experiment of that name or path; None where it does not exist."""
    return next((directory for directory in (experiments_dir / what, Path(what)) if (directory / _STORE).is_file()), None)


def experiment_names(experiments_dir: Path) -> list[str]:
    """Names of the experiments in a directory."""
    return sorted(path.parent.name for path in experiments_dir.glob(f"*/{_STORE}"))


def print_json(value: Any) -> None:
    """One JSON value on standard output, in one line."""
    sys.stdout.write(json.dumps(finite(value), ensure_ascii=False, default=str, allow_nan=False) + "\n")
    sys.stdout.flush()


def print_text(text: str) -> None:
    """Write text to standard output without markup, and end the line."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def write_text(path: Path, text: str) -> None:
    """Write a file that the user named; `ResourceError` where that is not possible."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ResourceError(f"{path} can't be written: {error.strerror}; choose another place, or change its permissions") from None


def print_problems(problems: Sequence[Problem], title: str = "") -> None:
    """Mistakes or warnings on standard error, if there are any: below a title with their number, or above their number."""
    if title and problems:
        print_error("\n".join([f"{title}: {counted(problems)}", *lines(problems)]))
    elif problems:
        print_error("\n".join([*lines(problems, indent=""), counted(problems)]))


def print_error(text: str) -> None:
    """Write text to standard error without markup, and end the line."""
    sys.stderr.write(text if text.endswith("\n") else text + "\n")
    sys.stderr.flush()


def seconds(text: str, option: str) -> float:
    """Seconds of a time on the command line: `10s`, `500ms`, `5m`, `2h`, or a bare number of seconds."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text)
    if match is None or match[2] not in _SECONDS:
        raise UsageError(f'{option}: "{text}" is not a time; write for example 10s, 500ms, 5m or 2h')
    return float(match[1]) * _SECONDS[match[2]]
