"""Averaging between real processes: a partition in a ring of eight, a death in a ring of four, a straggler, a Byzantine agent."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from benchmarks.ring import Options, Ring, disagreement, rate, wait
from protocols.averaging.push_sum import POOR

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]


def gap(count: int) -> float:
    """Of a ring with equal weights: (2/3) (1 - cos(2 pi / n))."""
    return 2 / 3 * (1 - math.cos(2 * math.pi / count))


def test_a_partition_stops_nobody_and_leaves_no_trace_after_it(tmp_path: Path) -> None:
    begins, lasts = (
        0.4,
        12.0,
    )  # soon: rounds before the cut bring the two sides together; long: on a busy machine a round takes two seconds at first
    cut = {"groups": [["agent-[0-3]"], ["agent-[4-7]"]]}
    faults = {"events": [{"id": "split", "at": {"time": f"{begins}s"}, "for": f"{lasts}s", "partition": cut}]}
    with Ring(tmp_path, 8, Options(period=0.05), faults) as ring:
        start, end = ring.began + begins, ring.began + begins + lasts
        limit = int(3 * math.log(1e6) / gap(8))

        def healed() -> dict[str, list[dict[str, object]]] | None:
            found = {name: [line for line in ring.rounds(name) if line["t"] > end] for name in ring.names}
            return found if all(len(lines) > limit for lines in found.values()) else None

        after = wait("enough rounds after the cut", healed, 90)
        before = {name: ring.rounds(name) for name in ring.names}
        assert all(process.poll() is None for process in ring.processes.values()), "no process died"
    for name, lines in before.items():
        during = [line for line in lines if start < line["t"] < end]
        assert len(during) > 10, f"{name} goes on while it is cut off"
        assert min(line["w"] for line in lines) >= POOR, "the floor that the rules keep, however few rounds there are"
    sides = [[before[f"agent-{i}"] for i in range(4)], [before[f"agent-{i}"] for i in range(4, 8)]]
    last = [[[line for line in lines if line["t"] < end][-1]["z"] for lines in side] for side in sides]
    apart = disagreement([*last[0], *last[1]])
    assert apart > 1e-3 and all(disagreement(side) < apart for side in last), "the cut has cut: each side agrees with itself first"
    final = [lines[limit]["z"] for lines in after.values()]
    assert disagreement(final) < 1e-6, f"within {limit} rounds after the cut"


def mass(ring: Ring) -> float:
    """Mass of all agents: the sum of their means over 20 rounds."""
    return sum(sum(line["w"] for line in ring.rounds(name)[-20:]) / 20 for name in ring.names)


def test_a_death_holds_nobody_up_and_who_returns_has_weight_soon(tmp_path: Path) -> None:
    with Ring(tmp_path, 4) as ring:
        wait("rounds", lambda: all(len(ring.rounds(name)) > 60 for name in ring.names), 60)
        died = ring.kill("agent-2")
        others = ("agent-0", "agent-1", "agent-3")
        wait("rounds without it", lambda: all(len(since(ring, name, died)) >= 60 for name in others), 60)
        before = [line["awaited"] for name in others for line in ring.rounds(name) if line["t"] < died]
        assert any("agent-2" in awaited for awaited in before), "while it lived, rounds waited for it"
        for name in others:  # each takes notice between two rounds
            assert not any("agent-2" in line["awaited"] for line in since(ring, name, died)[3:]), "no round waits for a dead neighbour"
        ring.bring_back("agent-2")
        lines = wait("61 rounds of the successor", lambda: found if len(found := ring.rounds("agent-2")) > 60 else None, 60)
        # What was on its way at the death may be lost afterwards, or count twice.
        assert len(ring.names) / 2 < mass(ring) < 1.5 * len(ring.names)
        assert max(line["w"] for line in lines[:20]) > 0.1
        wait(
            "all agree again",
            lambda: disagreement([ring.rounds(name)[-1]["z"] for name in ring.names]) < 1e-6,
            60,
        )


def since(ring: Ring, name: str, t: float) -> list[dict[str, object]]:
    return [line for line in ring.rounds(name) if line["t"] > t]


def test_a_straggler_sets_nobodys_pace(tmp_path: Path) -> None:
    faults = {"events": [{"id": "slow", "at": {"time": "3s"}, "for": "6s", "straggler": {"target": "agent-1", "factor": 10}}]}
    with Ring(tmp_path, 4, Options(period=0.05), faults) as ring:
        wait("the straggler is over", lambda: time.time() > ring.began + 9.0, 60)
        # In the same seconds, once the deadline has adapted: what else this machine has to do slows all of them down.
        found = {name: rate(ring.rounds(name), ring.began + 6.0, ring.began + 9.0) for name in ring.names}
        slow = found.pop("agent-1")
        assert min(found.values()) > 3.0 * slow > 0.0, f"rounds a second: {found}, and {slow:.1f} of the straggler"
        early = {name: rate(ring.rounds(name), ring.began + 1.0, ring.began + 3.0) for name in ring.names}
        assert early["agent-1"] > 0.3 * max(early.values()), "before, it had the pace of the others"


@pytest.mark.parametrize("attack", ["nan", "wrong_shape"])
def test_lies_without_shape_or_number_are_refused_and_the_honest_agree(tmp_path: Path, attack: str) -> None:
    faults = {"events": [{"id": "liar", "at": {"round": 5}, "byzantine": {"target": "agent-1", "attack": attack}}]}
    with Ring(tmp_path, 4, faults=faults) as ring:
        honest = ["agent-0", "agent-2", "agent-3"]
        wait("rounds", lambda: all(len(ring.rounds(name)) > 100 for name in honest), 60)
        wait("the honest agree", lambda: disagreement([ring.rounds(name)[-1]["z"] for name in honest]) < 1e-6, 60)
        for name in ("agent-0", "agent-2"):
            counters = ring.rounds(name)[-1]["counters"]
            assert sum(n for code, n in counters.items() if code.endswith(("E_NONFINITE", "E_FRAME"))) >= 10
        assert all(process.poll() is None for process in ring.processes.values())
        assert max(abs(x) for name in honest for x in ring.rounds(name)[-1]["z"]) < 10
