"""Messages of a run from the trace of its links (`faults.record: full`): each message with its times, and the traffic of one edge."""

from __future__ import annotations

import json
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterator, Sequence
from math import inf
from pathlib import Path
from statistics import fmean
from typing import Any, BinaryIO

from orchestrator.page.history.link_history import DELAY, INJECTED_DELAY, INJECTED_LOSS, LOSS
from orchestrator.page.history.run_history import RunHistory
from protocols.faults.node_faults.fault_log import FILE
from protocols.runtime.telemetry import read_links

MOST_MESSAGES = 2000
_MOST_OF_EDGE = 20_000
"""newest messages of each direction from which an edge is described"""
_EDGE_WINDOW = 60.0
"""seconds from which an edge is described"""
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


def edge(history: RunHistory, a: str, b: str, at: float | None = None) -> dict[str, Any]:
    """The traffic between two nodes in the minute before `at` (None: the newest): messages and bytes by type (without a full trace those of
    the whole run by channel), delay and loss as measured, what link rules did, and the newest averaging rounds of both. Values that are
    not known are None."""
    until = history.last if at is None else at
    sizes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    delays: list[float] = []
    sent = lost = 0
    truncated = False
    for src, dst in ((a, b), (b, a)) if not history.logical else ():
        lines = _newest(history.directory / "nodes" / src / FILE, dst, until + history.started)
        truncated = truncated or len(lines) == _MOST_OF_EDGE
        for line in lines:
            copies = line.get("copies") or []
            sizes[str(line.get("kind"))].update(messages=1, bytes=int(line.get("size") or 0))
            sent, lost = sent + 1, lost + (not copies)
            delays += [1000.0 * float(copy) for copy in copies[:1]]
    traced = bool(sizes)
    if not traced:
        for src, dst in ((a, b), (b, a)):
            for row in read_links(history.directory / "nodes" / src):
                if row["peer"] == dst and row["channel"] in _CHANNELS:
                    name = f"all of channel {row['channel']}"
                    sizes[name].update(messages=row.get("sent_messages", 0), bytes=row.get("sent_bytes", 0))
    links, since = history.links, until - _EDGE_WINDOW
    there, back = (links.window(DELAY, f"{x}>{y}", since, until) for x, y in ((a, b), (b, a)))
    measured = [values for x, y in ((a, b), (b, a)) if (values := links.window(LOSS, f"{x}>{y}", since, until))]
    return {
        "by_type": [{"type": name, **counts} for name, counts in sorted(sizes.items(), key=lambda one: -one[1]["bytes"])],
        "by_type_of": "the last minute" if traced else "the whole run",
        "truncated": truncated,
        "delay_ms": round(max(0.0, fmean(there) / 2 + fmean(back) / 2), 3) if there and back else None,
        "loss": round(max(fmean(values) for values in measured), 4) if measured else None,
        "injected": _injected(history, (a, b), until, delays, lost / sent if sent else None),
        "rounds": _rounds(history, (a, b), until),
    }


def _injected(history: RunHistory, ends: tuple[str, str], until: float, delays: list[float], loss: float | None) -> dict[str, Any] | None:
    """What link rules did in the last minute: mean and 95 % quantile of the delays of single messages, or without a full trace the mean of
    the medians of each second; and the share of lost messages. None where the links have no rules."""
    links, since, (a, b) = history.links, until - _EDGE_WINDOW, ends
    directions = (f"{a}>{b}", f"{b}>{a}")
    p95 = None
    if delays:
        ordered = sorted(delays)
        p95 = round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], 2)
    else:
        delays = [delay for link in directions for delay in links.window(INJECTED_DELAY, link, since, until)]
    if loss is None:
        shares = [share for link in directions if (share := links.value(INJECTED_LOSS, link, until)) is not None]
        loss = max(shares, default=None)
    if not delays and loss is None:
        return None
    return {"delay_ms": round(fmean(delays), 2) if delays else None, "p95_ms": p95, "loss": None if loss is None else round(loss, 4)}


def _rounds(history: RunHistory, nodes: tuple[str, str], until: float) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for node in nodes:
        rounds = history.metrics.get("consensus.round", node) or history.metrics.get("statistics.round", node)
        if rounds is None:
            continue
        end = rounds.index(until) + 1
        for i in range(max(0, end - _MOST_ROUNDS), end):
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


def _newest(path: Path, peer: str, until: float) -> deque[dict[str, Any]]:
    """The messages to a peer in the minute before the Unix time `until`, or the newest `_MOST_OF_EDGE` of them."""
    links = [f'"link":"{channel} {peer}"'.encode() for channel in _CHANNELS]
    return deque(_between(path, until - _EDGE_WINDOW, until, links), maxlen=_MOST_OF_EDGE)


def _between(path: Path, since: float, until: float, links: Sequence[bytes] = (b"",)) -> Iterator[dict[str, Any]]:
    """Message lines with Unix time from `since` to `until`, of `links` alone; the lines of a trace are in order of time, and the first is
    searched for."""
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
            if time >= since and _MESSAGE in raw[:60] and any(link in raw for link in links):
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
