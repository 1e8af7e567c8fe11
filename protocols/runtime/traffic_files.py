"""Traffic of a node by link, written with every row of its metrics and at its end.

Counters are of one process, and a process that is killed writes nothing more. So each incarnation of a node has files of its own
(`links.json` the first, `links.2.json` the second, ...; `wire.json` likewise), and a reader adds them up: only what an incarnation sent
between its last row of metrics and being killed is missing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from protocols.faults.node_faults.disk import disk
from protocols.transport import Transport

_LINKS, _WIRE = "links", "wire"
_OF_A_LINK = ("channel", "peer")


def write_links(directory: Path, transport: Transport) -> None:
    """`links.json` of this incarnation: a list of {channel, peer, sent_messages, sent_bytes, received_messages, received_bytes}; and
    `wire.json`. `OSError` where the disk is full; what was written before stays."""
    rows = [{"channel": channel, "peer": peer, **asdict(link)} for (channel, peer), link in sorted(transport.link_counters.items())]
    _write(directory, _LINKS, transport, rows)
    write_wire(directory, transport)


def write_wire(directory: Path, transport: Transport) -> None:
    """`wire.json` of this incarnation: counters of messages: `rx.bad.CODE`, `rx.stale`, `rx.dup`, `rx.quarantined`,
    `tx...`."""
    _write(directory, _WIRE, transport, dict(sorted(transport.counters.items())))


def read_links(directory: Path) -> list[dict[str, Any]]:
    """The rows of a node's directory, added up over its incarnations; files that are not whole are left out."""
    total: dict[tuple[str, str], Counter[str]] = {}
    for rows in _read(directory, _LINKS):
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, dict):
                _add(total.setdefault((str(row.get("channel")), str(row.get("peer"))), Counter()), row)
    return [{**dict(zip(_OF_A_LINK, link, strict=True)), **counts} for link, counts in sorted(total.items())]


def read_wire(directory: Path) -> dict[str, int]:
    """The counters of a node's directory, added up over its incarnations; files that are not whole are left out."""
    total: Counter[str] = Counter()
    for counters in _read(directory, _WIRE):
        _add(total, counters if isinstance(counters, dict) else {})
    return dict(sorted(total.items()))


def _add(total: Counter[str], counts: dict[str, Any]) -> None:
    for name, count in counts.items():
        if name not in _OF_A_LINK and isinstance(count, int):
            total[name] += count


def _write(directory: Path, kind: str, transport: Transport, content: object) -> None:
    """Written completely or not, without forcing it to the disk: it is written every few seconds."""
    incarnation = transport.identity.incarnation
    path = directory / (f"{kind}.json" if incarnation == 1 else f"{kind}.{incarnation}.json")
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        disk.write(file, (json.dumps(content, indent=1) + "\n").encode())
    temporary.replace(path)


def _read(directory: Path, kind: str) -> Iterator[Any]:
    for path in sorted([*directory.glob(f"{kind}.json"), *directory.glob(f"{kind}.*.json")]):
        try:
            yield json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
