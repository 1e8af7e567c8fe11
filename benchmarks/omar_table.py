"""The random row of OMAR's table (Pan et al., arXiv 2111.11188) on cooperative navigation, from data that this program makes.

    python benchmarks/omar_table.py world                     # whether the world is that of the published data
    python benchmarks/omar_table.py run                       # all rows, 5 seeds; may be interrupted, goes on run by run
    python benchmarks/omar_table.py run --rows omar --seeds 0
    python benchmarks/omar_table.py --list                    # the runs, and which of them are there
    python benchmarks/omar_table.py --report                  # the document anew, from the runs that are there

World: `particles:simple_spread` with 3 agents, continuous actions, rewards and integration of OMAR's package. Data, drawn anew for each
seed: 40,000 episodes of 25 steps with uniform actions (1e6 transitions of each agent, as in the published set).

Three learners, one for each agent, which learn from the data of that agent alone: its own observations, actions and rewards. Nothing is
shared between them, except in the rows `*_averaged`, whose agents start equal and average all parameter groups by synchronous gossip with
weights 1/3. Settings as in the publication's code: batch 1024, two layers of 64 units, Adam with step size 0.01, tau 0.01, discount 0.95,
gradients of at most 0.5. That code makes one update for each 100 of 600,000 steps on this data, 6,000 updates; the publication states no
number. Score: 100 (return - 159.8) / (516.8 - 159.8), the return the mean over agents of 4,000 episodes, the same ones for all rows.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from offline_members import Gossip, Member, filled

from agent_node.contracts import Learner
from agent_node.learners.settings import ReplaySettings
from agent_node.memory.episode import Episode
from agent_node.memory.replay_buffer import ReplayBuffer
from agent_node.session.observation_features import Features
from agent_node.settings.builtin_components import register_builtin_components
from env_server.environments.particles.settings import SpreadOptions
from env_server.environments.particles.spread_world import SpreadWorld
from protocols.runtime.component_registry import component

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "results" / "omar_table.md"
RESULTS = DOCUMENT.with_suffix(".csv")
STEPS, AGENTS, EPISODES, BLOCK = 25, 3, 40_000, 2_000
EVALUATED = 4_000
CHECKPOINTS = (1_000, 2_000, 4_000, 6_000)
"""updates after which policies are evaluated; the last one is the budget"""
RANDOM_RETURN, EXPERT_RETURN = 159.8, 516.8
OPTIONS = SpreadOptions(actions="continuous", reward="inverse_distance", integration="semi_implicit", horizon=STEPS)
FEATURES = Features(SpreadWorld(OPTIONS, AGENTS, 1).layouts[0], history=1)
COMMON = {"hidden": [64, 64], "learning_rate": 0.01, "tau": 0.01, "discount": 0.95, "batch_size": 1024, "max_grad_norm": 0.5}
CONSERVATIVE = {"conservative_coef": 0.5}
RECTIFIED = CONSERVATIVE | {"rectification": 1.0}
ROWS: dict[str, tuple[str, dict[str, Any], int]] = {
    "bc": ("bc", {}, 0),
    "icq": ("icq", {"advantage_temperature": 1.0}, 0),
    "td3": ("td3", {}, 0),
    "td3_bc": ("td3_bc", {}, 0),
    "td3_bc_averaged": ("td3_bc", {}, 50),
    "cql": ("cql", CONSERVATIVE, 0),
    "omar": ("omar", RECTIFIED, 0),
    "omar_averaged": ("omar", RECTIFIED, 50),
}
"""learner, settings, and updates between two rounds of averaging (0: none)"""
PUBLISHED = {"bc": -0.5, "icq": 6.3, "td3_bc": 9.8, "cql": 24.0, "omar": 34.4}
"""scores of the publication, 5 seeds, 10 episodes"""

Floats = NDArray[np.float64]
Policy = Callable[[Sequence[NDArray[np.float32]], np.random.Generator], Floats]
"""actions `[N, 2, K]` of the agents' observations, N arrays `[K, 18]`"""


