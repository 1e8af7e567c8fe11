"""Compressed averaging: convergence, bytes against full vectors, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from protocols.averaging.averager import FixedNeighbourhood
from protocols.averaging.averaging_messages import Average, Compressed, Replica, ReplicaRequest
from protocols.averaging.choco import digest
from protocols.averaging.compressors import Compressor, Quantise, TopK
from protocols.averaging.projection_sketch import disagreement
from protocols.averaging.synchronous_gossip import SynchronousAveraging
from tests.protocols.averaging.choco_groups import LAYOUT, Group, choco_group, machine, relative, weights_of
from tests.protocols.network import Link


@pytest.mark.parametrize("kind", ["ring", "star", "complete"])
@pytest.mark.parametrize(("compressor", "rounds", "least"), [(TopK(0.1), 150, 0.1), (Quantise(4), 60, 0.02)], ids=["top 10 %", "4 bits"])
def test_it_agrees_on_the_mean_without_loss(kind: str, compressor: Compressor, rounds: int, least: float) -> None:
    group = choco_group(kind, compressor, rounds)
    assert relative(group) < least
    assert np.abs(group.now.mean(axis=0) - group.start.mean(axis=0)).max() < 1e-12, "both ends move by the same float32 replicas"
    for name, node in group.network.nodes.items():
        assert all(group.network.nodes[peer].copy_of(name) == node.shown for peer in node._copies)
        assert not node.counters["requests"], "nothing is lost, nothing is asked for"


def test_everything_sent_is_ordinary_averaging() -> None:
    group = choco_group("ring", TopK(1.0), 8, agents=4, step=1.0)
    names = list(group.x)
    plain = Group({name: SynchronousAveraging(FixedNeighbourhood(w), LAYOUT, 256) for name, w in weights_of("ring", names).items()}, 256, 8)
    plain.network.run(until=60.0)
    assert group.now == pytest.approx(plain.now, abs=1e-5)


def test_the_error_that_remains_falls_with_the_rounds() -> None:
    errors = [np.mean([n.error for n in choco_group("complete", TopK(0.1), rounds).network.nodes.values()]) for rounds in (1, 20, 80)]
    assert errors[0] > 0.6 and errors[1] < 0.5 * errors[0] and errors[2] < 1e-2


def test_a_dense_graph_bears_a_smaller_step_than_a_ring() -> None:
    """The top 10 % with gamma 0.3, 0.15 (what is taken without a setting) and 1."""
    assert relative(choco_group("complete", TopK(0.1), 80)) < 1e-3
    assert relative(choco_group("complete", TopK(0.1), 160, step=0.3)) > 0.05, "it falls at first, and then grows"
    assert relative(choco_group("ring", TopK(0.1), 80, step=0.3)) < 0.02
    assert relative(choco_group("ring", TopK(0.1), 80, step=1.0)) > 1.0


@pytest.mark.parametrize("loss", [0.1, 0.3])
def test_under_loss_it_agrees_on_another_mean(loss: float) -> None:
    names = [f"agent-{i}" for i in range(8)]
    machines = {name: machine(weights, 64, Quantise(4), deadline=0.2) for name, weights in weights_of("ring", names).items()}
    group = Group(machines, 64, 100, Link((0.001, 0.002), loss=loss))
    group.network.run(until=120.0)
    assert relative(group) < 0.01
    assert 1e-4 < np.abs(group.now.mean(axis=0) - group.start.mean(axis=0)).max() < 1.0


def test_bytes_of_a_round_against_full_vectors() -> None:
    for compressor, times in ((TopK(0.1), 5.0), (TopK(0.01), 50.0), (Quantise(4), 7.1), (Quantise(8), 3.7)):
        group = choco_group("ring", compressor, 3, agents=4, size=6400)
        sent = sum(node.counters["bytes.changes"] for node in group.network.nodes.values())
        full = 3 * 4 * 2 * 6400 * 4  # rounds, agents, neighbours, numbers, bytes
        assert full / sent == pytest.approx(times, rel=0.02)


def test_the_same_agreement_for_fewer_bytes() -> None:
    """4 bits per number bring eight agents in a ring to a hundredth of their disagreement with less than a third of the bytes."""

    def bytes_until(machines: dict[str, Any], per_round: float) -> float:
        group = Group(machines, 1024, 0)
        group.network.run(until=0.1)
        for number in range(1, 200):
            if disagreement(group.now) < 0.01 * disagreement(group.start):
                return number * per_round
            group.resume(number)
            group.network.run(until=group.network.now + 0.1)
        raise AssertionError("200 rounds were not enough")

    weights = weights_of("ring", [f"agent-{i}" for i in range(8)])
    full = bytes_until({name: SynchronousAveraging(FixedNeighbourhood(w), LAYOUT, 1024) for name, w in weights.items()}, 1024 * 4)
    small = bytes_until({name: machine(w, 1024, Quantise(4), step=1.0) for name, w in weights.items()}, 1024 / 2 + 16 * 4)
    assert small < full / 3


# --- copies under fire ------------------------------------------------------------------------------------------------------------


FRAMES = {"index": np.array([0, 3], np.uint32), "value": np.array([8, 1], np.float32)}
RIGHT = digest(np.array([8, 0, 0, 1], np.float32))


def change(**fields: Any) -> Compressed:
    return Compressed(**({"round": 0, "change": 1, "layout": LAYOUT, "digest": RIGHT} | fields))


def replica(**fields: Any) -> Replica:
    return Replica(**({"request": 1, "round": 0, "change": 1, "layout": LAYOUT, "digest": digest(np.ones(4, np.float32))} | fields))


@pytest.mark.parametrize(
    ("src", "message", "arrays", "counter"),
    [
        ("x", change(), FRAMES, "bad.E_UNKNOWN_NODE"),
        ("b", change(layout="other"), FRAMES, "bad.E_FRAME"),
        ("b", change(), {"index": FRAMES["index"]}, "bad.E_FRAME"),
        ("b", change(), {"index": FRAMES["index"], "value": np.array([np.nan, 1], np.float32)}, "bad.E_NONFINITE"),
        ("b", change(round=2**62), FRAMES, "bad.E_AHEAD"),
        ("b", Average(round=0, layout=LAYOUT), {"vector": np.ones(4, np.float32)}, "bad.E_DECODE"),
        ("b", replica(), {"vector": np.ones(5, np.float32)}, "bad.E_FRAME"),
        ("b", replica(digest="0"), {"vector": np.ones(4, np.float32)}, "bad.E_FRAME"),
        ("b", replica(digest=digest(np.full(4, np.nan, np.float32))), {"vector": np.full(4, np.nan, np.float32)}, "bad.E_NONFINITE"),
        ("b", replica(), {"vector": np.ones(4, np.float32)}, "duplicate"),
        ("b", ReplicaRequest(request=1, round=0, change=0, digest="", layout="other", shown=0), {}, "bad.E_FRAME"),
    ],
)
def test_what_breaks_a_rule_changes_nothing(src: str, message: Any, arrays: dict[str, np.ndarray], counter: str) -> None:
    a = machine({"b": 0.5}, 4, TopK(0.5))
    before = a.state()
    a.receive(src, message, arrays, 0.0)
    assert a.counters == {counter: 1} and not a.outgoing() and not a.events()
    after = a.state()
    assert after.keys() == before.keys() and all((after[key] == before[key]).all() for key in before)


def test_what_the_agent_itself_may_not_do() -> None:
    with pytest.raises(ValueError, match="step"):
        machine({"b": 0.5}, 4, step=1.5)
    with pytest.raises(ValueError, match="too large"), np.errstate(over="ignore"):
        node = machine({"b": 0.5}, 4, TopK(1.0))
        node.begin(0, np.full(4, 3e38), 0.0)
        node.begin(1, np.full(4, -3e38), 0.0)
    with pytest.raises(ValueError, match="are not of 4"):
        machine({"b": 0.5}, 4).load_state(machine({"b": 0.5}, 5).state())
