"""`orchestrate validate`, `schema`, `init` and `migrate`: configuration files are checked, described, written and renewed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.command_options import (
    ConfigArgument,
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
from orchestrator.config.parsing import problems as configuration_problems
from protocols.runtime.errors import ExitCode, MurmurationError


@app.command("validate", epilog=examples("orchestrate validate configs/4agents_ring.yaml agents.count=8 --print"))
def validate(
    context: typer.Context,
    config: ConfigArgument,
    overrides: OverridesArgument = None,
    show: Annotated[
        bool, typer.Option("--print", help="Print the resolved configuration, each line with where its value was written.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings and notices count as errors.")] = False,
) -> None:
    """Check everything that can be checked without starting anything; exit 0, or 3 with every mistake named at once."""
    from orchestrator.config import loader as configuration_loader
    from orchestrator.config import resolved_configuration

    settings = options(context)
    try:
        loaded = configuration_loader.load(config, overrides or [], {}, strict=strict)
    except MurmurationError as error:
        found = error.problems if isinstance(error, configuration_problems.Problems) else None
        if settings.json:
            records = [{"text": str(error), "severity": "error"}] if found is None else list(map(vars, found))
            print_json({"ok": False, "exit_code": int(error.exit_code), "problems": records})
        elif found is None:
            raise
        else:
            print_problems(found)
        raise typer.Exit(int(error.exit_code)) from None
    if settings.json:
        line = {"ok": True, "exit_code": int(ExitCode.OK), "digest": loaded.digest, "problems": list(map(vars, loaded.warnings))}
        shown = {"configuration": loaded.configuration.model_dump(mode="json"), "origins": loaded.origins} if show else {}
        print_json({**line, **shown})
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

    text = schema_text(schema_of(ExperimentDesign if experiment else Configuration))
    if write is None:
        print_text(text)
        return
    write_text(write, text)
    if options(context).verbosity >= 0:
        print_error(f"wrote {write}")


@app.command("init", epilog=examples("orchestrate init mine", "orchestrate init experiments/far.yaml --like odmar/far"))
def init(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new configuration, or path of its file.")],
    like: Annotated[str, typer.Option("--like", help="One that comes with the system (odmar/far), or the path of one.")] = "4agents_ring",
) -> None:
    """Write NAME.yaml, a commented configuration that needs no other file. One that exists is never overwritten."""
    from orchestrator.config.shipped_configurations import write_starter

    settings = options(context)
    path = write_starter(name, like)
    settings.answer(
        {"path": str(path), "like": like}, f"wrote {path}      start: orchestrate up {path}      check: orchestrate validate {path}"
    )


@app.command("migrate", epilog=examples("orchestrate migrate my-run.yaml", "orchestrate migrate my-run.yaml --write"))
def migrate(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Configurations or experiments.")],
    write: Annotated[bool, typer.Option("--write", help="Change the files; else the changes are only printed.")] = False,
) -> None:
    """Rename the keys of version 1 in configurations and experiments; comments and layout stay.

    A file that extends another is changed alone: name both.
    """
    from orchestrator.config.key_names import migration_of

    settings = options(context)
    for file in files:
        migration = migration_of(file)
        if settings.json:
            print_json({"file": str(file), "changes": [vars(change) for change in migration.changes], "written": write})
        else:
            print_text("\n".join(map(str, migration.changes)) or f"{file}: nothing to change")
        if write and migration.changes:
            write_text(file, migration.text)
        elif migration.changes and settings.prints:
            print_error(f"{file} is unchanged; write it with --write")
