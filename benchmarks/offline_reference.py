"""Learners from stored data on cooperative navigation: data of three agents, evaluation with three, five and ten, without learning there.

    python benchmarks/offline_reference.py run    # all rows, 5 seeds; may be interrupted
    python benchmarks/offline_reference.py run --rows bc dbr --seeds 1 --data mixed

World: `particles:simple_spread`, discrete actions, rewards of mpe2. An agent observes 18 numbers with any number of agents: velocity,
position, the three nearest landmarks and the two nearest other agents, relative to it in the order of their distances, and four zeros.
Data: 400 episodes of 25 steps, drawn anew for each seed.

    mixed      one third each: the scripted policy `cover` with 5 % and with 50 % of uniform actions, and uniform actions alone
    poisoned   90 % the scripted policy `leave`, 10 % `cover` with 50 % of uniform actions

Forms: `pooled`, one learner with the data of all three agents; `shards`, three learners, each with one agent's data, that start equal and
average their parameter groups every 50 updates by synchronous gossip with weights 1/3, and are evaluated together.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from offline_members import Gossip, Member, filled

from agent_node.contracts import Learner
from agent_node.learners.settings import ReplaySettings
from agent_node.memory.episode import Episode
from agent_node.session.observation_features import Features
from agent_node.settings.builtin_components import register_builtin_components
from env_server.environments.particles.particle_world import UNIT_FORCES
from env_server.environments.particles.scripted_policies import POLICIES
from env_server.environments.particles.settings import SpreadOptions
from env_server.environments.particles.spread_world import SpreadWorld
from protocols.runtime.component_registry import component
from protocols.spaces.layout import Layout

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results" / "offline_reference.csv"
STEPS, EPISODES, MEMBERS, CHOICES = 25, 400, 3, 5
LANDMARKS, OTHERS = 3, 2
"""nearest landmarks and other agents that are observed"""
UPDATES, BATCH, AVERAGED_EVERY, EVALUATED = 4000, 256, 50, 200
COMMON = {"hidden": [128, 128], "learning_rate": 3e-4, "tau": 5e-3, "discount": 0.95, "batch_size": BATCH}
CONSTANT = {"temperature": 0.01, "learn_temperature": False}
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "bc": ("bc", {}),
    "iql": ("double_dqn", {}),
    "iql_ends": ("double_dqn", {}),
    "sac": ("discrete_sac", CONSTANT),
    "cql": ("discrete_cql", {}),
    "bcq": ("discrete_bcq", {}),
    "brac_v_kl": ("discrete_brac", {"penalty": "value"}),
    "brac_p_kl": ("discrete_brac", {}),
    "brac_p_mmd": ("discrete_brac", {"divergence": "mmd"}),
    "bear_support_max": ("discrete_bear", {"kernel_width": 10.0, "max_discrepancy": 0.05, "backup": "support_max"}),
    "bear": ("discrete_bear", {}),
    "dbr": ("dbr", {"divergence_coef": 1.0}),
    "dbr_0.3": ("dbr", {}),
    "dbr_decile_0.3": ("dbr", {"better_share": 0.1}),
}
"""learner and settings of each row"""
ENDS = ("iql_ends",)
"""rows in which the limit of 25 steps counts as an end of the episode: nothing is worth anything behind it"""
PUBLISHED: dict[str, dict[str, tuple[float | None, ...]]] = {
    "mixed": {
        "bc": (-15.1, -20.0, -31.1), "iql": (-17.4, -24.3, -39.3), "sac": (-18.0, -23.8, -37.2), "cql": (-15.3, -21.4, -34.0),
        "bcq": (-14.5, -19.2, -30.7), "brac_v_kl": (-15.2, -20.1, -31.2), "brac_p_kl": (-15.0, -20.4, -31.1),
        "brac_p_mmd": (-15.6, -20.6, -31.1), "bear_support_max": (-18.2, -25.0, -39.4), "bear": (-15.0, -20.5, -31.8),
        "dbr": (-13.9, -19.5, -31.2), "dbr_0.3": (-14.0, None, -31.3),
    },
    "poisoned": {
        "bc": (-77.4, None, -156.0), "bcq": (-50.2, None, -68.1), "brac_v_kl": (-24.5, None, -41.6), "cql": (-24.4, None, -44.2),
        "iql": (-21.4, None, -37.9), "dbr": (-27.4, None, -42.2), "dbr_0.3": (-21.4, None, -37.8), "dbr_decile_0.3": (-21.0, None, -37.4),
    },
}  # fmt: skip
"""reference values of returns with 3, 5 and 10 agents: another implementation with 3 seeds (mixed) and 2 (poisoned), and other data"""
COUNTS = (3, 5, 10)

Floats = NDArray[np.float64]
Choices = NDArray[np.int64]
Policy = Callable[[SpreadWorld, list[NDArray[np.float32]], np.random.Generator], Choices]
"""joint choices `[N, K]` from the world, the agents' observations, N arrays `[K, D]`, and random numbers"""
View = Callable[[SpreadWorld, int], list[NDArray[np.float32]]]
"""what each of N agents observes, N arrays `[K, D]`"""


