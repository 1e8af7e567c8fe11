"""`orchestrate migrate`: files of an earlier version of the format with the present keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.command_options import app, examples, options, print_error, print_json, print_text
from protocols.runtime.errors import ResourceError


@app.command("migrate", epilog=examples("orchestrate migrate my-run.yaml", "orchestrate migrate my-run.yaml --write"))
def migrate(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Configurations or experiments.", show_default=False)],
    write: Annotated[bool, typer.Option("--write", help="Change the files; else the changes are only printed.")] = False,
) -> None:
    """Rename the keys of version 1 in configurations and experiments; comments and layout stay.

    A file that extends another is changed alone: name both.
    """
    from orchestrator.config.migration import migration_of

    settings = options(context)
    for file in files:
        migration = migration_of(file)
        if settings.json:
            print_json({"file": str(file), "changes": [vars(change) for change in migration.changes], "written": write})
        else:
            print_text("\n".join(map(str, migration.changes)) or f"{file}: nothing to change")
        if write and migration.changes:
            try:
                file.write_text(migration.text, encoding="utf-8")
            except OSError as error:
                raise ResourceError(f"{file} can't be written: {error.strerror}; change its permissions") from error
        elif migration.changes and settings.prints:
            print_error(f"{file} is unchanged; write it with --write")
