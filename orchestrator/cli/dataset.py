"""`orchestrate dataset`: recorded experience for offline learning is made, described, imported and exported."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.command_options import (
    ConfigArgument,
    GlobalOptions,
    OverridesArgument,
    app,
    examples,
    options,
    print_error,
    print_json,
)
from protocols.runtime.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.datasets.recording import Progress
    from protocols.datasets.dataset_reader import Dataset

_MAKE = examples(
    "orchestrate dataset make environments/particles_spread -o spread3 --mix random:1/3,medium=cover@0.5:1/3,expert=cover@0.05:1/3 -n 400",
    "orchestrate dataset make environments/particles_spread agents.count=5 -o bad --mix poison=leave:0.9,cover@0.5:0.1 --steps 30000",
    "orchestrate dataset make environments/simple_spread -o mine --mix night:1/2,./rules.py:policy:1/2",
)
_EXPORT = examples(
    "orchestrate dataset export spread3 --format minari -o minari/spread3-v0",
    "orchestrate dataset export spread3 --format vault -o vaults/spread3.vlt",
)
_IMPORT = examples(
    "orchestrate dataset import vaults/spread3.vlt -o spread3",
    "orchestrate dataset import ~/.minari/datasets/pendulum/random-v0 -o pendulum --environment environments/pendulum",
)


class DatasetFormat(StrEnum):
    """Formats of other libraries."""

    minari = "minari"
    vault = "vault"


datasets = typer.Typer(help="Recorded experience in shards, one for each agent.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(datasets, name="dataset")
OutputOption = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Directory of the new dataset.")]
DatasetArgument = Annotated[Path, typer.Argument(metavar="DATASET", help="Directory of a dataset.")]


@datasets.command("make", epilog=_MAKE)
def make(
    context: typer.Context,
    config: ConfigArgument,
    output: OutputOption,
    overrides: OverridesArgument = None,
    mix: Annotated[
        str,
        typer.Option(
            "--mix",
            help="[NAME=]POLICY[@EPSILON][:SHARE],... POLICY is random, a scripted policy of the environment, a run, or "
            "./file.py:function; with probability EPSILON a random action takes the place of its own.",
        ),
    ] = "random",
    episodes: Annotated[int | None, typer.Option("--episodes", "-n", min=1, help="Episodes of all policies together.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Instead: transitions of all agents, in whole episodes.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**31 - 1, help="Of episodes and policies.")] = 0,
) -> None:
    """Play episodes in the environment of CONFIG and record them: observations, actions, rewards, ends and log-probabilities, in one shard
    for each agent. The directory exists when it is complete. The same arguments give the same bytes."""
    if (episodes is None) == (steps is None):
        raise UsageError("dataset make: give --episodes or --steps, one of them")
    from orchestrator.config import loader as configuration_loader
    from orchestrator.config.checks.machine_resources import UNLIMITED
    from orchestrator.datasets.mixture import parse_mixture, quotas
    from orchestrator.datasets.recording import record_dataset
    from protocols.datasets.dataset_reader import Dataset

    settings = options(context)
    mixture = parse_mixture(mix)
    given = [*(overrides or []), "dataset=null"]  # where the configuration learns from a dataset, that is often the one to be made
    configuration = configuration_loader.load(config, given, machine=UNLIMITED).configuration
    wanted = quotas(mixture, episodes if episodes is not None else steps or 0)
    unit = "episodes" if steps is None else "transitions"
    record_dataset(output, configuration, mixture, wanted, steps is not None, seed, settings.runs_dir, _progress(settings, unit))
    _describe(settings, Dataset(output))


@datasets.command("collect", epilog=examples("orchestrate dataset collect runs/spread-brave-otter-0001 -o replay3"))
def collect(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run that was started with record_episodes=true, and has ended.")],
    output: OutputOption,
) -> None:
    """Make a dataset of quality replay: all training episodes of a run as its agents saw them, exploration included, in the order in which
    they began. The directory exists when it is complete."""
    from orchestrator.datasets.run_experience import collect_run
    from orchestrator.results import run_directories
    from protocols.datasets.dataset_reader import Dataset

    settings = options(context)
    collect_run(output, run_directories.find(settings.runs_dir, run), _progress(settings, "episodes"))
    _describe(settings, Dataset(output))


@datasets.command("info", epilog=examples("orchestrate dataset info spread3", "orchestrate --json dataset info spread3"))
def info(context: typer.Context, dataset: DatasetArgument) -> None:
    """Read all of a dataset, check digests, arrays, counts and returns against its manifest, and show what it holds.

    Exit 0, or 6 with the file, the field and the cure."""
    from protocols.datasets.dataset_reader import Dataset

    found = Dataset(dataset)
    found.verify()
    _describe(options(context), found)


@datasets.command("export", epilog=_EXPORT)
def export(
    context: typer.Context,
    dataset: DatasetArgument,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="New directory; minari: NAME-vNUMBER.")],
    form: Annotated[DatasetFormat, typer.Option("--format", help="minari: one dataset; vault: a vault for each behaviour, in DIR.")],
) -> None:
    """Write a dataset in the format of Minari or of OG-MARL (vaults of Flashbax), for other libraries. The directory exists when it is
    complete."""
    from orchestrator.datasets.interchange import export_dataset
    from protocols.datasets.dataset_reader import Dataset

    settings = options(context)
    export_dataset(Dataset(dataset), output, form.value, _progress(settings, "episodes"))
    if settings.json:
        print_json({"path": str(output), "format": form.value})
    elif settings.prints:
        settings.console().print(f"{output}: {form.value}", soft_wrap=True)


@datasets.command("import", epilog=_IMPORT)
def import_(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Directory of a dataset of Minari, of a vault, or of several vaults.")],
    output: OutputOption,
    environment: Annotated[
        Path | None,
        typer.Option("--environment", metavar="CONFIG", help="Its environment and agents; not needed for exports."),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Overrides of CONFIG.", show_default=False)
    ] = None,
) -> None:
    """Make a dataset of one in the format of Minari, or of vaults; the format is recognised. The directory exists when it is complete."""
    from orchestrator.config import loader as configuration_loader
    from orchestrator.config.checks.machine_resources import UNLIMITED
    from orchestrator.datasets.interchange import import_dataset
    from protocols.datasets.dataset_reader import Dataset

    if overrides and environment is None:
        raise UsageError(f"dataset import: {overrides[0]} overrides a configuration, and none is named; name one with --environment CONFIG")
    configuration = None
    if environment is not None:
        configuration = configuration_loader.load(environment, overrides or [], machine=UNLIMITED).configuration
    import_dataset(source, output, configuration)
    _describe(options(context), Dataset(output))


def _progress(settings: GlobalOptions, unit: str) -> Progress:
    """Prints each quarter of what is written under a name."""
    shown = -1

    def progress(name: str, done: int, total: int) -> None:
        nonlocal shown
        quarter = 4 * min(done, total) // total
        if settings.prints and (done == 0 or quarter != shown):
            print_error(f"{name}: {min(done, total)} of {total} {unit}")
        shown = quarter

    return progress


def _describe(settings: GlobalOptions, dataset: Dataset) -> None:
    import msgspec

    manifest = dataset.manifest
    if settings.json:
        print_json({"path": str(dataset.directory), "bytes": dataset.size(), **msgspec.to_builtins(manifest)})
        return
    if not settings.prints:
        return
    console = settings.console()
    megabytes = dataset.size() / 1e6
    console.print(f"{dataset.directory}: {manifest.episodes} episodes, {manifest.steps} transitions of all agents, {megabytes:.1f} MB")
    console.print(f"{manifest.environment.id}, {len(manifest.agents)} agents, seed {manifest.seed}, {manifest.digest[:12]}", soft_wrap=True)
    head = f"{'behaviour':<16}  {'policy':<20}  {'episodes':>8}  {'steps':>9}  {'return':>9}  {'std':>8}  "
    console.print(f"\n{head}{'min':>9}  {'25 %':>9}  {'median':>9}  {'75 %':>9}  {'max':>9}", style="dim", soft_wrap=True)
    for one in manifest.behaviours:
        returns = one.returns
        row = f"{one.name:<16}  {one.policy:<20}  {one.episodes:>8}  {one.steps:>9}  {returns.mean:>9.3f}  {returns.std:>8.3f}"
        console.print(row + "".join(f"  {value:>9.3f}" for value in returns.quantiles), soft_wrap=True)
    console.print(f"\n{'agent':<16}  {'episodes':>8}  {'steps':>9}  {'MB':>7}  observation   action", style="dim", soft_wrap=True)
    for shard in manifest.shards:
        layout = shard.layout
        seen = f"{layout.dtype}{layout.shape}"
        acts = f"discrete {layout.actions}" if layout.actions else f"continuous [{len(layout.low)}]"
        row = f"{shard.agent:<16}  {shard.episodes:>8}  {shard.steps:>9}  {dataset.size([shard.agent]) / 1e6:>7.1f}  {seen:<12}  {acts}"
        console.print(row, soft_wrap=True)
