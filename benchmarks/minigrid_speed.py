"""Frames a second of MiniGrid's environments with random actions, on one core and without agents.

    python benchmarks/minigrid_speed.py [--copies 32] [--seconds 3] [--view full both] [--env MiniGrid-KeyCorridorS3R1-v0 ...]

The last columns are the package's own step with its wrapper for the whole grid, and how much of our time the package's own code takes
(`step` without observations, and `reset`). Seconds are those that the process computed, so that other processes do not count.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import gymnasium
import numpy as np
from measuring import machine, table
from minigrid.wrappers import FullyObsWrapper

from env_server.environments.minigrid.grid_copies import VectorMiniGrid
from env_server.environments.minigrid.settings import MiniGridOptions

ENVIRONMENTS = ["MiniGrid-KeyCorridorS3R1-v0", "MiniGrid-KeyCorridorS3R3-v0", "MiniGrid-DoorKey-8x8-v0", "MiniGrid-MultiRoom-N6-v0"]


def ours(name: str, view: Any, copies: int, seconds: float) -> float:
    """Frames a second of K copies."""
    environment = VectorMiniGrid(name, MiniGridOptions(view=view), ["agent-0"], copies)
    environment.reset(0)
    random = np.random.default_rng(0)
    actions = random.integers(0, 7, (512, copies, 1)).astype(np.int32)
    frames, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        for action in actions:
            environment.step({"agent-0": action})
        frames += len(actions) * copies
    return frames / (time.process_time() - start)


def theirs(name: str, seconds: float, wrapped: bool) -> float:
    """Frames a second of the package alone, with the wrapper for the whole grid or without any observation."""
    environment = gymnasium.make(name, disable_env_checker=True)
    environment = FullyObsWrapper(environment) if wrapped else environment.unwrapped
    if not wrapped:
        environment.gen_obs = dict  # type: ignore[attr-defined]
    environment.reset(seed=0)
    actions = np.random.default_rng(0).integers(0, 7, 4096).tolist()
    frames, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        for action in actions:
            _, _, terminated, truncated, _ = environment.step(action)
            if terminated or truncated:
                environment.reset(seed=frames)
        frames += len(actions)
    return frames / (time.process_time() - start)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--view", nargs="+", default=["full", "both"])
    parser.add_argument("--env", nargs="+", default=ENVIRONMENTS)
    given = parser.parse_args()
    print(machine(), flush=True)
    rows = []
    for name in given.env:
        bare, wrapped = theirs(name, given.seconds, False), theirs(name, given.seconds, True)
        for view in given.view:
            rate = ours(name, view, given.copies, given.seconds)
            rows.append([name, view, f"{rate:,.0f}", f"{wrapped:,.0f}", f"{rate / bare:.0%}"])
    print(table(["environment", "view", "frames/s", "package with FullyObsWrapper", "share of the package's own code"], rows))


if __name__ == "__main__":
    main()
