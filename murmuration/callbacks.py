"""Code of the user that is called while a run goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from murmuration.recorded import Run


@dataclass(frozen=True)
class Progress:
    """A run at one moment, as its run server reports it."""

    name: str
    """name of the run"""
    directory: Path
    """run directory; the metrics files in it are complete up to about `metrics.every`"""
    state: str
    """STARTING, RUNNING, STOPPING, and at the end DONE, FAILED or STOPPED"""
    elapsed: float
    """seconds since the run server started"""
    fraction: float
    """share of `until` that is done, from 0 to 1"""
    episodes: int
    """finished training episodes"""
    steps: int
    """steps of environment copies"""
    metrics: Mapping[str, Mapping[str, float]]
    """node -> name -> newest value; nodes are `agent-0`, ..., `env-0` (the environment server) and `run` (the run as a whole)"""
    nodes: Mapping[str, str]
    """node -> state: joining, alive, suspect, dead, left, ..."""

    @classmethod
    def of(cls, snapshot: Mapping[str, Any]) -> Progress:
        """From a status report of the run server."""
        nodes = list(snapshot.get("nodes") or ())
        return cls(
            name=str(snapshot.get("run", "")),
            directory=Path(str(snapshot.get("directory", ""))),
            state=str(snapshot.get("state", "")),
            elapsed=float(snapshot.get("elapsed") or 0.0),
            fraction=float(snapshot.get("progress") or 0.0),
            episodes=int(snapshot.get("episodes") or 0),
            steps=int(snapshot.get("steps") or 0),
            metrics={**{str(node["name"]): dict(node.get("metrics") or {}) for node in nodes}, "run": dict(snapshot.get("metrics") or {})},
            nodes={str(node["name"]): str(node.get("state", "")) for node in nodes},
        )


class Callback:
    """Base class of callbacks; override what is needed. All methods are called in the thread that called `murmuration.run`.

    An exception in a method stops the run in order, and `murmuration.run` raises it afterwards.
    """

    def on_progress(self, progress: Progress) -> bool | None:
        """Called about twice a second. `False` stops the run in order, with checkpoints."""

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Called once for every event, in order: a node that joins, dies or restarts, a fault, a warning.

        Keys: `id`, `t` (UTC, ISO 8601), `severity` (info, warning, error), `code` (`node.restart`, ...), `node`, `text`.
        """

    def on_end(self, run: Run) -> None:
        """Called once when the run has ended, in whatever state."""


Callbacks = Callback | Callable[[Progress], Any] | Sequence[Callback | Callable[[Progress], Any]]
"""one callback or several; a plain function is called as `on_progress`"""


class _Function(Callback):
    """A plain function as a callback."""

    def __init__(self, function: Callable[[Progress], Any]) -> None:
        self._function = function

    def on_progress(self, progress: Progress) -> bool | None:
        return False if self._function(progress) is False else None


def as_callbacks(given: Callbacks) -> list[Callback]:
    """A list of callbacks from what a user may give; `TypeError` for anything else."""
    several = given if isinstance(given, Sequence) else [given]
    for one in several:
        if not isinstance(one, Callback) and not callable(one):
            raise TypeError(f"{one!r} is not a callback: give a function of one argument, or an instance of murmuration.Callback")
    return [one if isinstance(one, Callback) else _Function(one) for one in several]
