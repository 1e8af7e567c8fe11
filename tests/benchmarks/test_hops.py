"""Following a datum through files: where it is found, and which files are between its origin and its end."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from agent_node.memory.episode_ring import EpisodeRing
from agent_node.memory.replay_buffer import ReplayBuffer
from benchmarks.hops import Datum, Trace


@dataclass
class Holder:
    content: Any


class Opaque:
    def __init__(self, content: Any) -> None:
        self.content = content


NUMBER = 2**54 + 7
VALUE = np.float32(0.123457)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (NUMBER, True),
        (np.array([1, NUMBER]), True),
        (np.array([1, 2]), False),
        (b"..." + struct.pack(">q", NUMBER), True),
        (np.frombuffer(b"..." + struct.pack("<q", NUMBER), np.uint8), True),
        ({NUMBER: "key"}, True),
        ([Holder({"a": np.array([NUMBER])})], True),
        ([[Holder({"a": np.array([NUMBER])})]], False),
        (Opaque(NUMBER), False),
    ],
)
def test_a_number_is_found_to_depth_3(value: Any, found: bool) -> None:
    datum = Datum()
    datum.set_number(NUMBER)
    assert datum.inside(value) == found


def test_a_value_is_found_in_arrays_tensors_and_bytes() -> None:
    datum = Datum()
    datum.set_value(VALUE)
    array = np.array([0.0, VALUE], np.float32)
    assert all(datum.inside(value) for value in (VALUE, array, array.astype(float), torch.from_numpy(array), array.tobytes()))
    assert not datum.inside(array[:1]) and not datum.inside(None)


def test_an_array_is_found_by_its_memory() -> None:
    datum, recorded = Datum(), np.zeros(8, np.uint8)
    datum.set_number(NUMBER)
    datum.memory.append(recorded)
    assert datum.inside(recorded[2:4]) and not datum.inside(recorded.copy())


def test_the_path_is_between_the_origin_and_the_ends() -> None:
    trace = Trace("datum", origin="a", ends={"d"})
    trace.contacts = {name: [] for name in "abcde"}
    trace.handovers = {("a", "b"), ("b", "d"), ("b", "c"), ("e", "d")}
    assert trace.path == ["a", "b", "d"]
    assert trace.report().startswith("datum: 5 hops, 3 of them on the path")


def test_an_object_hands_over_what_it_stores_between_the_files_of_its_classes() -> None:
    ring, buffer = "agent_node/memory/episode_ring.py", "agent_node/memory/replay_buffer.py"
    first, second = object(), object()
    trace = Trace("datum")
    trace.hold(first, EpisodeRing.add.__code__)
    trace.hold(second, ReplayBuffer.sample.__code__)
    assert not trace.handovers
    trace.hold(first, ReplayBuffer.sample.__code__)
    assert trace.handovers == {(ring, buffer)}
