"""Faults drawn at random, one after the other: the same seed and agents give the same ones for ever.

The k-th fault comes a drawn time after the one before it, is of a kind drawn by its weight, lasts a drawn time, and hits drawn agents. One
that would come while `max_concurrent` others last is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

from protocols.faults.schedule.keyed_draws import KeyedDraws
from protocols.faults.schedule.random_durations import quantile
from protocols.faults.settings import FaultEvent, Nemesis
from protocols.runtime.settings_types import format_duration

_SHAPES = ("isolate_one", "halves", "majority_minority", "overlapping_ring", "random")
SLOW = 5.0
"""how many times as long a slow agent takes to learn"""
DELAY = (0.03, 0.1)
"""seconds: range of the mean delay of disturbed links"""
LOSS = (0.0, 0.3)
"""range of their probability of loss"""
_SHORTEST = 0.001


def drawn_events(settings: Nemesis, seed: int, agents: Sequence[str]) -> Iterator[FaultEvent]:
    """Faults in the order of their beginnings; without end. None where all weights are 0."""
    draws = KeyedDraws(seed, "nemesis")
    gap, length = quantile(settings.every), quantile(settings.duration)
    kinds = [(kind, weight) for kind, weight in settings.weights.model_dump().items() if weight > 0]
    running: list[float] = []
    now = 0.0
    for number in count(1) if kinds else ():
        first, which, lasting, whom, shape, delay, loss, _ = draws.eight(number)
        now += max(gap(first), _SHORTEST)
        running = [end for end in running if end > now]
        if len(running) >= settings.max_concurrent:
            continue
        start = round(now, 3)
        lasts = max(round(length(lasting), 3), _SHORTEST)
        running.append(start + lasts)
        kind = _weighted(kinds, which)
        target = agents[int(whom * len(agents))]
        what = _what(kind, target, lasts, shape, delay, loss)
        event: dict[str, Any] = {"id": f"random-{number}", "at": {"time": format_duration(start)}, **what}
        if kind != "kill":  # whose end is the return of the process
            event["for"] = format_duration(lasts)
        yield FaultEvent.model_validate(event)


def _weighted(kinds: Sequence[tuple[str, float]], draw: float) -> str:
    left = draw * sum(weight for _, weight in kinds)
    for kind, weight in kinds:
        left -= weight
        if left < 0:
            return kind
    return kinds[-1][0]


def _what(kind: str, target: str, lasts: float, shape: float, delay: float, loss: float) -> dict[str, Any]:
    if kind == "partition":
        return {"partition": {"shape": _SHAPES[int(shape * len(_SHAPES))]}}
    if kind == "kill":
        return {"process": {"target": target, "action": "kill", "restart_after": format_duration(lasts)}}
    if kind == "pause":
        return {"process": {"target": target, "action": "pause"}}
    if kind == "slow":
        return {"straggler": {"target": target, "factor": SLOW, "where": "update"}}
    mean = round(DELAY[0] + delay * (DELAY[1] - DELAY[0]), 4)
    return {
        "link": {
            "from": target,
            "symmetric": True,
            "delay": {"dist": "exponential", "mean": format_duration(mean)},
            "loss": round(LOSS[0] + loss * (LOSS[1] - LOSS[0]), 4),
        }
    }