# --- world and data -----------------------------------------------------------------------------------------------------------------


def uniform(seen: Sequence[NDArray[np.float32]], random: np.random.Generator) -> Floats:
    """Uniform actions in [-1, 1]^2."""
    return random.uniform(-1, 1, (AGENTS, 2, len(seen[0])))


def play(policy: Policy, copies: int, random: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """One episode in each of the copies: observations `[N, K, T + 1, 18]`, actions `[N, K, T, 2]`, rewards `[N, K, T]`."""
    world = SpreadWorld(OPTIONS, AGENTS, copies)
    for copy in range(copies):
        world.begin(copy, random)
    observation = np.empty((AGENTS, copies, STEPS + 1, FEATURES.size), np.float32)
    action, reward = np.empty((AGENTS, copies, STEPS, 2), np.float32), np.empty((AGENTS, copies, STEPS), np.float32)
    observation[:, :, 0] = world.observe()
    for step in range(STEPS):
        chosen = policy(list(observation[:, :, step]), random)
        action[:, :, step] = chosen.transpose(0, 2, 1)
        reward[:, :, step] = world.step(chosen)
        observation[:, :, step + 1] = world.observe()
    return observation, action, reward


@lru_cache(maxsize=1)
def shards(seed: int) -> list[ReplayBuffer]:
    """By agent its data. Learners do not change it."""
    random = np.random.default_rng(seed)
    blocks = [play(uniform, BLOCK, random) for _ in range(EPISODES // BLOCK)]

    def episodes(agent: int) -> Iterator[Episode]:
        for number in range(EPISODES):
            observation, action, reward = (array[agent, number % BLOCK] for array in blocks[number // BLOCK])
            yield Episode(number, observation, action, reward, terminated=False)

    return [filled(episodes(agent), EPISODES * (STEPS + 1), FEATURES, COMMON["discount"]) for agent in range(AGENTS)]


def check_world(episodes: int = 40_000) -> None:
    """Print the return of uniform actions beside that of the published data."""
    random = np.random.default_rng(12_345)
    earned = np.concatenate([play(uniform, BLOCK, random)[2].sum(axis=2).mean(axis=0) for _ in range(episodes // BLOCK)])
    error = earned.std() / episodes**0.5
    print(f"uniform actions, {episodes:,} episodes: {earned.mean():.2f} +- {error:.2f} (standard error), deviation {earned.std():.2f}")
    print("published data card, 40,000 episodes: 159.57, deviation 60.46")


# --- training -----------------------------------------------------------------------------------------------------------------------


def evaluated(learners: Sequence[Learner]) -> float:
    """Mean return of the agents."""

    def policy(seen: Sequence[NDArray[np.float32]], random: np.random.Generator) -> Floats:
        acted = []
        for learner, own in zip(learners, seen, strict=True):
            goals, first = np.zeros((len(own), 0), np.float32), np.zeros(len(own), bool)
            acted.append(learner.act(FEATURES.encode(own[:, None]), goals, None, first, False).actions.T)
        return np.stack(acted).astype(np.float64)

    return float(play(policy, EVALUATED, np.random.default_rng(987_654))[2].sum(axis=2).mean())


def score(earned: float) -> float:
    """0: uniform actions, 100: the publication's expert."""
    return 100 * (earned - RANDOM_RETURN) / (EXPERT_RETURN - RANDOM_RETURN)


def trained(row: str, seed: int) -> Iterator[tuple[int, float, float]]:
    """At each checkpoint the number of updates, the return and the CPU seconds of all three learners' updates so far."""
    kind, changes, every = ROWS[row]
    settings = cast(ReplaySettings, component("learner", kind).settings(**(COMMON | changes)))
    members = [
        Member(settings, buffer, 100 * seed + number, 100 * seed + (0 if every else number)) for number, buffer in enumerate(shards(seed))
    ]
    gossip = Gossip(members) if every else None
    spent = 0.0
    for number in range(1, CHECKPOINTS[-1] + 1):
        start = time.process_time()
        for member in members:
            member.update()
        if gossip is not None and number % every == 0:
            gossip.round(number // every)
        spent += time.process_time() - start
        if number in CHECKPOINTS:
            yield number, evaluated([member.learner for member in members]), spent


# --- results ------------------------------------------------------------------------------------------------------------------------


def results() -> dict[tuple[str, int, int], dict[str, str]]:
    """Lines of the csv by row, seed and updates; of several the last one, since a run that was interrupted begins anew."""
    if not RESULTS.exists():
        return {}
    with RESULTS.open(newline="") as file:
        return {(line["row"], int(line["seed"]), int(line["updates"])): line for line in csv.DictReader(file)}


def is_done(row: str, seed: int) -> bool:
    """Whether the run has ended."""
    return (row, seed, CHECKPOINTS[-1]) in results()


def run(rows: Sequence[str], seeds: Sequence[int]) -> None:
    """Every run that has not ended; the csv grows by a line at each checkpoint."""
    for seed in seeds:
        for row in rows:
            if is_done(row, seed):
                continue
            for updates, earned, spent in trained(row, seed):
                new = not RESULTS.exists()
                with RESULTS.open("a", newline="") as file:
                    writer = csv.writer(file)
                    if new:
                        writer.writerow(["row", "seed", "updates", "return", "score", "cpu_seconds"])
                    writer.writerow([row, seed, updates, f"{earned:.2f}", f"{score(earned):.2f}", f"{spent:.0f}"])
                print(row, seed, f"{updates:,} updates: return {earned:.1f}, score {score(earned):.1f}, {spent:.0f} s", flush=True)


def table() -> str:
    """Scores at the checkpoints, in Markdown; with fewer than five seeds single values."""
    head = [f"{updates:,} updates" for updates in CHECKPOINTS]
    lines = [f"| row | {' | '.join(head)} | published | CPU seconds of a run |", "|---|" + "---|" * (len(head) + 2)]
    found = results()
    for row in (row for row in ROWS if any(name == row for name, _, _ in found)):
        cells = []
        for updates in CHECKPOINTS:
            scores = [float(line["score"]) for (name, _, number), line in found.items() if (name, number) == (row, updates)]
            text = ", ".join(f"{value:.1f}" for value in scores) or "-"
            cells.append(f"{statistics.mean(scores):.1f} ± {statistics.stdev(scores):.1f}" if len(scores) >= 5 else text)
        spent = [float(line["cpu_seconds"]) for (name, _, number), line in found.items() if (name, number) == (row, CHECKPOINTS[-1])]
        cells += [str(PUBLISHED.get(row, "")), f"{statistics.mean(spent):.0f}" if spent else "-"]
        lines.append(f"| `{row}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def report() -> None:
    """Put the table between the marks of the document."""
    start, end = "<!-- table -->", "<!-- end of table -->"
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(start)
    DOCUMENT.write_text(f"{before}{start}\n{table()}\n{end}{rest.partition(end)[2]}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", choices=("run", "world"))
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--list", action="store_true", help="print the runs, and which of them are there")
    parser.add_argument("--report", action="store_true", help="write the table of the document anew")
    given = parser.parse_args()
    torch.set_num_threads(1)
    register_builtin_components()
    if given.command == "world":
        check_world()
    elif given.command == "run":
        run(given.rows, given.seeds)
    if given.list:
        for row in given.rows:
            for seed in given.seeds:
                print(row, seed, "done" if is_done(row, seed) else "missing")
    if given.report:
        report()
    if not (given.command or given.list or given.report):
        parser.print_help()


if __name__ == "__main__":
    main()
