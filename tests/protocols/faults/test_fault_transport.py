"""Faults of the links between two real transports on loopback: the receiver gets what the links specify, in every run."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols.averaging.averaging_messages import Average
from protocols.conversations.proposals import Propose
from protocols.faults.fault_schedule import compile_schedule
from protocols.faults.link_effects.faulty_links import FaultyLinks, LinkOutcome
from protocols.faults.link_effects.link_shim import damaged
from protocols.faults.link_effects.link_trace import LinkTraceWriter
from protocols.faults.node_faults.fault_log import read
from protocols.faults.settings import FaultsSettings
from protocols.runtime.errors import BadMessage
from protocols.transport import Identity, Transport
from protocols.wire import codec

AGENTS = ["agent-0", "agent-1"]
COUNT = 300
PATIENCE = 20.0


def links(**section: Any) -> FaultyLinks:
    return FaultyLinks(compile_schedule(FaultsSettings.model_validate(section), [], AGENTS), 3, "agent-0")


def fates(count: int = COUNT, kind: str = "average", **section: Any) -> list[LinkOutcome]:
    model = links(**section)
    return [model.link_outcome("agent-1", "peer", kind, seq, 1000, 0.0) for seq in range(1, count + 1)]


class Pair:
    """agent-0 sends to agent-1 over loopback, with faults on the way."""

    def __init__(self, directory: Path, record: Path | None = None, **section: Any) -> None:
        self.sender, self.receiver = Transport(Identity("r", "agent-0")), Transport(Identity("r", "agent-1"))
        self.sender.connect("peer", "agent-1", self.receiver.bind("peer"))
        self.recorder = LinkTraceWriter(record or directory, "agent-0", full=True)
        shim = self.sender.inject(links(**section), self.recorder)
        assert shim is not None
        self.shim = shim
        self.arrived: list[tuple[int, float]] = []
        """round and time of each message that came"""

    def send(self, number: int) -> None:
        while not self.sender.try_send("peer", "agent-1", Average(round=number, layout="x"), {"vector": np.arange(10.0)}):
            self.listen(0.01)

    def listen(self, seconds: float, at_least: int = 1) -> None:
        for received in self.receiver.receive(seconds, at_least):
            assert isinstance(received.message, Average)
            assert list(received.arrays["vector"]) == list(range(10))
            self.arrived.append((received.message.round, time.monotonic()))

    def until(self, count: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while len(self.arrived) < count and time.monotonic() < deadline:
            self.listen(0.05)

    def close(self) -> None:
        self.sender.close(0.0)
        self.receiver.close(0.0)


def run(directory: Path, **section: Any) -> tuple[Pair, Counter[int]]:
    """Send `COUNT` messages and wait for all that the model lets through; how often each came."""
    pair = Pair(directory, **section)
    try:
        whole = [number for number, link_outcome in enumerate(fates(**section), 1) if link_outcome.copies and link_outcome.corrupt is None]
        for number in range(1, COUNT + 1):
            pair.send(number)
            if number % 30 == 0:  # a sender that talks with others does not run away from them
                pair.until(sum(n <= number for n in whole))
        repeated = sum(
            len(link_outcome.copies) - 1 for link_outcome in fates(**section) if link_outcome.copies and link_outcome.corrupt is None
        )
        deadline = time.monotonic() + PATIENCE
        while pair.receiver.counters["rx.dup"] < repeated and time.monotonic() < deadline:
            pair.listen(0.02)
        return pair, Counter(number for number, _ in pair.arrived)
    finally:
        pair.close()


ROUGH = {
    "links": [
        {"id": "wan", "loss": 0.2, "duplicate": {"p": 0.1, "gap": "5ms"}, "delay": {"dist": "uniform", "min": "0ms", "max": "60ms"}},
        {"id": "noise", "corrupt": {"p": 0.05, "what": "payload"}},
    ]
}


def test_what_arrives_is_what_the_links_let_through_and_equal_in_two_runs(tmp_path: Path) -> None:
    expected = Counter({n: 1 for n, link_outcome in enumerate(fates(**ROUGH), 1) if link_outcome.copies and link_outcome.corrupt is None})
    decisions = []
    for name in "ab":
        pair, arrived = run(tmp_path / name, **ROUGH)
        assert arrived == expected
        assert pair.sender.counters["tx.lost"] == sum(not link_outcome.copies for link_outcome in fates(**ROUGH))
        again = sum(len(link_outcome.copies) - 1 for link_outcome in fates(**ROUGH) if link_outcome.copies and link_outcome.corrupt is None)
        assert pair.receiver.counters["rx.dup"] == again > 0, "second copies arrive, and are known for what they are"
        broken = sum(len(link_outcome.copies) for link_outcome in fates(**ROUGH) if link_outcome.corrupt)
        assert pair.receiver.counters["rx.bad.E_FRAME"] == broken > 0
        lines = read(tmp_path / name / "faults.jsonl")
        decisions.append([json.dumps({**line, "_end": 0}) for line in lines if line["what"] == "message"])
    assert decisions[0] == decisions[1]
    assert len(decisions[0]) == COUNT


def test_messages_are_held_back_for_as_long_as_the_links_say(tmp_path: Path) -> None:
    pair = Pair(tmp_path, links=[{"id": "far", "delay": "150ms"}])
    try:
        began = time.monotonic()
        for number in range(10):
            pair.send(number)
        pair.until(10)
        assert [number for number, _ in pair.arrived] == list(range(10))
        assert min(at for _, at in pair.arrived) - began >= 0.15
    finally:
        pair.close()


def test_held_messages_are_overtaken(tmp_path: Path) -> None:
    section = {"links": [{"id": "mix", "reorder": {"p": 0.3, "hold": "500ms"}}]}
    late = [n for n, link_outcome in enumerate(fates(20, **section)) if link_outcome.reordered]
    pair = Pair(tmp_path, **section)
    try:
        for number in range(20):
            pair.send(number)
        pair.until(20)
        order = [number for number, _ in pair.arrived]
        # Each kind keeps its order; how many overtake a late one depends on how fast they are sent.
        assert [n for n in order if n not in late] == [n for n in range(20) if n not in late] and [n for n in order if n in late] == late
        assert late and order.index(late[0]) > late[0], "it was overtaken"
    finally:
        pair.close()


def test_a_partition_cuts_and_heals(tmp_path: Path) -> None:
    section = {"events": [{"id": "split", "at": {"step": 10}, "for": {"steps": 10}, "partition": {"groups": AGENTS}}]}
    pair = Pair(tmp_path, **section)
    try:
        for step in range(30):
            pair.shim.progress(time.monotonic(), step=step)
            pair.send(step)
        pair.until(20)
        assert [number for number, _ in pair.arrived] == [*range(10), *range(20, 30)]
        pair.shim.close()
        switched = [(line["what"], line["seqs"]) for line in read(tmp_path / "faults.jsonl") if line["what"] in ("on", "off")]
        assert switched == [("on", {"peer agent-1": 10}), ("off", {"peer agent-1": 20})]
    finally:
        pair.close()


def test_time_goes_on_from_the_start_of_training(tmp_path: Path) -> None:
    pair = Pair(tmp_path, events=[{"id": "split", "at": {"time": "10s"}, "partition": {"groups": AGENTS}}])
    try:
        now = time.monotonic()
        pair.shim.progress(now + 100.0)
        assert pair.shim.links.active == []
        pair.shim.start(now)
        pair.shim.start(now + 50.0)  # sent again to a node that came back
        pair.shim.progress(now + 10.0)
        assert pair.shim.links.active == ["split"]
        pair.shim.heal()
        assert pair.shim.links.active == []
    finally:
        pair.close()


def test_seconds_without_training_do_not_count(tmp_path: Path) -> None:
    pair = Pair(tmp_path, events=[{"id": "split", "at": {"time": "400s"}, "for": "60s", "partition": {"groups": AGENTS}}])
    try:
        now, links = time.monotonic(), pair.shim.links
        shim = pair.sender.inject(links, pair.recorder, None, 100.0)  # interrupted after 100 s, at an unknown time
        shim.progress(now + 3600.0)
        assert links.reached["time"] == 0.0 and links.active == []
        shim.start(now)
        for after, active in ((0.0, []), (299.0, []), (300.001, ["split"]), (361.0, [])):
            shim.progress(now + after)
            assert (links.reached["time"], links.active) == (pytest.approx(100.0 + after), active)
    finally:
        pair.close()


def test_what_is_held_back_is_bounded(tmp_path: Path) -> None:
    pair = Pair(tmp_path, links=[{"id": "far", "delay": "1h"}])
    try:
        pair.shim.capacity = 2000
        for number in range(100):
            pair.send(number)
        lost = pair.sender.counters["tx.held_overflow"]
        assert 80 <= lost < 100
    finally:
        pair.close()
    assert pair.sender.counters["tx.dropped"] == 100 - lost


def test_other_channels_and_nodes_without_faults_are_not_touched(tmp_path: Path) -> None:
    pair = Pair(tmp_path, links=[{"id": "gone", "loss": 1.0, "channels": ["env"]}])
    try:
        for number in range(50):
            pair.send(number)
        pair.until(50)
        assert len(pair.arrived) == 50
    finally:
        pair.close()


@pytest.mark.parametrize("what", ["payload", "header", "truncate"])
@pytest.mark.parametrize("arrays", [{}, {"vector": np.arange(100.0)}, {"n": np.arange(7)}, {"big": np.ones(40_000), "small": np.ones(3)}])
def test_whoever_receives_a_damaged_message_refuses_it(what: str, arrays: dict[str, Any]) -> None:
    message = Propose(src="agent-0", dst="agent-1", run="r", inc=3, seq=12345, ts=1.7e9, version=7)
    parts = codec.encode(message, arrays, checked=True)
    before = [bytes(part) for part in parts]
    codec.decode(parts)
    for place in np.linspace(0.0, 1.0, 101, endpoint=False):
        hurt = damaged(parts, what, float(place))
        with pytest.raises(BadMessage):
            codec.decode(hurt)
    assert [bytes(part) for part in parts] == before, "only copies are damaged"
