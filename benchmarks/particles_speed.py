"""Random steps per CPU second of the particle worlds: mpe2's environments in a loop against the vectorised ones, in turns.

    python benchmarks/particles_speed.py [--copies 1 16 256] [--seconds 1] [--repeats 5]

A step is one joint step of one copy, with observations, rewards, flags and the starts of new episodes. Both draw no actions while they are
measured. Seconds are those that the process computed, so that other processes do not count; the ratio is the median over the repeats.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from measuring import machine, median, table
from mpe2 import simple_spread_v3, simple_tag_v3

from env_server.environments.registry import create
from env_server.settings import EnvironmentSettings

WORLDS: dict[str, tuple[str, int, dict[str, Any], Callable[[], Any] | None]] = {
    "simple_spread, 3 agents": ("simple_spread", 3, {}, simple_spread_v3.parallel_env),
    "simple_tag, 3 predators and a prey": ("simple_tag", 4, {}, simple_tag_v3.parallel_env),
    "scripted prey, 3 predators": ("simple_tag", 3, {"prey": "scripted", "sight": 0.25}, None),
    "scripted prey, 12 predators": ("simple_tag", 12, {"prey": "scripted", "sight": 0.25}, None),
    "scripted prey, 24 predators": ("simple_tag", 24, {"prey": "scripted", "sight": 0.25, "radius_scale": 0.5}, None),
}
"""title: (world, agents, options, the same in mpe2)"""
_ACTIONS = 64


def vectorised(world: str, agents: int, options: dict[str, Any], copies: int) -> Callable[[], int]:
    """A function that makes some steps of K copies and returns how many."""
    names = [f"agent-{i}" for i in range(agents)]
    environment = create(EnvironmentSettings(id=f"particles:{world}", options=options, copies=copies), names)
    environment.reset(0)
    drawn = np.random.default_rng(0).integers(0, 5, (_ACTIONS, agents, copies, 1)).astype(np.int32)
    chosen = [dict(zip(names, actions, strict=True)) for actions in drawn]

    def play() -> int:
        steps = 0
        for actions in chosen:
            result = environment.step(actions)
            steps += copies if result.agents[names[0]].flags[0] & 2 == 0 else 0
        environment.finished()
        return steps

    return play


def in_a_loop(make: Callable[[], Any], copies: int) -> Callable[[], int]:
    """The same for K environments of mpe2, one after the other."""
    environments = [make() for _ in range(copies)]
    for environment in environments:
        environment.reset()
    names = environments[0].possible_agents
    drawn = np.random.default_rng(0).integers(0, 5, (_ACTIONS, copies, len(names))).tolist()
    at = 0

    def play() -> int:
        nonlocal at
        for environment, chosen in zip(environments, drawn[at % _ACTIONS], strict=True):
            environment.step(dict(zip(names, chosen, strict=True)))
            if not environment.agents:
                environment.reset()
        at += 1
        return copies

    return play


def rate(play: Callable[[], int], seconds: float) -> float:
    """Steps per CPU second."""
    steps, start = 0, time.process_time()
    while (passed := time.process_time() - start) < seconds:
        steps += play()
    return steps / passed


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, nargs="+", default=[1, 16, 256])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    print(machine(), flush=True)
    rows = []
    for title, (world, agents, options, make) in WORLDS.items():
        for copies in given.copies:
            ours = vectorised(world, agents, options, copies)
            theirs = None if make is None else in_a_loop(make, copies)
            fast, slow = [], []
            for _ in range(given.repeats):
                fast.append(rate(ours, given.seconds))
                if theirs is not None:
                    slow.append(rate(theirs, given.seconds))
            ratio = f"{statistics.median(a / b for a, b in zip(fast, slow, strict=True)):.1f}" if slow else "-"
            rows.append([title, str(copies), median(fast, 0), median(slow, 0) if slow else "-", ratio])
    print(table(["world", "K", "vectorised steps/s", "mpe2 steps/s", "ratio"], rows))


if __name__ == "__main__":
    main()
