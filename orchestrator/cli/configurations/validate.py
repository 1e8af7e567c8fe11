"""`orchestrate validate`, `schema` and `init`: configuration files are checked, described and written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.command_options import app, examples, options, print_error, print_json, print_text
from orchestrator.cli.completion import CONFIG, complete_configurations, complete_overrides
from protocols.runtime.errors import ExitCode, MurmurationError


@app.command("validate", epilog=examples("orchestrate validate configs/4agents_ring.yaml agents.count=8 --print"))
def validate(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(metavar="CONFIG", autocompletion=complete_configurations, help=CONFIG, show_default=False)],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[key=value ...]", autocompletion=complete_overrides, help="Overrides, as for up.")
    ] = None,
    show: Annotated[
        bool, typer.Option("--print", help="Print the resolved configuration, each line with where its value was written.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings and notices count as errors.")] = False,
) -> None:
    """Check everything that can be checked without starting anything; exit 0, or 3 with every mistake named at once."""
    from orchestrator.config import loader as configuration_loader
    from orchestrator.config import resolved_configuration
    from orchestrator.config.parsing import problems as configuration_problems

    settings = options(context)
    try:
        loaded = configuration_loader.load(config, overrides or [], {}, strict=strict)
    except configuration_problems.Problems as problems:
        if not settings.json:
            print_error(
                "\n".join([*configuration_problems.lines(problems.problems, indent=""), configuration_problems.counted(problems.problems)])
            )
        else:
            found = [vars(problem) for problem in problems.problems]
            print_json({"ok": False, "exit_code": int(problems.exit_code), "problems": found})
        raise typer.Exit(int(problems.exit_code)) from None
    except MurmurationError as error:
        if not settings.json:
            raise
        print_json({"ok": False, "exit_code": int(error.exit_code), "problems": [{"text": str(error), "severity": "error"}]})
        raise typer.Exit(int(error.exit_code)) from None
    if settings.json:
        resolved = loaded.configuration.model_dump(mode="json") if show else None
        warnings = [vars(problem) for problem in loaded.warnings]
        line = {"ok": True, "exit_code": int(ExitCode.OK), "digest": loaded.digest, "problems": warnings}
        print_json(line if resolved is None else {**line, "configuration": resolved, "origins": loaded.origins})
        return
    if loaded.warnings:
        print_error("\n".join(configuration_problems.lines(loaded.warnings, indent="")))
    if show:
        print_text(resolved_configuration.resolved_yaml(loaded.configuration, loaded.origins, loaded.notices))
    elif settings.verbosity >= 0:
        print_text(f"{config} is right ({configuration_problems.counted(loaded.warnings) if loaded.warnings else 'no warnings'})")


@app.command("schema", epilog=examples("orchestrate schema --write configs/schema.json"))
def schema(
    context: typer.Context,
    write: Annotated[Path | None, typer.Option("--write", metavar="FILE", help="Write it into a file instead.")] = None,
    experiment: Annotated[bool, typer.Option("--experiment", help="That of experiment files.")] = False,
) -> None:
    """Print the JSON schema of configuration files, by which editors complete and check them."""
    from orchestrator.config.configuration import Configuration
    from orchestrator.config.json_schema import schema_of, schema_text
    from orchestrator.experiments.design.experiment_design import ExperimentDesign
    from protocols.runtime.errors import ResourceError

    text = schema_text(schema_of(ExperimentDesign if experiment else Configuration))
    if write is None:
        print_text(text)
        return
    try:
        write.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ResourceError(f"{write} can't be written: {error.strerror}; choose another file") from None
    if options(context).verbosity >= 0:
        print_error(f"wrote {write}")


_EPILOG = examples("orchestrate init mine", "orchestrate init experiments/far.yaml --like odmar/far")


@app.command("init", epilog=_EPILOG)
def init(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new configuration, or path of its file.", show_default=False)],
    like: Annotated[str, typer.Option("--like", help="One that comes with the system (odmar/far), or the path of one.")] = "4agents_ring",
) -> None:
    """Write NAME.yaml, a commented configuration that needs no other file. One that exists is never overwritten."""
    from orchestrator.config.starter_configuration import write_starter

    settings = options(context)
    path = write_starter(name, like)
    settings.answer(
        {"path": str(path), "like": like}, f"wrote {path}      start: orchestrate up {path}      check: orchestrate validate {path}"
    )
