"""Traffic of a node over its incarnations: rows of a killed one count, and nothing counts twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.results.summary_file import link_table, wire_table
from protocols.faults.node_faults.disk import disk
from protocols.runtime.telemetry import Telemetry, read_links, read_wire
from protocols.transport import Identity, Transport
from protocols.transport.connections import LinkCounters


@contextmanager
def life(directory: Path, number: int) -> Iterator[tuple[Telemetry, LinkCounters, Transport]]:
    """A process of agent-0 that has a neighbour."""
    transport = Transport(Identity("test", "agent-0", number))
    try:
        link = transport.link_counters["peer", "agent-1"] = LinkCounters()
        telemetry = Telemetry(directory, transport, lambda message, arrays: None)
        yield telemetry, link, transport
        telemetry.close()
    finally:
        transport.close(0.0)


def test_what_a_killed_life_has_sent_counts_up_to_its_last_row_of_figures(tmp_path: Path) -> None:
    home = tmp_path / "nodes" / "agent-0"
    with life(home, 1) as (telemetry, link, transport):
        link.sent_messages, link.sent_bytes, transport.counters["rx.dup"] = 3, 100, 1
        telemetry.write(1, 0, {"return": 1.0}, usage={"steps_per_second": 5.0})
        link.sent_messages, link.sent_bytes, transport.counters["rx.dup"] = 5, 170, 2
        telemetry.write(2, 0, {"return": 1.0}, usage={})
        link.sent_messages = 99  # it is killed before it writes this
        telemetry.write(3, 0, {"consensus.round": 1.0})  # no row of metrics
    with life(home, 2) as (telemetry, link, transport):
        assert link_table(tmp_path)[0]["sent_messages"] == 5, "a second incarnation takes nothing from the first"
        link.sent_messages, link.sent_bytes, link.received_messages, transport.counters["rx.stale"] = 10, 1000, 7, 4
        telemetry.traffic()
        telemetry.traffic()
    total = {"sent_messages": 15, "sent_bytes": 1170, "received_messages": 7, "received_bytes": 0, "delay_us": 0}
    assert link_table(tmp_path) == [{"node": "agent-0", "channel": "peer", "peer": "agent-1", **total}]
    assert wire_table(tmp_path) == {"agent-0": {"rx.dup": 2, "rx.stale": 4}}
    assert {path.name for path in home.glob("links*")} == {"links.json", "links.2.json", "links.jsonl"}
    lines = [json.loads(line) for line in (home / "links.jsonl").read_text().splitlines()]
    assert [(line["incarnation"], line["links"]) for line in lines][1:3] == [
        (1, {"peer agent-1": [170, 0, 0, 0]}),
        (2, {"peer agent-1": [1000, 7, 0, 0]}),
    ]


def test_files_of_runs_that_had_one_for_all_lives_are_read_and_broken_ones_left_out(tmp_path: Path) -> None:
    row = {"channel": "env", "peer": "env-0", "sent_messages": 2, "sent_bytes": 20, "received_messages": 1, "received_bytes": 9}
    (tmp_path / "links.json").write_text(json.dumps([row]))
    (tmp_path / "links.2.json").write_text('[{"channel": "env"')
    (tmp_path / "links.3.json").write_text(json.dumps([row]))
    (tmp_path / "wire.json").write_text(json.dumps({"rx.dup": 3}))
    assert read_links(tmp_path) == [{**row, "sent_messages": 4, "sent_bytes": 40, "received_messages": 2, "received_bytes": 18}]
    assert read_wire(tmp_path) == {"rx.dup": 3}


def test_a_full_disk_costs_no_life_and_nothing_that_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with life(tmp_path, 1) as (telemetry, link, _):
        link.sent_messages = 3
        telemetry.traffic()
        monkeypatch.setattr(disk, "full", True)
        link.sent_messages = 4
        telemetry.write(1, 0, {}, usage={})
        telemetry.traffic()
        assert read_links(tmp_path)[0]["sent_messages"] == 3
        monkeypatch.setattr(disk, "full", False)
        telemetry.traffic()
        assert read_links(tmp_path)[0]["sent_messages"] == 4
    (tmp_path / ".links.json.tmp").write_text("half")
    with life(tmp_path, 2):
        assert not list(tmp_path.glob(".*")), "what a killed incarnation was writing is removed"