# --- world and scripted policies ----------------------------------------------------------------------------------------------------


def observations(world: SpreadWorld, agents: int, landmarks: int = LANDMARKS, others: int = OTHERS) -> list[NDArray[np.float32]]:
    """N arrays `[K, 4 + 2 landmarks + 4 others]`: 18 numbers unless given. Where there are fewer landmarks or agents, the rest is 0."""
    seen = []
    for whole in world.observe():
        near = _nearest(whole[:, 4 : 4 + 2 * agents], landmarks)
        beside = _nearest(whole[:, 4 + 2 * agents : 2 + 4 * agents], others)
        seen.append(np.concatenate([whole[:, :4], near, beside, np.zeros((len(whole), 2 * others))], axis=1, dtype=np.float32))
    return seen


def _nearest(relative: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """`[K, 2 count]`: the `count` nearest of the points `relative[K, 2 n]`, the nearest first; 0 behind the last of them."""
    points = relative.reshape(len(relative), -1, 2)
    order = np.argsort(np.linalg.norm(points, axis=2), axis=1, kind="stable")[:, :count]
    nearest = np.zeros((len(points), count, 2), np.float32)
    nearest[:, : order.shape[1]] = np.take_along_axis(points, order[:, :, None], axis=1)
    return nearest.reshape(len(relative), -1)


def scripted(name: str, random_share: float) -> Policy:
    """A scripted policy of the environment by its name, with this share of uniform actions."""
    act = POLICIES["simple_spread"][name]

    def policy(world: SpreadWorld, seen: list[NDArray[np.float32]], random: np.random.Generator) -> Choices:
        chosen = np.stack([act("", layout, own)[:, 0] for layout, own in zip(world.layouts, world.observe(), strict=True)])
        joint: Choices = np.where(random.random(chosen.shape) < random_share, random.integers(0, CHOICES, chosen.shape), chosen)
        return joint

    return policy


UNIFORM = scripted("cover", 1.0)


def play(policy: Policy, agents: int, copies: int, seed: int, view: View = observations) -> tuple[Floats, list[Any], Choices, Floats]:
    """One episode in each of the copies: mean return per agent `[K]`, observations `[T + 1]` of N arrays `[K, D]`, joint choices
    `[T, N, K]`, rewards `[T, N, K]`."""
    random = np.random.default_rng(seed)
    world = SpreadWorld(SpreadOptions(), agents, copies)
    for copy in range(copies):
        world.begin(copy, random)
    seen, chosen, rewards = [view(world, agents)], [], []
    for _ in range(STEPS):
        joint = policy(world, seen[-1], random)
        chosen.append(joint)
        rewards.append(world.step(UNIT_FORCES[joint].transpose(0, 2, 1).astype(np.float64)).copy())
        seen.append(view(world, agents))
    earned = np.stack(rewards)
    return earned.sum(axis=0).mean(axis=0), seen, np.stack(chosen), earned


MIXTURES: dict[str, list[tuple[Policy, float]]] = {
    "mixed": [(scripted("cover", 0.05), 1 / 3), (scripted("cover", 0.5), 1 / 3), (UNIFORM, 1 / 3)],
    "poisoned": [(scripted("leave", 0.0), 0.9), (scripted("cover", 0.5), 0.1)],
}


def shards(
    data: str, seed: int, ends: bool, agents: int = MEMBERS, episodes: int = EPISODES, view: View = observations
) -> list[list[Episode]]:
    """By agent its episodes, numbered alike."""
    found: list[list[Episode]] = [[] for _ in range(agents)]
    bounds = np.round(np.cumsum([0.0] + [share for _, share in MIXTURES[data]]) * episodes).astype(int)
    for (policy, _), first, last in zip(MIXTURES[data], bounds[:-1], bounds[1:], strict=True):
        _, seen, chosen, rewards = play(policy, agents, int(last - first), 1000 * seed + int(first), view)
        for agent in range(agents):
            observed = np.stack([step[agent] for step in seen], axis=1)
            for copy in range(last - first):
                action = chosen[:, agent, copy, None].astype(np.int32)
                reward = rewards[:, agent, copy].astype(np.float32)
                found[agent].append(Episode(int(first) + copy, observed[copy], action, reward, terminated=ends))
    return found


# --- training -----------------------------------------------------------------------------------------------------------------------

LAYOUT = Layout(shape=[4 + 2 * LANDMARKS + 4 * OTHERS], actions=[CHOICES])
FEATURES = Features(LAYOUT, history=1)


def trained(row: str, data: str, form: str, seed: int) -> list[Learner]:
    """The learners after all updates: one, or one for each agent."""
    kind, changes = ROWS[row]
    accepted = component("learner", kind).settings
    settings = cast(ReplaySettings, accepted(**(COMMON | changes)))
    parts = shards(data, seed, row in ENDS)
    if form == "pooled":
        parts = [[episode for part in parts for episode in part]]
    members = []
    for number, part in enumerate(parts):
        for place, episode in enumerate(part):
            episode.number = place
        buffer = filled(part, sum(episode.steps + 1 for episode in part), FEATURES, settings.discount)
        members.append(Member(settings, buffer, 100 * seed + number, seed))
    gossip = Gossip(members) if len(members) > 1 else None
    for number in range(1, UPDATES + 1):
        for member in members:
            member.update()
        if gossip is not None and number % AVERAGED_EVERY == 0:
            gossip.round(number // AVERAGED_EVERY)
    return [member.learner for member in members]


def evaluated(
    learners: Sequence[Learner], agents: int, features: Features = FEATURES, view: View = observations, episodes: int = EVALUATED
) -> float:
    """Mean return per agent of these episodes, the same ones for all rows; agent i acts by learner i modulo their number."""

    def policy(world: SpreadWorld, seen: list[NDArray[np.float32]], random: np.random.Generator) -> Choices:
        acted = []
        for number, own in enumerate(seen):
            goals, first = np.zeros((len(own), 0), np.float32), np.zeros(len(own), bool)
            acted.append(learners[number % len(learners)].act(features.encode(own[:, None]), goals, None, first, False).actions[:, 0])
        return np.stack(acted).astype(np.int64)

    return float(play(policy, agents, episodes, 123_456 + agents, view)[0].mean())


def run(rows: Sequence[str], datas: Sequence[str], forms: Sequence[str], seeds: int) -> None:
    """Every run that is not in the csv, which grows by a line after each."""
    for seed, form, data, row in _missing(rows, datas, forms, seeds):
        start = time.process_time()
        learners = trained(row, data, form, seed)
        spent = time.process_time() - start
        returns = [evaluated(learners, count) for count in COUNTS]
        new = not RESULTS.exists()
        with RESULTS.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["data", "form", "row", "seed", *(f"n{count}" for count in COUNTS), "cpu_seconds"])
            writer.writerow([data, form, row, seed, *(f"{value:.3f}" for value in returns), f"{spent:.1f}"])
        print(data, form, row, seed, *(f"{value:.1f}" for value in returns), f"{spent:.1f} s", flush=True)


def results() -> list[dict[str, str]]:
    """Lines of the csv."""
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return list(csv.DictReader(file))


def _missing(rows: Sequence[str], datas: Sequence[str], forms: Sequence[str], seeds: int) -> Iterator[tuple[int, str, str, str]]:
    there = {(int(one["seed"]), one["form"], one["data"], one["row"]) for one in results()}
    for seed in range(seeds):
        for form in forms:
            for data in datas:
                for row in rows:
                    wanted = row in PUBLISHED[data] or row in ENDS or row == "dbr_decile_0.3"
                    if wanted and (seed, form, data, row) not in there:
                        yield seed, form, data, row


def scripted_returns() -> None:
    """Print the returns of the scripted policies with 3, 5 and 10 agents."""
    policies = {
        "5 % random": scripted("cover", 0.05),
        "50 % random": scripted("cover", 0.5),
        "random": UNIFORM,
        "fleeing": scripted("leave", 0.0),
    }
    for name, policy in policies.items():
        print(name, *(f"{play(policy, count, 1000, 7)[0].mean():.1f}" for count in COUNTS))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("run", "scripted"))
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--data", nargs="+", choices=list(MIXTURES), default=list(MIXTURES))
    parser.add_argument("--form", nargs="+", choices=("pooled", "shards"), default=("pooled", "shards"))
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    register_builtin_components()
    if given.command == "scripted":
        scripted_returns()
    else:
        run(given.rows, given.data, given.form, given.seeds)


if __name__ == "__main__":
    main()
