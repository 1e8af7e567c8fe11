"""`orchestrate`: the command line, and `orchestrate doctor`. A thin client: a run is led by its own server process."""

from __future__ import annotations

import copy
import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from orchestrator import __version__
from orchestrator.cli import (  # noqa: F401 - the modules of commands add them to `app`
    check_env,
    configuration_files,
    dash,
    dataset,
    down,
    experiment,
    export,
    fault,
    logs,
    play_policies,
    ps,
    report,
    show,
    simulate,
    topology,
    up,
    why,
)
from orchestrator.cli.command_options import GlobalOptions, app, examples, options, print_error, print_json
from protocols.runtime.errors import ExitCode, MurmurationError, UsageError

_FLAGS = {"--json", "--no-color", "-v", "--verbose", "-q", "--quiet"}
_VALUES = {"--runs-dir"}
_ORDER = (
    "up", "validate", "check-env", "migrate", "schema", "show", "topology", "simulate", "experiment", "sweep", "test", "report", "compare",
    "ps", "attach", "dash", "logs", "why", "down", "restart", "fault", "init", "clean", "doctor", "_serve", "host",
)  # fmt: skip
"""of commands in the help"""


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
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="More output; tracebacks of errors.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_version)] = False,
) -> None:
    context.obj = GlobalOptions(runs_dir, as_json, not no_color, -1 if quiet else verbose)


@app.command("doctor", epilog=examples("orchestrate doctor --brief"))
def doctor(
    context: typer.Context,
    brief: Annotated[bool, typer.Option("--brief", help="Only what takes milliseconds: torch is not imported.")] = False,
) -> None:
    """Check versions, cores, memory, torch, limits, places and clock. Each line is ok, warn or bad with the cure; exit 0, or 6 if bad."""
    from rich.text import Text

    from orchestrator.launch.machine_report import checks

    settings = options(context)
    console = settings.console()
    worst = ExitCode.OK
    for check in checks(settings.runs_dir, brief):
        if check.status == "bad":
            worst = ExitCode.RESOURCES
        if settings.json:
            print_json({"status": check.status, "name": check.name, "text": check.text, "cure": check.cure})
            continue
        if check.status == "ok" and settings.verbosity < 0:
            continue
        style = {"ok": "green", "warn": "yellow", "bad": "bold red"}[check.status]
        line = Text(f"{check.status:<5}", style).append(f"{check.name:<16} {check.text}", "")
        if check.cure:
            line.append(f"\n{'':<22}-> {check.cure}", style)
        console.print(line, soft_wrap=True)
    raise typer.Exit(int(worst))


@app.command("_serve", hidden=True)
def serve(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The run's directory.")],
    start_timeout: Annotated[float, typer.Option("--start-timeout", help="Seconds until every node must be up.")] = 60.0,
) -> None:
    """Lead the run in DIR: rendezvous, supervision, collection. Started by `up`."""
    from orchestrator.run_server.run_server import main

    raise typer.Exit(main(directory, start_timeout))


@app.command("host", hidden=True)
def host(invitation: Annotated[str, typer.Argument(metavar="-", help="Where the invitation comes from: - is standard input.")]) -> None:
    """Start and watch nodes on this machine for a run server. Started by the launch engine."""
    if invitation != "-":
        raise UsageError(f'host reads its invitation from standard input: write "-" instead of "{invitation}"')
    from orchestrator.launch.host.host_process import main

    raise typer.Exit(main())


app.registered_commands.sort(key=lambda command: _ORDER.index(command.name or ""))


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
        if argument == "--dashboard":
            argument = "--dashboard=0"  # its value may be left out: a free port
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
    _open_standard_streams()
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
    except BrokenPipeError:  # the reader of the output has ended, as `head` does: not an error
        code = int(ExitCode.OK)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            _print_traceback()
        else:
            where = error.filename or "standard output or a file"
            print_error(f"cannot write {where}: {error.strerror}; make room, or write elsewhere (--runs-dir DIRECTORY)")
            code = int(ExitCode.RESOURCES)
    except Exception:
        _print_traceback()
    _flush()
    sys.exit(code)


def _print_traceback() -> None:
    import traceback

    traceback.print_exc()


def _open_standard_streams() -> None:
    """Connect closed standard streams (`>&-`) to the null device. Otherwise the next socket or file would get the number 1, and output of
    this process and its children would go there."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115


def _flush() -> None:
    """Empty the output buffers. Where the reader has ended (a closed pipe or terminal) the interpreter must not try again at its end,
    since it would change the exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
