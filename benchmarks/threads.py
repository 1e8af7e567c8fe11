"""Do four agents under the orchestrator learn as fast as four single-thread processes without it?

    python benchmarks/threads.py [--quick]

Left alone torch takes all cores in every process, and processes fight for them; the host sets the threads of each node. The run learns
16 updates a tick, so that learning dominates; the other side makes the same updates from the same kind of buffer, in four bare processes.
Both take turns, three times.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import statistics
import time
from pathlib import Path
from typing import Any

from measured_run import MeasuredRun
from measuring import machine

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIG = REPOSITORY / "configs" / "4agents_ring.yaml"
AGENTS = 4
CHANGES = [
    "environment.copies=16",
    "agents.learner.replay_ratio=1",
    "agents.learner.learning_starts=500",
    "agents.world_model=null",
    "exchange.consensus=null",
    "evaluation={every: 1000000, episodes: 0, final_episodes: 0}",
    "metrics.every=500ms",
]
DEADLINE = 600.0
"""seconds for all agents to have learnt long enough, on a crowded machine"""


def under_orchestrator(seconds: float) -> float:
    """Updates a second of all agents together, in the first `seconds` in which all of them learn."""
    with MeasuredRun([*CHANGES, "until={time: 1h}"], CONFIG) as run:

        def reports() -> list[list[tuple[float, float]]]:
            found = [[row for row in run.reports(f"agent-{agent}", "updates") if row[1] > 0] for agent in range(AGENTS)]
            begin = max(rows[0][0] if rows else math.inf for rows in found)
            return [[row for row in rows if row[0] >= begin] for rows in found]

        run.wait(f"{seconds:g} s of learning", lambda: all(rows and rows[-1][0] - rows[0][0] >= seconds for rows in reports()), DEADLINE)
        return sum((rows[-1][1] - rows[0][1]) / (rows[-1][0] - rows[0][0]) for rows in reports())


def learn(seconds: float, seed: int, ready: Any, rates: Any) -> None:
    """One bare process: fill a buffer by playing at random, then make updates for a while."""
    import numpy as np
    import torch

    from agent_node.session.acting import Actor
    from agent_node.session.agent_components import AgentComponents
    from agent_node.session.roles import LEARNER, REPLAY
    from agent_node.session.transition_batches import BatchSampler
    from env_server.environments import registry
    from orchestrator.config.loader import load

    torch.set_num_threads(1)
    configuration = load(CONFIG, CHANGES).configuration
    agents = ["agent-0", "agent-1"]
    environment = registry.create(configuration.environment, agents, None, seed)
    layout = environment.layout("agent-0")
    parts = AgentComponents(configuration.agents, configuration.exchange, layout, configuration.environment.copies, "agent-0", seed)
    actor = Actor(parts)
    outcome = environment.reset(seed)
    actions = {agent: np.zeros((configuration.environment.copies, 2), np.int32) for agent in agents}
    while len(parts[REPLAY]) < 5000:
        for offer in environment.offers():  # type: ignore[attr-defined]
            for agent in offer.members:
                environment.set_goal(offer.episode, agent, offer.episode % 6, False)  # type: ignore[attr-defined]
        outcome = environment.step(actions)
        batch = outcome.agents["agent-0"]
        frames = {"observation": batch.observation, "reward": batch.reward, "flags": batch.flags, "episode": outcome.episode,
                  "applied": actions["agent-0"], "achieved": batch.achieved, "goal": batch.goal}  # fmt: skip
        actions["agent-0"], episodes = actor.observe(frames, True)
        for episode in episodes:
            parts[REPLAY].add(episode)
    size = configuration.agents.learner.batch_size  # type: ignore[attr-defined]
    ready.wait(120)
    updates, start = 0, time.perf_counter()
    while time.perf_counter() < start + seconds:
        parts[LEARNER].learn(BatchSampler(parts).batch(size))
        updates += 1
    rates.put(updates / (time.perf_counter() - start))


def bare(seconds: float) -> float:
    """Updates a second of four bare processes together."""
    context = multiprocessing.get_context("spawn")
    ready, rates = context.Barrier(AGENTS), context.Queue()
    processes = [context.Process(target=learn, args=(seconds, seed, ready, rates)) for seed in range(AGENTS)]
    for process in processes:
        process.start()
    total = sum(rates.get(timeout=seconds + 120) for _ in processes)
    for process in processes:
        process.join(30)
    return total


def main() -> None:
    """Take turns, print the rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short turn")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    seconds, turns = (3.0, 1) if arguments.quick else (15.0, 3)
    pairs = [(under_orchestrator(seconds), bare(seconds)) for _ in range(turns)]
    print(f"{machine()}\n{AGENTS} agents, {turns} turns of {seconds:g} s")
    print(f"{'updates/s':<24}{'median':>8}{'least':>8}{'greatest':>10}")
    for name, numbers in zip(("under the orchestrator", "four bare processes"), zip(*pairs, strict=True), strict=True):
        print(f"{name:<24}{statistics.median(numbers):>8.0f}{min(numbers):>8.0f}{max(numbers):>10.0f}")
    ratios = [managed / alone for managed, alone in pairs]
    print(f"{'ratio':<24}{statistics.median(ratios):>8.2f}{min(ratios):>8.2f}{max(ratios):>10.2f}   (wanted: at least 0.8)")


if __name__ == "__main__":
    main()
