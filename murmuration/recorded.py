"""Runs that have been recorded: their metrics, events and faults as tables, and the policies of their agents."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.results import run_directories
from orchestrator.results.recorded_run import RecordedRun

if TYPE_CHECKING:
    import pandas

    from murmuration.policy import Policy
    from orchestrator.results.playback.checkpoint_sources import CheckpointSource

_RUNS = "ORCHESTRATE_RUNS"
"""environment variable with the folder of the run directories, as for `orchestrate`"""


def runs_folder(given: str | os.PathLike[str] | None) -> Path:
    """The folder of the run directories: `given`, else the environment variable ORCHESTRATE_RUNS, else `runs`."""
    return Path(os.environ.get(_RUNS) or "runs") if given is None else Path(given)


def load(run: str | os.PathLike[str] | None = None, *, runs_dir: str | os.PathLike[str] | None = None) -> Run:
    """A run by its name or directory, finished or not; without `run` the newest.

    Args:
        run: Name of a run in `runs_dir`, or a run directory anywhere.
        runs_dir: Folder of the run directories; by default the environment variable ORCHESTRATE_RUNS, else `runs`.

    Raises:
        UsageError: There is no such run; the text names the nearest one.
    """
    return Run(run_directories.find(runs_folder(runs_dir), None if run is None else os.fspath(run)).directory)


class Run:
    """The recorded results of one run.

    Files are read when they are first needed, and kept: of a run that goes on, `load` it again for newer results.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)
        """run directory; `docs/reference/run_directory.md` lists its files"""
        self._recorded = RecordedRun(self.directory)

    def __repr__(self) -> str:
        return f"<Run {self.name}: {self.state.lower()}, {self.directory}>"

    # --- what the run is ----------------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of the run: that of its directory."""
        return self.directory.name

    @property
    def state(self) -> str:
        """STARTING, RUNNING or STOPPING; DONE, FAILED or STOPPED at the end; LOST where the run server was killed. Read anew each time."""
        return run_directories.read(self.directory).state

    @property
    def exit_code(self) -> int | None:
        """Exit code of the run (`docs/reference/exit_codes/index.md`); None while it runs."""
        return run_directories.read(self.directory).exit_code

    @property
    def reason(self) -> str:
        """Why the run ended; empty while it goes on."""
        return run_directories.read(self.directory).reason

    @property
    def config(self) -> Mapping[str, Any]:
        """The resolved configuration with every key, as nested dictionaries; durations and sizes are texts with units."""
        return self._recorded.configuration

    @property
    def agents(self) -> list[str]:
        """Names of the agents: agent-0, agent-1, ..."""
        return [f"agent-{number}" for number in range(int((self.config.get("agents") or {}).get("count") or 0))]

    # --- what it measured ---------------------------------------------------------------------------------------------------------

    @cached_property
    def metrics(self) -> pandas.DataFrame:
        """All metrics of all nodes, one row per value, in order of time.

        Columns: `node` (`agent-0`, ..., `env-0` for the environment server, `run` for the run as a whole), `name` (metric), `time`
        (seconds since training began; under `clock: logical` virtual seconds, and NaN for metrics of the machine), `step` (environment
        steps; rounds for metrics of averaging), `episode` (episodes of the node so far), `value`.
        """
        import pandas

        from orchestrator.results.metric_series import VIRTUAL

        time, logical = self._recorded.training_time, self._recorded.logical
        rows = [
            (node, name, nan if logical and point.time >= VIRTUAL else time.of(point.time), point.step, point.episode, point.value)
            for name, nodes in self._recorded.series.items()
            for node, points in nodes.items()
            for point in points
        ]
        table = pandas.DataFrame(rows, columns=["node", "name", "time", "step", "episode", "value"])
        table = table.astype({"time": "float64", "step": "int64", "episode": "int64", "value": "float64"})
        return table.sort_values("time", kind="stable", ignore_index=True)

    def metrics_wide(self, *names: str, by: Literal["step", "time", "episode"] = "step") -> pandas.DataFrame:
        """Metrics as columns: index (`node`, `by`), one column for each of `names` (all metrics without), NaN where a node did not report.

        `run.metrics_wide("return").loc["env-0"].plot()` draws a learning curve. Of several values at one index the last is kept.

        Raises:
            KeyError: The run has no metric of one of these names.
        """
        table = self.metrics
        if unknown := [name for name in names if not (table["name"] == name).any()]:
            from difflib import get_close_matches

            near = get_close_matches(unknown[0], table["name"].unique().tolist(), 3, 0.4)
            raise KeyError(f"{self.name} has no metric {unknown[0]!r}; similar: {', '.join(near) or 'none'}")
        if names:
            table = table[table["name"].isin(names)]
        wide = table.pivot_table(index=["node", by], columns="name", values="value", aggfunc="last")
        return wide[list(names)] if names else wide

    @property
    def summary(self) -> Mapping[str, Any]:
        """What the run server computed at the end (`summary.json`): `evaluation` (first and last value), final metrics, use of the
        processor and time shares of each node, disagreement, links. Empty while the run goes on."""
        return self._recorded.summary

    @property
    def verdict(self) -> Mapping[str, Any]:
        """Whether the expectations of a run with faults held (`verdict.json`); empty without any."""
        return self._recorded.verdict

    @property
    def events(self) -> list[dict[str, Any]]:
        """Events in order: nodes that joined, died or restarted, faults, warnings; keys as in `Callback.on_event`."""
        return self._recorded.events

    @cached_property
    def faults(self) -> pandas.DataFrame:
        """Faults in order of their beginning.

        Columns: `name`, `kind`, `node`, `begin` and `end` (seconds since training began; NaN where it did not end), `detection` and
        `recovery` (seconds until it was detected, and from its end until the run had recovered; NaN: never).
        """
        import pandas

        columns = ["name", "kind", "node", "begin", "end", "detection", "recovery"]
        rows = [[fault.id, *(getattr(fault, column) for column in columns[1:])] for fault in self._recorded.faults]
        return pandas.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[3:], "float64"))

    def log_tail(self, lines: int = 12) -> str:
        """Where a run failed: the last lines of the log of the node that its reason or its first error names, else of the run server."""
        from orchestrator.results.run_logs import failure_tail

        return failure_tail(self.directory, lines)

    # --- what its agents have learnt ------------------------------------------------------------------------------------------------

    def checkpoints(self, agent: str) -> list[Path]:
        """The kept checkpoints of an agent, oldest first."""
        return sorted((self.directory / "nodes" / agent / "checkpoints").glob("*.json"))

    def policy(self, agent: str, checkpoint: str | os.PathLike[str] | None = None, *, copies: int = 1, seed: int | None = None) -> Policy:
        """The policy of an agent as its newest checkpoint has it.

        Args:
            agent: Name of the agent.
            checkpoint: One of `checkpoints(agent)` instead of the newest.
            copies: Environment copies that are acted in at once; observations then are `[copies, *shape]`.
            seed: Seed of actions that are drawn; by default the run's.

        Raises:
            UsageError: The run has no such agent, or the agent no checkpoint.
            ResourceError: The checkpoint does not fit the configuration of the run.
        """
        from murmuration.policy import Policy

        return Policy(self._source(agent, checkpoint), agent, copies, seed)

    def evaluate(
        self, episodes: int = 10, *, agent: str | None = None, deterministic: bool = True, seed: int | None = None
    ) -> pandas.DataFrame:
        """Play new episodes with the newest checkpoints of the agents, in this process; nothing is learnt.

        Args:
            episodes: Number of episodes.
            agent: Play episodes of this agent only, and report its return instead of the sum over members.
            deterministic: Take the most likely actions, where the learner has them; else act as in training.
            seed: Seed of episodes and actions; by default the run's.

        Returns:
            One row per episode: `episode`, `return`, `length`, `success` (share of members; NaN where the environment does not report it),
            `goal` (empty without goals), `members` (tuple of names).

        Raises:
            UsageError: The run has no such agent, or an agent no checkpoint.
        """
        import pandas

        from orchestrator.results.playback.checkpoint_episodes import CheckpointPlayback

        played = CheckpointPlayback(self._source(agent, None), deterministic, seed, pictures=False).play(episodes)
        rows = [(number, e.reward, e.length, e.success, e.goal, e.members) for number, e in enumerate(played)]
        table = pandas.DataFrame(rows, columns=["episode", "return", "length", "success", "goal", "members"])
        return table.astype({"success": "float64"})

    def _source(self, agent: str | None, checkpoint: str | os.PathLike[str] | None) -> CheckpointSource:
        from orchestrator.results.playback import checkpoint_sources

        return checkpoint_sources.find(self.directory.parent, os.fspath(self.directory if checkpoint is None else checkpoint), agent)
