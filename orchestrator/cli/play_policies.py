"""`orchestrate test`: play what a run's agents have learnt, without starting a run."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.command_options import GlobalOptions, app, examples, options, print_json
from orchestrator.cli.completion import complete_overrides, complete_runs
from orchestrator.results.number_text import decimal

if TYPE_CHECKING:
    from orchestrator.results.playback.checkpoint_episodes import CheckpointPlayback, PlayedEpisode
    from orchestrator.results.playback.checkpoint_sources import CheckpointSource
    from orchestrator.results.statistics.estimate import Estimate

EPILOG = examples(
    "orchestrate test --episodes 20",
    "orchestrate test night agents.count=5 environment.options.N=5",
    "orchestrate test night --agent agent-2 --sample --video night.mp4",
    "orchestrate test runs/night/nodes/agent-0/checkpoints/000000004000.json --json",
)


@app.command("test", epilog=EPILOG)
def test(
    context: typer.Context,
    what: Annotated[
        str | None,
        typer.Argument(metavar="[RUN|CHECKPOINT]", autocompletion=complete_runs, help="A run, the newest without, or a checkpoint's file."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[key=value ...]",
            autocompletion=complete_overrides,
            help="Another environment or number of agents: environment.KEY=VALUE, agents.count=N (agent i acts as agent i mod n).",
        ),
    ] = None,
    episodes: Annotated[int, typer.Option("--episodes", "-n", min=1, max=100_000, help="Episodes to play.")] = 10,
    seed: Annotated[int | None, typer.Option("--seed", min=0, max=2**31 - 1, help="Of the episodes; the run's without.")] = None,
    sample: Annotated[bool, typer.Option("--sample", help="Act as in training instead of by the likeliest actions.")] = False,
    agent: Annotated[str | None, typer.Option("--agent", help="Whose episodes; where copies have one agent, agent-0 without.")] = None,
    video: Annotated[Path | None, typer.Option("--video", help="Film all episodes: a file that ends in .mp4 or .gif.")] = None,
    rate: Annotated[int, typer.Option("--fps", min=1, max=100, help="Steps a second in the film.")] = 10,
) -> None:
    """Play what the agents have learnt, from their checkpoints, in one environment: return, success and length of every episode."""
    from orchestrator.results.playback import checkpoint_sources as sources

    settings = options(context)
    given = overrides or []
    if what is not None and "=" in what and not Path(what).exists():
        given = [what, *given]
        what = None
    source = sources.find(settings.runs_dir, what, agent, given)
    if video is not None:
        from orchestrator.results.playback.video import VideoWriter, check

        check(video)
    from orchestrator.results.playback.checkpoint_episodes import CheckpointPlayback

    inspection = CheckpointPlayback(source, not sample, seed, video is not None)
    if settings.prints:
        _head(settings, source, inspection, sample)
    played: list[PlayedEpisode] = []
    with nullcontext() if video is None else VideoWriter(video, rate) as made:
        for episode in inspection.play(episodes, None if made is None else made.add):
            played.append(episode)
            _line(settings, len(played), episode)
    film = None if made is None else {"path": str(video), "pictures": made.pictures, "cut": made.cut}
    _end(settings, source, inspection, sample, played, film)


def _head(settings: GlobalOptions, source: CheckpointSource, inspection: CheckpointPlayback, sample: bool) -> None:
    console = settings.console()
    for name, player in inspection.players.items():
        facts = ", ".join(f"{key} {value}" for key, value in player.facts.items() if key != "step")
        console.print(f"{name} of {source.directory.name}: checkpoint {inspection.checkpoints[name].stem.lstrip('0') or '0'} ({facts})")
    how = "actions as in training" if sample else "likeliest actions"
    console.print(f"{(source.played or source.configuration).environment.id}, seed {inspection.seed}, {how}", soft_wrap=True)
    if inspection.goals:
        console.print(f"goals: {inspection.goals}", soft_wrap=True)
    console.print(f"{'episode':>7}  {'return':>9}  {'success':>7}  {'length':>6}", style="dim")


def _line(settings: GlobalOptions, number: int, episode: PlayedEpisode) -> None:
    if not settings.prints:
        return
    success = "-" if episode.success is None else f"{episode.success:.2f}"
    goal = f"  {episode.goal}  {', '.join(episode.members)}" if episode.goal else ""
    settings.console().print(f"{number:>7}  {decimal(episode.reward, 3):>9}  {success:>7}  {episode.length:>6}{goal}", soft_wrap=True)


def _end(
    settings: GlobalOptions,
    source: CheckpointSource,
    inspection: CheckpointPlayback,
    sample: bool,
    played: list[PlayedEpisode],
    film: dict[str, Any] | None,
) -> None:
    means = {"return": _mean([episode.reward for episode in played]), "length": _mean([float(episode.length) for episode in played])}
    successes = [episode.success for episode in played if episode.success is not None]
    if successes:
        means["success"] = _mean(successes)
    if settings.json:
        print_json(
            {
                "run": source.directory.name,
                "environment": (source.played or source.configuration).environment.id,
                "seed": inspection.seed,
                "actions": "training" if sample else "likeliest",
                "goals": inspection.goals or None,
                "agent": inspection.agent,
                "checkpoints": {name: {"file": str(inspection.checkpoints[name]), **p.facts} for name, p in inspection.players.items()},
                "episodes": [
                    {"return": e.reward, "success": e.success, "length": e.length, "members": list(e.members), "goal": e.goal or None}
                    for e in played
                ],
                "means": {name: mean.record() for name, mean in means.items()},
                "video": film,
            }
        )
        return
    console = settings.console()
    for name in ("return", "success", "length"):
        if name in means:
            value = means[name].value
            form = ".1f" if name == "length" else "#.3g" if value is not None and 0 < abs(value) < 0.1 else ".3f"
            console.print(f"{name}: mean {means[name].text(form)}", soft_wrap=True)
    if film is not None:
        cut = "; it ends there, episodes went on" if film["cut"] else ""
        console.print(f"{film['path']}: {film['pictures']} pictures{cut}", soft_wrap=True)


def _mean(values: list[float]) -> Estimate:
    """With the interval in which 95 % of the means of episodes drawn anew from these lie (bootstrap)."""
    from orchestrator.results.statistics import estimate as aggregates
    from orchestrator.results.statistics.estimate import estimate
    from orchestrator.results.statistics.runs_table import ScoreSample

    return estimate(ScoreSample.of(values), aggregates.mean)
