"""Messages of a run from the trace of its links (`faults.record: full`): each message with its times, and the traffic of one edge."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from math import inf
from pathlib import Path
from typing import Any, BinaryIO

from orchestrator.page.history.link_history import DELAY, LOSS
from orchestrator.page.history.run_history import RunHistory
from protocols.faults.node_faults.fault_log import FILE
from protocols.runtime.telemetry import read_links

MOST_MESSAGES = 2000
_MOST_OF_EDGE = 20_000
"""newest messages of each direction from which an edge is described"""
_EDGE_WINDOW = 60.0
"""seconds before the end of the trace from which an edge is described"""
_MOST_ROUNDS = 20
_MESSAGE = b'"what":"message"'
_CHANNELS = ("peer", "env")

NO_TRACE = "This run recorded no messages. Record them with: orchestrate up CONFIG 'faults={record: full}' (faults.record: full)."
NO_TIMES = "Under clock: logical the trace of the links has no times."


def messages(history: RunHistory, since: float, until: float, nodes: Collection[str]) -> dict[str, Any]:
    """The messages that were sent from `since` to `until`, in seconds of the run, between these nodes (none: all agents and the environment
    server): at most `MOST_MESSAGES`, the first ones. A received time is that of the recorded outcome; None for lost messages."""
    wanted = set(nodes) or {*history.agents, "env-0"}
    if history.logical:
        return {"messages": [], "truncated": False, "why_empty": NO_TIMES}
    found: list[dict[str, Any]] = []
    traced = truncated = False
    for node in sorted(wanted):
        path = history.directory / "nodes" / node / FILE
        count = 0
        for line in _between(path, since + history.started, until + history.started):
            traced = True
            channel, _, peer = str(line.get("link")).partition(" ")
            if channel not in _CHANNELS or peer not in wanted:
                continue
            count += 1
            if count > MOST_MESSAGES:
                truncated = True
                break
            found.append(_message(history, node, peer, line))
    found.sort(key=lambda one: one["sent"])
    truncated = truncated or len(found) > MOST_MESSAGES
    empty = None
    if not found:
        empty = "No message was sent between these nodes in this time." if traced or _traced(history) else NO_TRACE
    return {"messages": found[:MOST_MESSAGES], "truncated": truncated, "why_empty": empty}


def _message(history: RunHistory, src: str, dst: str, line: dict[str, Any]) -> dict[str, Any]:
    copies = line.get("copies") or []
    sent = float(line["t"]) - history.started
    outcome = "lost" if not copies else "corrupted" if line.get("corrupt") else "duplicated" if len(copies) > 1 else "delivered"
    return {
        "sent": round(sent, 4),
        "received": round(sent + float(copies[0]), 4) if copies else None,
        "src": src,
        "dst": dst,
        "type": str(line.get("kind")),
        "outcome": f"{outcome} ({line['cause']})" if line.get("cause") else outcome,
        "bytes": int(line.get("size") or 0),
    }


def edge(history: RunHistory, a: str, b: str) -> dict[str, Any]:
    """The traffic between two nodes: messages and bytes by type (without a full trace by channel), delay and loss of the newest minute,
    and the newest averaging rounds of both."""
    sizes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    delays: list[float] = []
    sent = lost = 0
    for src, dst in ((a, b), (b, a)):
        for line in _newest(history.directory / "nodes" / src / FILE):
            channel, _, peer = str(line.get("link")).partition(" ")
            if peer == dst and channel in _CHANNELS:
                copies = line.get("copies") or []
                sizes[str(line.get("kind"))].update(messages=1, bytes=int(line.get("size") or 0))
                sent, lost = sent + 1, lost + (not copies)
                delays += [1000.0 * float(copy) for copy in copies[:1]]
    if not sizes:
        for src, dst in ((a, b), (b, a)):
            for row in read_links(history.directory / "nodes" / src):
                if row["peer"] == dst and row["channel"] in _CHANNELS:
                    name = f"all of channel {row['channel']}"
                    sizes[name].update(messages=row.get("sent_messages", 0), bytes=row.get("sent_bytes", 0))
    return {
        "by_type": [{"type": name, **counts} for name, counts in sorted(sizes.items(), key=lambda one: -one[1]["bytes"])],
        "delay_ms": _delay(history, a, b, delays),
        "loss": round(lost / sent, 4) if sent else _recent_loss(history, a, b),
        "rounds": _rounds(history, (a, b)),
    }


def _delay(history: RunHistory, a: str, b: str, delays: list[float]) -> dict[str, float | None] | None:
    """Mean and 95 % quantile of single messages; without them the mean of the medians of each second."""
    if delays:
        ordered = sorted(delays)
        return {"mean": round(sum(ordered) / len(ordered), 2), "p95": round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], 2)}
    medians: list[float] = []
    for link in (f"{a}>{b}", f"{b}>{a}"):
        medians += history.links.since(DELAY, link, history.last - _EDGE_WINDOW)
    return {"mean": round(sum(medians) / len(medians), 2), "p95": None} if medians else None


def _recent_loss(history: RunHistory, a: str, b: str) -> float | None:
    shares = [share for link in (f"{a}>{b}", f"{b}>{a}") if (share := history.links.value(LOSS, link, history.last)) is not None]
    return round(max(shares), 4) if shares else None


def _rounds(history: RunHistory, nodes: tuple[str, str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for node in nodes:
        rounds = history.metrics.get("consensus.round", node) or history.metrics.get("statistics.round", node)
        for i in range(max(0, len(rounds.t) - _MOST_ROUNDS), len(rounds.t)) if rounds is not None else ():
            assert rounds is not None  # noqa: S101 - for the type checker: the range is empty without it
            duration = history.metrics.value(("round.duration",), node, rounds.t[i])
            quorum = history.metrics.value(("round.quorum",), node, rounds.t[i])
            text = f"{node} ended round {rounds.v[i]:.0f}"
            text += f"; rounds take {1000 * duration:.0f} ms" if duration is not None else ""
            text += f", {100 * quorum:.0f} % of the neighbours take part" if quorum is not None else ""
            found.append({"round": int(rounds.v[i]), "t": round(rounds.t[i], 3), "text": text})
    return sorted(found, key=lambda one: one["t"])[-_MOST_ROUNDS:]


# --- the files ------------------------------------------------------------------------------------------------------------------------


def _traced(history: RunHistory) -> bool:
    return bool((history.configuration.get("faults") or {}).get("record") == "full")


def _newest(path: Path) -> Iterator[dict[str, Any]]:
    """The messages of the last minute of a trace, at most `_MOST_OF_EDGE`."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 4096))
            last = max((_time(line) for line in file.read().splitlines()), default=-inf)
    except OSError:
        return
    for count, line in enumerate(_between(path, last - _EDGE_WINDOW, inf)):
        if count == _MOST_OF_EDGE:
            return
        yield line


