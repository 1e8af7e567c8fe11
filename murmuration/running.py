"""Starting a run and waiting for its end."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from murmuration.callbacks import Callback, Callbacks, Progress, as_callbacks
from murmuration.recorded import Run, runs_folder
from orchestrator.config.shipped_configurations import shipped_configurations
from orchestrator.terminal.interrupts import Interrupts
from orchestrator.terminal.line_views import PlainView
from orchestrator.terminal.run_view import ProgressView, WatchOutcome
from protocols.runtime.errors import ExitCode, MurmurationError

logger = logging.getLogger("murmuration")

_SLACK = 10.0
"""seconds that the run server has to report missing nodes itself before the run is stopped from here"""
_STOP_WAIT = 5.0


class RunFailedError(MurmurationError):
    """A run ended with an error. The text is its reason and the end of the log that explains it; `run` gives access to all its files."""

    def __init__(self, text: str, run: Run) -> None:
        super().__init__(text)
        self.run = run
        code = run.exit_code
        self.exit_code = ExitCode(code) if code and code in set(ExitCode) else ExitCode.CRASH


def configurations() -> list[str]:
    """Names of the shipped configurations that `run` takes, such as `4agents_ring` and `odmar/far`."""
    return [name for name in shipped_configurations() if not name.startswith("experiments/")]


def run(
    config: str | os.PathLike[str] | Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    /,
    *,
    name: str | None = None,
    seed: int | None = None,
    runs_dir: str | os.PathLike[str] | None = None,
    callbacks: Callbacks = (),
    verbose: bool = False,
    start_timeout: float = 60.0,
    **keys: Any,
) -> Run:
    """Start a run and block until it ends.

    Ctrl-C (or interrupting the cell of a notebook) stops the run in order, with checkpoints, and then raises `KeyboardInterrupt`; a second
    one stops it at once. `murmuration.load()` returns the run afterwards. When this process dies, the run is stopped in order.

    Args:
        config: A YAML file, the name of a shipped configuration (`configurations()` lists them), or a dictionary with the contents of a
            file; `{"extends": "4agents_ring", ...}` lays the dictionary over a shipped configuration.
        overrides: Dotted keys of the configuration with their values: `{"until.time": "20s", "agents.learner": {"kind": "ppo"}}`.
            Durations and sizes are texts with units.
        name: Name of the run; it must be new. By default one is made of the configuration's name, two words and a number.
        seed: Seed of all random numbers, instead of the configuration's.
        runs_dir: Folder of the run directories; by default the environment variable ORCHESTRATE_RUNS, else `runs`.
        callbacks: A function that is called with `Progress` about twice a second, a `Callback`, or a sequence of them.
        verbose: Print the progress of the run, as `orchestrate up --plain` does.
        start_timeout: Seconds until all nodes must be up.
        **keys: As `overrides`, with a double underscore in the place of each dot: `until__time="20s"`.

    Returns:
        The finished run. A run whose callback stopped it, or whose expectations on faults failed (`exit_code` 1), is returned too.

    Raises:
        ConfigurationError: The configuration is wrong (the text lists every mistake), or `name` is taken. Nothing was started.
        UsageError: There is no such configuration.
        RunFailedError: The run ended with an error.
        KeyboardInterrupt: The run was interrupted; it has ended.
    """
    from orchestrator.config.loader import load as load_configuration
    from orchestrator.config.resolved_configuration import flow
    from orchestrator.run_server.run_start import command_line, prepare_run

    given = _plain({**(overrides or {}), **{key.replace("__", "."): value for key, value in keys.items()}})
    arguments = [f"{key}={flow(value)}" for key, value in given.items()]
    source: Path | dict[str, Any] = _plain(config) if isinstance(config, Mapping) else Path(config)
    loaded = load_configuration(source, arguments, {"seed": seed})
    for problem in loaded.warnings:
        logger.warning("%s", problem.message)
    following = as_callbacks(callbacks)
    directory = prepare_run(loaded, runs_folder(runs_dir), name, command_line(loaded.path, arguments, seed))
    return _lead(directory, following, verbose, start_timeout)


def _plain(value: Any) -> Any:
    """Values as a configuration file has them: numpy scalars as numbers, arrays and tuples as lists, paths as texts."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):  # numpy
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


class _View(ProgressView):
    """Passes what the watcher of a run sees on to callbacks."""

    def __init__(self, directory: Path, callbacks: list[Callback], verbose: bool) -> None:
        self.stopped = False
        """a callback has asked for the end of the run"""
        self.raised: BaseException | None = None
        """what a callback raised; none is called after that"""
        self._directory = directory
        self._callbacks = callbacks
        self._verbose = verbose
        self._lines: ProgressView = PlainView(sys.stdout) if verbose else ProgressView()

    def notice(self, text: str) -> None:
        """A line about the run from this side of the connection."""
        if self._verbose:
            self._lines.notice(text)
        else:
            logger.warning("%s", text)

    def show(self, snapshot: dict[str, Any], events: list[dict[str, Any]]) -> None:
        """The newest state of the run and the events since the last one."""
        self._lines.show(snapshot, events)
        wanted = True
        try:
            for callback in self._callbacks if self.raised is None else ():
                for event in events:
                    callback.on_event(event)
                wanted &= callback.on_progress(Progress.of(snapshot)) is not False
        except Exception as error:
            self.raised, wanted = error, False
        if not wanted and not self.stopped:
            self.stopped = True
            reason = "stopped by a callback" if self.raised is None else f"a callback raised {type(self.raised).__name__}"
            from orchestrator.run_server.run_client import RunClient, Unreachable

            with contextlib.suppress(Unreachable), RunClient(self._directory, _STOP_WAIT) as client:  # unreachable: it is ending already
                client.stop(reason=reason, timeout=_STOP_WAIT)

    def end(self, outcome: WatchOutcome, summary: str = "") -> None:
        """The run has ended."""
        self._lines.end(outcome, summary)


def _lead(directory: Path, callbacks: list[Callback], verbose: bool, start_timeout: float) -> Run:
    """Start the run server, follow the run to its end, and judge how it ended."""
    from orchestrator.results.run_summary import after_run
    from orchestrator.run_server.run_start import start_detached
    from orchestrator.terminal.run_watcher import Watcher

    view = _View(directory, callbacks, verbose)
    signals = (signal.SIGINT,) if threading.current_thread() is threading.main_thread() else ()
    with Interrupts(signals) as interrupts:
        start_detached(directory, start_timeout=start_timeout)
        outcome = Watcher(directory, view, interrupts, "lead", start_timeout + _SLACK).run()
    recorded = Run(directory)
    view.end(outcome, after_run(directory) if verbose and (directory / "summary.json").is_file() else "")
    if view.raised is not None:
        raise view.raised
    for callback in callbacks:
        callback.on_end(recorded)
    if interrupts.count:
        raise KeyboardInterrupt
    if outcome.exit_code not in (ExitCode.OK, ExitCode.EXPECTATION_FAILED) and not view.stopped:
        raise RunFailedError("\n".join(part for part in (f"{directory.name}: {outcome.reason}", recorded.log_tail()) if part), recorded)
    return recorded
