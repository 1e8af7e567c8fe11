"""Ledgers of four agents in a ring, and the carrying of their messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from protocols.conversations.conversation import Send
from protocols.statistics.ledger import Ledger

SIZE = 5
RING = {"a": "bd", "b": "ac", "c": "bd", "d": "ac"}


def ledger(name: str, graph: Mapping[str, str] = RING, **more: Any) -> Ledger:
    random = np.random.default_rng([ord(name), more.get("incarnation", 1)])
    return Ledger(name, sorted(graph), list(graph[name]), more.pop("basis", "basis"), SIZE, random, **more)


def payload(seed: int) -> np.ndarray:
    """Numbers of very different sizes, so that sums in another order differ in their last bits."""
    random = np.random.default_rng(seed)
    return random.normal(size=SIZE) * 10.0 ** random.integers(-8, 8, SIZE)


def deliver(ledgers: Mapping[str, Ledger], now: float = 0.0) -> list[tuple[str, Send]]:
    """Carry messages until none is left to send; all that were carried."""
    carried = []
    for ledger in ledgers.values():
        ledger.tick(now)
    while sends := [(src, send) for src, ledger in ledgers.items() for send in ledger.outgoing()]:
        for src, send in sends:
            if send.dst in ledgers:
                ledgers[send.dst].receive(src, send.message, send.arrays, now)
        carried += sends
        assert len(carried) < 10_000, "they never stop talking"
    return carried


def settle(ledgers: Mapping[str, Ledger], now: float) -> float:
    """Some rounds of anti-entropy over good links; the time after them."""
    for _ in range(12):
        now += 1.0
        deliver(ledgers, now)
    return now


def assert_equal(ledgers: Mapping[str, Ledger]) -> np.ndarray:
    first = next(iter(ledgers.values()))
    for other in ledgers.values():
        assert other.versions == first.versions and (other.basis, other.epoch) == (first.basis, first.epoch)
        assert other.total().vector.tobytes() == first.total().vector.tobytes() and other.total().staleness == 0
    return first.total().vector
