"""`orchestrate export`: configurations and experiments as files for other programs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.command_options import (
    ConfigArgument,
    ExperimentsDirOption,
    OverridesArgument,
    app,
    examples,
    experiment_directory,
    experiment_names,
    options,
    print_error,
    print_json,
    print_problems,
    print_text,
)
from protocols.runtime.errors import ResourceError, UsageError

EPILOG = examples(
    "orchestrate export kubernetes configs/4agents_ring.yaml --image registry.example/murmuration:1",
    "orchestrate export kubernetes configs/4agents_ring.yaml agents.count=16 --image IMAGE --namespace learning -o night",
)
MARL_EPILOG = examples(
    "orchestrate export marl-eval delay_sweep",
    "orchestrate export marl-eval delay_sweep --algorithm topology -o night.json",
)
exports = typer.Typer(
    help="Write a configuration, or an experiment, as files for programs of others.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(exports, name="export")
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LONGEST = 40


@exports.command("kubernetes", epilog=EPILOG)
def kubernetes(
    context: typer.Context,
    config: ConfigArgument,
    image: Annotated[str, typer.Option("--image", help="Container image with this package in it.")],
    overrides: OverridesArgument = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder for the files; NAME-kubernetes without it.")
    ] = None,
    namespace: Annotated[str, typer.Option("--namespace", help="Of all objects; it must exist in the cluster.")] = "default",
    name: Annotated[str | None, typer.Option("--name", help="Of the run and of all objects; by default the configuration's.")] = None,
    storage: Annotated[
        str, typer.Option("--storage", help="Size of the volume for the run directory; none: it ends with its pod.")
    ] = "10Gi",
    storage_class: Annotated[str | None, typer.Option("--storage-class", help="By default the cluster's own.")] = None,
    minor: Annotated[
        str | None, typer.Option("--kubernetes", metavar="MINOR", help="Version of the cluster, 1.31 for example; too old: refused.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what an earlier export wrote.")] = False,
) -> None:
    """Write plain manifests: a Job of one pod with the run server and all nodes, and what it needs. Nothing is applied.

    Names and sizes are checked before anything is written. The manifests need Kubernetes 1.29 or later.
    """
    import shlex

    from orchestrator.config import loader as configuration_loader
    from orchestrator.config.checks.machine_resources import UNLIMITED
    from orchestrator.launch import kubernetes_export as export

    settings = options(context)
    notes = export.check_minor(minor) if minor is not None else []
    # The cluster's machines count, not this one.
    loaded = configuration_loader.load(config, overrides or [], machine=UNLIMITED)
    print_problems(loaded.warnings)
    run = name if name is not None else _dns_name(loaded.configuration.name)
    if _NAME.fullmatch(run) is None or len(run) > _LONGEST:
        raise UsageError(f'--name: "{run}" is no name for a service: small letters, digits and "-", a letter first, at most {_LONGEST}')
    target = export.Target(run, image, namespace, None if storage == "none" else storage, storage_class)
    export.check_target(target)
    pod = export.pod_for(loaded.configuration)
    words = ["orchestrate", "export", "kubernetes", str(config), *(overrides or []), "--image", image, "--namespace", namespace]
    words += ["--name", run, "--storage", storage]
    words += ["--storage-class", storage_class] if storage_class is not None else []
    found = export.texts(export.manifests(loaded.configuration, pod, target), target, notes, shlex.join(words))
    written = export.write(output or Path(f"{run}-kubernetes"), found, force)
    if settings.json:
        print_json({"ok": True, "files": [str(path) for path in written], "kubernetes": export.MINORS, "notes": notes, "nodes": pod.nodes})
        return
    for note in notes:
        print_error(f"note: {note}")
    if settings.verbosity >= 0:
        print_text(f"{run}: one pod, for Kubernetes {export.MINORS[0]} or later")
        print_text("\n".join(f"  {path}" for path in written))
        print_text(f"start: kubectl apply -f {shlex.quote(str(written[0].parent))}")


def _dns_name(name: str) -> str:
    """A configuration's name as a service may be called."""
    plain = re.sub(r"[^a-z0-9]+", "-", name).strip("-")
    return plain if plain[:1].isalpha() else f"run-{plain}".rstrip("-")


@exports.command("marl-eval", epilog=MARL_EPILOG)
def marl_eval(
    context: typer.Context,
    experiment: Annotated[str, typer.Argument(metavar="EXPERIMENT", help="Name or directory.")],
    algorithm: Annotated[
        str | None,
        typer.Option("--algorithm", metavar="FACTOR", help="The factor that is the algorithm; without it the only one, or the baseline's."),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metric", metavar="NAME", help="A measure of the experiment; may be repeated; without it the first."),
    ] = None,
    points: Annotated[int, typer.Option("--points", min=2, max=10_000, help="Common steps of all curves.")] = 100,
    common_seeds: Annotated[
        bool, typer.Option("--common-seeds", help="Leave seeds out of which any cell is missing; without it that is an error.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="By default marl_eval.json in the experiment's directory.")
    ] = None,
    experiments_dir: ExperimentsDirOption = Path("experiments"),
) -> None:
    """Write the curves of an experiment in the JSON layout of marl-eval. Each combination of the other factors is a task."""
    settings = options(context)
    directory = experiment_directory(experiment, experiments_dir)
    if directory is None:
        known = experiment_names(experiments_dir)
        raise UsageError(f"no experiment {experiment} in {experiments_dir}/; there: {', '.join(known) or 'none'}")
    from orchestrator.experiments.results.experiment_results import load
    from orchestrator.experiments.results.marl_eval_export import marl_eval
    from orchestrator.results.run_files import write_json

    found = marl_eval(load(directory, over_time=False), algorithm, metrics or [], points, common_seeds)
    file = output or directory / "marl_eval.json"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, found.content)
    except OSError as error:
        raise ResourceError(f"{file} can't be written: {error.strerror}; choose another place with -o") from None
    if settings.json:
        facts = {"metrics": found.metrics, "runs": found.runs, "axis": found.axis, "steps": found.steps, "left_out": found.left_out}
        print_json({"file": str(file), **facts})
        return
    if found.left_out:
        print_error(f"note: left out, since not whole in all groups: seed {', '.join(map(str, found.left_out))}")
    if settings.verbosity >= 0:
        print_text(f"{file}: {found.runs} runs, {', '.join(found.metrics)}, {found.axis} {found.steps[0]:,} to {found.steps[1]:,}")
