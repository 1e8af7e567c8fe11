"""`orchestrate`: the command line. A thin client: a run is led by its own server, which lives beside the run."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from orchestrator import __version__
from orchestrator.cli import process_commands as server
from orchestrator.cli.command_options import GlobalOptions, examples, print_error
from orchestrator.cli.configurations import doctor, init, migrate, topology, validate
from orchestrator.cli.configurations import export_kubernetes as export
from orchestrator.cli.experiments import experiment, simulate, sweep
from orchestrator.cli.results import compare, report, show
from orchestrator.cli.results import play_policies as test
from orchestrator.cli.runs import attach, clean, down, fault, logs, ps, restart, up
from protocols.runtime.errors import ExitCode, MurmurationError

app = typer.Typer(
    name="orchestrate",
    help="Runs systems of agents, each a process of its own, from one YAML file.",
    epilog=examples("orchestrate up configs/4agents_ring.yaml until.time=60s"),
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_FLAGS = {"--json", "--no-color", "-v", "--verbose", "-q", "--quiet"}
_VALUES = {"--runs-dir"}


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"orchestrate {__version__}\n")
        raise typer.Exit(0)


@app.callback()
def _global(
    context: typer.Context,
    runs_dir: Annotated[Path, typer.Option("--runs-dir", envvar="ORCHESTRATE_RUNS", help="Folder of the run directories.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Output for scripts: JSON, one object a line.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours (also: NO_COLOR in the environment).")] = False,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Say more; tracebacks of errors.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what went wrong.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_version)] = False,
) -> None:
    context.obj = GlobalOptions(runs_dir, as_json, not no_color, -1 if quiet else verbose)


_COMMANDS = (
    up,
    validate,
    migrate,
    show,
    topology,
    simulate,
    experiment,
    sweep,
    test,
    report,
    compare,
    ps,
    attach,
    logs,
    down,
    restart,
    fault,
    init,
    clean,
    export,
    doctor,
    server,
)
for _commands in _COMMANDS:
    _commands.register(app)


def hoist(arguments: Sequence[str]) -> list[str]:
    """Move global options, which may stand anywhere, before the command. What follows `--` stays where it is."""
    front: list[str] = []
    rest: list[str] = []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        if argument == "--":
            rest += [argument, *waiting]
            break
        if argument in _FLAGS or (argument.partition("=")[0] in _VALUES and "=" in argument):
            front.append(argument)
        elif argument in _VALUES:
            front += [argument, *waiting[:1]]
            waiting = waiting[1:]
        else:
            rest.append(argument)
    return front + rest


def _program(arguments: Sequence[str]) -> typer.Typer:
    """The program with the command that is called alone: typer looks at the options of every command that it has, 20 ms each."""
    waiting = [argument for argument in arguments if argument not in _FLAGS]
    while waiting and waiting[0].partition("=")[0] in _VALUES:
        waiting = waiting[1 if "=" in waiting[0] else 2 :]
    name = waiting[0] if waiting else None
    commands = [command for command in app.registered_commands if command.name == name]
    groups = [group for group in app.registered_groups if group.name == name]
    if not commands and not groups:  # help, or a name that is none: all are needed
        return app
    program = copy.copy(app)
    program.registered_commands, program.registered_groups = commands, groups
    return program


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its exit code (`protocols.runtime.errors.ExitCode`)."""
    arguments = hoist(sys.argv[1:] if arguments is None else arguments)
    code = int(ExitCode.CRASH)
    try:
        result = _program(arguments)(list(arguments), prog_name="orchestrate", standalone_mode=True)
        code = result if isinstance(result, int) else int(ExitCode.OK)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(ExitCode.OK if end.code is None else ExitCode.USAGE)
    except MurmurationError as error:
        print_error(str(error))
        if any(argument in ("-v", "--verbose") for argument in arguments):
            import traceback

            traceback.print_exception(error)
        code = int(error.exit_code)
    except KeyboardInterrupt:  # only where no command waits for signals itself
        code = int(ExitCode.INTERRUPTED)
    except BrokenPipeError:  # whoever read our output has gone, as `head` does: not an error
        code = int(ExitCode.OK)
    except Exception:
        import traceback

        traceback.print_exc()
    _flush()
    sys.exit(code)


def _flush() -> None:
    """Empty the output buffers; where nobody reads any more (a closed pipe or terminal) the interpreter must not try again at its end,
    since it would change the exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