def _between(path: Path, since: float, until: float) -> Iterator[dict[str, Any]]:
    """Message lines with Unix time from `since` to `until`; the lines of a trace are in order of time, and the first is searched for."""
    try:
        file = path.open("rb")
    except OSError:
        return
    with file:
        _seek(file, since)
        for raw in file:
            if not raw.endswith(b"\n"):
                return
            time = _time(raw)
            if time > until:
                return
            if time >= since and _MESSAGE in raw[:60]:
                try:
                    line = json.loads(raw)
                except ValueError:
                    continue
                if isinstance(line, dict):
                    yield line


def _seek(file: BinaryIO, since: float) -> None:
    """Set the file to the beginning of a line before which no line is as late as `since`."""
    low, high = 0, file.seek(0, 2)
    while high - low > 4096:
        middle = (low + high) // 2
        file.seek(middle)
        file.readline()
        while (raw := file.readline()) and _time(raw) == -inf:
            pass
        if raw and _time(raw) < since:
            low = middle
        else:
            high = middle
    file.seek(low)
    if low:
        file.readline()


def _time(raw: bytes) -> float:
    """Unix time of a line of a trace, which begins with it; minus infinity where it does not."""
    if not raw.startswith(b'{"t":'):
        return -inf
    try:
        return float(raw[5 : raw.index(b",")])
    except ValueError:
        return -inf
