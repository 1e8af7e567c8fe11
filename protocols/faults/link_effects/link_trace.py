"""What the links of one node did, written down: lines of `nodes/NAME/faults.jsonl` beside those of other faults.

    {"what": "start", ...}                         training began, or went on after an interruption
    {"what": "on" | "off", "id", "kind", "node", "incarnation", "time", "step", "episode", "round", "until", "seqs"}
                                                   and "event", as in a configuration, where it was asked for by hand
    {"what": "until", ...}                         the same, once it is known where something ends that is on
    {"what": "links", "period", "links": {"peer agent-1": {"sent", "delivered", "lost", "bytes", "duplicated", "reordered", "corrupted",
                                                          "queued", "held", "delay": {"p50", "p90", "p99", "max"}}}}
    {"what": "message", "link", "kind", "seq", "size", "copies", "corrupt", "cause"}         with `record: full`

A line lacks the units in which the process, which came later than the run, did not know yet how far that was. `seqs` holds, link by link,
the number of the last message before the change: what holds from then on began with the next one. `sent` counts messages, `delivered` the
copies that arrive, `bytes` those of the messages sent, `held` the most bytes that were held back at once. With a clock (`clock: wall`)
every line has the unix time `t`; without one nothing in the file depends on when it was written, so that two runs under `clock: logical`
write the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protocols.faults.fault_schedule import UNITS, RunPosition
from protocols.faults.fault_timeline import FaultChange
from protocols.faults.link_effects.faulty_links import LinkOutcome
from protocols.faults.node_faults.fault_log import FILE, read
from protocols.runtime.errors import ConfigurationError

_MOST_DELAYS = 10_000
"""delays of one link and period from which quantiles are taken"""
_PENDING = 65536
WORDS = {"begin": "on", "until": "until", "end": "off"}


@dataclass
class LinkCounts:
    """Counts of one link in one period."""

    sent: int = 0
    delivered: int = 0
    lost: int = 0
    bytes: int = 0
    duplicated: int = 0
    reordered: int = 0
    corrupted: int = 0
    queued: int = 0
    held: int = 0
    delays: list[float] = field(default_factory=list)

    def add(self, size: int, link_outcome: LinkOutcome, held: int = 0) -> None:
        """Count one message; `held`: bytes that are held back on this link now."""
        copies = len(link_outcome.copies)
        self.sent += 1
        self.delivered += copies
        self.lost += not copies
        self.bytes += size
        self.duplicated += copies > 1
        self.reordered += link_outcome.reordered
        self.corrupted += link_outcome.corrupt is not None and copies > 0
        self.queued += link_outcome.queued
        self.held = max(self.held, held)
        if copies and len(self.delays) < _MOST_DELAYS:
            self.delays.append(link_outcome.copies[0])

    def summary(self) -> dict[str, Any]:
        """As it is written."""
        counts = {name: value for name, value in vars(self).items() if name != "delays"}
        if not self.delays:
            return counts
        delays = sorted(self.delays)
        ranks = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
        return {**counts, "delay": {name: round(delays[min(len(delays) - 1, int(q * len(delays)))], 6) for name, q in ranks.items()}}


class LinkTraceWriter:
    """Appends to the trace of one node. `full`: one line for each message too; `clock`: unix time for `t`, None under a logical clock."""

    def __init__(
        self, directory: Path, node: str, incarnation: int = 1, full: bool = False, clock: Callable[[], float] | None = None
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / FILE
        self._who = {"node": node, "incarnation": incarnation}
        self._full = full
        self._clock = clock
        self._period: int | None = None
        self._tallies: dict[str, LinkCounts] = {}
        self._seqs: dict[str, int] = {}
        self._lines: list[str] = []
        self._size = 0

    def start(self) -> None:
        """Mark the begin of training, the origin of the times that follow."""
        self._write({"what": "start", **self._who})
        self.flush()

    def changed(self, changes: Sequence[FaultChange], reached: Mapping[str, float]) -> None:
        """Rules or partitions began or ended between the messages so far and those to come; `reached` as `FaultyLinks.reached`."""
        for change in changes:
            if change.event.lasting:
                continue  # the network is like that all along
            line: dict[str, Any] = {"what": WORDS[change.what], "id": change.event.id, "kind": change.event.kind, **self._who, **reached}
            if change.until is not None:
                line["until"] = vars(change.until)
            if change.event.cut is not None:
                line["cut"] = change.event.cut.text()
            if change.event.asked is not None:  # it stands in no configuration
                line["event"] = change.event.asked.model_dump(mode="json")
            self._write({**line, "seqs": dict(sorted(self._seqs.items()))})
        if changes:
            self.flush()

    def decided(self, channel: str, dst: str, kind: str, seq: int, size: int, link_outcome: LinkOutcome, held: int = 0) -> None:
        """The outcome of a message."""
        link = f"{channel} {dst}"
        tally = self._tallies.get(link)
        if tally is None:
            tally = self._tallies[link] = LinkCounts()
        tally.add(size, link_outcome, held)
        self._seqs[link] = seq
        if self._full:
            copies = [round(delay, 9) for delay in link_outcome.copies]
            line = {"what": "message", "link": link, "kind": kind, "seq": seq, "size": size, "copies": copies}
            self._write({**line, "corrupt": link_outcome.corrupt, "cause": link_outcome.cause})

    def tick(self, period: int) -> None:
        """Counts of a period (a second; under a logical clock any number that rises) are written when the next one begins."""
        if self._period != period:
            self._close_period()
            self._period = period

    def close(self) -> None:
        """Write what has not been written yet."""
        self._close_period()
        self.flush()

    def flush(self) -> None:
        """Bring what is waiting to the file; a full disk loses it."""
        if self._lines:
            lines, self._lines, self._size = self._lines, [], 0
            with suppress(OSError), self._path.open("a", encoding="utf-8") as file:
                file.write("".join(lines))

    def _close_period(self) -> None:
        if self._tallies:
            links = {link: self._tallies[link].summary() for link in sorted(self._tallies)}
            self._write({"what": "links", "period": self._period or 0, "links": links})
            self._tallies.clear()
            self.flush()

    def _write(self, line: Mapping[str, Any]) -> None:
        stamped = line if self._clock is None else {"t": round(self._clock(), 6), **line}
        text = json.dumps(stamped, separators=(",", ":")) + "\n"
        self._lines.append(text)
        self._size += len(text)
        if self._size > _PENDING:
            self.flush()


@dataclass
class RecordedPast:
    """What earlier incarnations of a node have written."""

    begun: dict[str, RunPosition] = field(default_factory=dict)
    """events of the links to how far the run was when they began"""
    ended: list[str] = field(default_factory=list)

    def saw(self, what: str, event: str, reached: Mapping[str, float]) -> None:
        """A line (`on`, `until`, `off`) about an event, and how far the run was then, in the units in which that was known."""
        if what == "off":
            self.ended.append(event)
            return
        began = self.begun.setdefault(event, RunPosition(-1.0, -1.0, -1.0, -1.0))
        for unit in UNITS:  # positions in an earlier line are nearer to the beginning
            if began.of(unit) < 0.0:
                setattr(began, unit, reached.get(unit, -1.0))


def read_past(directory: Path, kinds: Sequence[str]) -> RecordedPast:
    """What a restarted process must know: which events of these kinds began and ended before."""
    past = RecordedPast()
    for line in read(directory / FILE):
        if line.get("kind") in kinds and line.get("what") in WORDS.values():
            past.saw(line["what"], str(line["id"]), {unit: line[unit] for unit in UNITS if unit in line})
    return past


def recorded_changes(run: Path, node: str, incarnation: int, kinds: Sequence[str]) -> list[dict[str, Any]]:
    """The lines on and off of a node's links in a recorded run. `ConfigurationError` where there is no trace of that node."""
    path = run / "nodes" / node / FILE
    if not path.is_file():
        raise ConfigurationError(
            f"faults.trace: {run} holds no trace of {node} ({path} is missing); give the directory of a run with faults"
        )
    return [
        line
        for line in read(path)
        if line.get("what") in ("on", "off") and line.get("kind") in kinds and line.get("incarnation") == incarnation
    ]
