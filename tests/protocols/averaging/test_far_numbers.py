"""A neighbour with a valid key sends numbers that are finite and far out of range: every averaging rule refuses them, and goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
import pytest

from protocols.averaging.averager import FixedNeighbourhood
from protocols.averaging.averaging_messages import Average
from protocols.averaging.averaging_rules import AveragingContext, create_averager
from protocols.averaging.rule_settings import ROOM, rule_settings
from protocols.averaging.vector_arithmetic import LEAST_REACH, magnitude, reach
from protocols.conversations.conversation import Array
from protocols.runtime.component_registry import kinds
from protocols.runtime.errors import BadMessage
from protocols.wire import codec

NAMES = [f"agent-{i}" for i in range(6)]
INSIDER = NAMES[-1]
SIZE = 50
RULES = ["pushsum", "mh", "choco", "clip", "trim", "median", "geomedian", "krum"]
ATTACKS: dict[str, Callable[[Array], Array]] = {
    "1e30": lambda array: np.full_like(array, 1e30),
    "3e38": lambda array: np.full_like(array, 3e38),
    "one number": lambda array: np.concatenate([array[:-1], array.dtype.type([-3e37])]),
    "growing": lambda array: array * array.dtype.type(1e9),
    "below the largest": lambda array: np.full_like(array, 9e14),
}


def test_every_rule_is_examined() -> None:
    assert sorted(kinds(ROOM)) == sorted(RULES)


def honest_vectors(rule: str, attack: Callable[[Array], Array] | None, rounds: int = 12) -> tuple[dict[str, Array], dict[str, int]]:
    """The honest agents' vectors after so many rounds in a complete graph, and refusals by code. Messages go through the codec as between
    processes."""
    mixing = 1.0 / len(NAMES)
    settings = rule_settings(rule, {}, {})
    machines = {
        name: create_averager(
            settings, AveragingContext(FixedNeighbourhood({n: mixing for n in NAMES if n != name}), "layout", SIZE, 1.0, seed=i)
        )
        for i, name in enumerate(NAMES)
    }
    random = np.random.default_rng(3)
    vectors = {name: random.normal(size=SIZE).astype(np.float32) for name in NAMES}
    refused: dict[str, int] = {}
    now = 0.0
    for number in range(rounds):
        now += 1.0
        for name, machine in machines.items():
            machine.begin(number, vectors[name], now)
        for _ in range(4):
            mail = deque((name, send) for name, machine in machines.items() for send in machine.outgoing())
            for src, send in mail:
                arrays = dict(send.arrays)
                if src == INSIDER and attack is not None:
                    floats = {key: attack(value) for key, value in arrays.items() if value.dtype.kind == "f"}
                    arrays |= floats
                message = send.message
                message.src, message.dst, message.seq = src, send.dst, number
                try:
                    decoded, frames = codec.decode([bytes(part) for part in codec.encode(message, arrays)], bounded=True)
                    if (error := machines[send.dst].receive(src, decoded, frames, now)) is not None:
                        assert src in error.detail, "the refusal names the sender"
                except BadMessage as error:
                    refused[error.code] = refused.get(error.code, 0) + 1
            now += 0.1
        for name, machine in machines.items():
            machine.tick(now + 1.0)
            machine.close(now + 1.0)
            for event in machine.events():
                vectors[name] = (vectors[name] + event.delta).astype(np.float32)
        now += 1.0
    counted = machines[NAMES[0]].counters
    refused |= {code: counted[f"bad.{code}"] for code in ("E_RANGE", "E_NORM", "E_NONFINITE") if counted[f"bad.{code}"]}
    return {name: vectors[name] for name in NAMES[:-1]}, refused


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("rule", RULES)
def test_numbers_far_out_of_range_are_refused_and_honest_agents_agree_on_theirs(rule: str, attack: str) -> None:
    vectors, refused = honest_vectors(rule, ATTACKS[attack])
    assert refused.keys() & {"E_RANGE", "E_NORM"}, refused
    stacked = np.array(list(vectors.values()))
    assert np.isfinite(stacked).all() and np.abs(stacked).max() < 10.0, "the models are what honest agents have made of them"


@pytest.mark.parametrize("rule", RULES)
def test_nothing_is_refused_without_an_attack(rule: str) -> None:
    vectors, refused = honest_vectors(rule, None)
    assert refused == {}
    assert np.abs(np.array(list(vectors.values()))).max() < 10.0


def test_what_is_in_reach() -> None:
    assert reach(magnitude(np.zeros(3))) == LEAST_REACH and reach(magnitude(np.array([1.0, -1e8]))) == 1e11


def test_the_wire_refuses_them_in_any_frame_between_agents() -> None:
    parts = [bytes(part) for part in codec.encode(Average(round=1, layout="x"), {"vector": np.array([1.0, -2e15], np.float64)})]
    codec.decode(parts)
    with pytest.raises(BadMessage, match="E_RANGE: vector holds a value of a magnitude above 1e\\+15"):
        codec.decode(parts, bounded=True)
    for dtype in (np.float16, np.float32, np.float64):
        at_most = dtype(min(1e15, float(np.finfo(dtype).max)) * 0.99)
        codec.decode([bytes(part) for part in codec.encode(Average(round=1, layout="x"), {"vector": np.full(3, -at_most)})], bounded=True)
