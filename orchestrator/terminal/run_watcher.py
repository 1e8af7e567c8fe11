"""Looking on while a run goes on: asks for snapshots, feeds a view, turns signals into stop requests, and sees how the run ended. Where the
run server is killed, the command that leads the run starts another one."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from orchestrator.results import run_directories as runs
from orchestrator.results.run_files import read_lines
from orchestrator.run_server.lead.living_run import can_be_taken_over
from orchestrator.run_server.run_client import RunClient, Snapshot, Unreachable
from orchestrator.run_server.run_start import start_detached
from orchestrator.run_server.system_errors import why_gone
from orchestrator.terminal import snapshot_metrics as shown
from orchestrator.terminal.interrupts import Interrupts
from orchestrator.terminal.run_view import ProgressView, WatchOutcome
from protocols.runtime.errors import ExitCode, MurmurationError

TAKEOVER_PAUSE = 20.0
"""seconds from one takeover of a run to the next: a run server that is gone sooner has a cause that another one would meet too"""
ANSWER = 5.0
"""seconds that the run server has for an answer"""


def not_up(snapshot: Snapshot | None) -> list[str]:
    """Names of nodes that are not alive; "the run server" where no node is known yet."""
    nodes = (snapshot or {}).get("nodes")
    return [str(node.get("name")) for node in nodes if node.get("state") != "alive"] if nodes else ["the run server"]


class Watcher:
    """Follows one run to its end, or until it is left.

    `mode` is what a signal means: `lead` stops the run (in order, at the second signal at once) and holds it on a leash; `look`
    leaves it; `start` does as `lead`, and ends when every node is up.
    """

    def __init__(
        self,
        directory: Path,
        view: ProgressView,
        interrupts: Interrupts,
        mode: Literal["lead", "look", "start"],
        timeout: float | None = None,
    ) -> None:
        self.directory = directory
        self.view = view
        self.interrupts = interrupts
        self.mode = mode
        self.snapshot: Snapshot | None = None
        self._patience = timeout or 0.0
        self._up_by = time.monotonic() + timeout if timeout is not None else None
        self._began = time.monotonic()
        self._client: RunClient | None = None
        self._asked = 0
        self._silent = False
        self._late = ""
        self._deserted = False
        self._takeover_after = 0.0

    def run(self) -> WatchOutcome:
        """Watch until there is an outcome."""
        try:
            while True:
                if (outcome := self._ended()) is not None:
                    return outcome
                if self.mode == "look" and self.interrupts.count:
                    return self._leaving()
                self._look()
                if self._up_by is not None:
                    if (self.snapshot or {}).get("phase") == "queued":
                        self._up_by = time.monotonic() + self._patience  # the time to come up is counted from when there is room
                    elif not not_up(self.snapshot):
                        self._up_by = None
                        if self.mode == "start":
                            return self._leaving()
                    elif time.monotonic() > self._up_by:
                        self._up_by = None
                        self._too_late()
                self._pass_on_signals()
                keys = self.interrupts.wait(self.view.period)
                if self.mode == "look" and "d" in keys.lower():
                    return self._leaving()
        finally:
            if self._client is not None:
                self._client.close()

    def _update(self, update: Callable[..., None], *what: object) -> None:
        try:
            update(*what)
        except OSError:
            self._unseen()

    def _unseen(self) -> None:
        """The reader is gone (closed pipe or terminal): as if interrupted, and silent from now on."""
        with contextlib.suppress(OSError):
            self.view.__exit__(None, None, None)
        self.view = ProgressView()
        self.interrupts.count = max(1, self.interrupts.count)

    def _ended(self) -> WatchOutcome | None:
        run = runs.read(self.directory)
        if not run.over or (run.state == "LOST" and self._goes_on()):
            return None
        if self._client is not None and run.state in runs.FINAL:
            self._last_look(run)
        if run.state == "LOST":
            run = self._lost(run)
        state, code, reason = run.state, run.exit_code, run.reason
        if run.attempt is not None and (self.mode != "look" or self._client is not None):
            # This is the end of what was watched; the record of the run is that of an earlier end.
            state, code = str(run.attempt.get("state")), int(run.attempt.get("exit_code", ExitCode.CRASH))
            reason = f"{run.attempt.get('reason')}; no more was done than before, and the run stays {run.state.lower()}"
        if code is None:
            code = int(ExitCode.OK if run.state == "DONE" else ExitCode.CRASH)
        if self._late:
            code, reason = int(ExitCode.RESOURCES), self._late
        return WatchOutcome(self.directory, state, code, reason, run.elapsed)

    def _goes_on(self) -> bool:
        """The run server was killed: whether the run goes on. The command that leads it starts another run server, which takes over the
        processes, at most every `TAKEOVER_PAUSE` seconds; an onlooker waits for one as long as the processes go on."""
        if self.interrupts.count or why_gone(self.directory) is not None or not can_be_taken_over(self.directory):
            return False
        if self._client is not None:
            self._client.close()
            self._client = None
        now = time.monotonic()
        if self.mode == "look":
            if not self._deserted:
                text = "its run server is gone, and its processes go on; another one takes over by: orchestrate up --resume"
                self._update(self.view.notice, f"{text} {self.directory.name}")
            self._deserted = True
            return True
        if now < self._takeover_after:
            return False
        self._takeover_after = now + TAKEOVER_PAUSE
        self._update(self.view.notice, "its run server is gone; another one takes over the processes, which go on")
        try:
            start_detached(self.directory)
        except MurmurationError as error:
            self._update(self.view.notice, str(error))
            return runs.read(self.directory).alive
        return True

    def _lost(self, run: runs.Run) -> runs.Run:
        """The run server was killed. Who led the run ends what is left of it; an onlooker prints how to."""
        known = why_gone(run.directory)
        reason = f"its run server is gone; {known or 'its log is ' + str(run.directory / 'server.log')}"
        if self.mode == "look":
            cure = f"{reason}; end what is left: orchestrate down {run.name}"
            return dataclasses.replace(run, record={**run.record, "exit_code": int(ExitCode.CRASH), "reason": cure})
        killed, unreachable = self._clean_up()
        self._update(self.view.notice, "; ".join([f"{reason}; ended the {len(killed)} processes it left", *unreachable]))
        code = ExitCode.INTERRUPTED if self.interrupts.count else ExitCode.CRASH if known is None else ExitCode.RESOURCES
        try:
            return runs.close_lost(run, int(code), reason)
        except OSError:  # the directory is gone, or full
            return dataclasses.replace(run, record={**run.record, "exit_code": int(code), "reason": reason})

    def _last_look(self, run: runs.Run) -> None:
        """Show the events that came after the last snapshot: they are in the run's own file."""
        if self.snapshot is None or self._client is None:
            return
        seen = self._client.events_seen
        events = [event for event in read_lines(self.directory / "events.jsonl") if int(event.get("id", 0)) > seen]
        self._client.events_seen = 2**62
        # All processes of an ended run have ended: what the last snapshot still saw alive has ended since.
        nodes = [node if node.get("state") in ("left", "lost") else {**node, "state": "ended"} for node in self.snapshot.get("nodes") or []]
        final = {**self.snapshot, "state": run.state, "reason": run.reason, "exit_code": run.exit_code, "left": None, "nodes": nodes}
        if run.elapsed is not None:
            final["elapsed"] = run.elapsed
        self._update(self.view.show, final, events)

    def _leaving(self) -> WatchOutcome:
        run = runs.read(self.directory)
        return WatchOutcome(self.directory, run.state, int(ExitCode.OK), left=True, elapsed=time.monotonic() - self._began)

    def _connected(self) -> RunClient:
        if self._client is None:
            self._client = RunClient(self.directory, ANSWER)
        return self._client

    def _look(self) -> None:
        if not (self.directory / "control.json").is_file():
            return
        try:
            snapshot = self._connected().status(leash=self.mode == "lead", timeout=ANSWER)
        except Unreachable:
            # A run server that is about to end takes its address away first.
            if (self.directory / "control.json").is_file() and runs.read(self.directory).alive and not self._silent:
                self._silent = True
                self._update(
                    self.view.notice,
                    f"the run server has not answered for {ANSWER:.0f} s; still trying (its log: {self.directory}/server.log)",
                )
            return
        self._silent = self._deserted = False
        self.snapshot = snapshot
        self._update(self.view.show, snapshot, list(snapshot.get("events") or []))

    def _pass_on_signals(self) -> None:
        """First signal: ordered stop; second: at once; a third, or no answer to the second: sweep."""
        wanted = min(self.interrupts.count, 3)
        if self.mode == "look" or wanted <= self._asked:
            return
        name = self.interrupts.last.name if self.interrupts.last is not None else "signal"
        if wanted == 1:
            self._update(self.view.notice, "stopping: checkpoints ... Press again to stop at once.")
        try:
            if wanted == 3:
                raise Unreachable("asked three times")
            self._connected().stop(now=wanted > 1, reason=f"stopped by you ({name})", timeout=ANSWER)
            self._asked = wanted
        except Unreachable:
            if wanted > 1 and runs.read(self.directory).alive:
                self._asked = 3
                self.sweep()

    def sweep(self) -> None:
        """End whatever is left of the run by its recorded process groups."""
        self._update(self.view.notice, "the run server does not answer: ending its processes")
        for text in self._clean_up()[1]:
            self._update(self.view.notice, text)

    def _clean_up(self) -> tuple[list[int], list[str]]:
        from orchestrator.launch.engine import clean_up

        return clean_up(self.directory, runs.read(self.directory).engine)

    def _too_late(self) -> None:
        up, all_nodes = shown.up_count(self.snapshot or {})
        self._late = f"{up} of {all_nodes} nodes were up in time, missing: {', '.join(not_up(self.snapshot))}; more time: --timeout 120s"
        self._update(self.view.notice, self._late)
        try:
            self._connected().stop(now=False, reason=self._late[:1000], timeout=ANSWER)
        except Unreachable:
            self.sweep()
