"""Traffic of a node, link by link, as it is written down at its end."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from protocols.transport import Transport


def write_links(directory: Path, transport: Transport) -> None:
    """`links.json`: a list of {channel, peer, sent_messages, sent_bytes, received_messages, received_bytes}; and `wire.json`."""
    rows = [{"channel": channel, "peer": peer, **asdict(link)} for (channel, peer), link in sorted(transport.link_counters.items())]
    (directory / "links.json").write_text(json.dumps(rows, indent=1) + "\n")
    write_wire(directory, transport)


def write_wire(directory: Path, transport: Transport) -> None:
    """`wire.json`: how often what happened to messages, by name: `rx.bad.CODE`, `rx.stale`, `rx.dup`, `rx.quarantined`, `tx...`."""
    (directory / "wire.json").write_text(json.dumps(dict(sorted(transport.counters.items())), indent=1) + "\n")
