"""Policies from stored data of few agents act with many: the transfer matrix of docs/results/offline.md.

    python benchmarks/offline_transfer.py                      # all rows, 3 seeds; may be interrupted, goes on line by line
    python benchmarks/offline_transfer.py --rows bc --seeds 0
    python benchmarks/offline_transfer.py --list               # what is there, and what is missing

World, mixed data and episodes of evaluation as in `offline_reference.py`; as many landmarks as agents. A policy is trained with data of 2,
3, 4, 5, 8, 10, 16 or 32 agents, or of 3, 4 and 5 agents in equal numbers of episodes, 30,000 transitions in each case, and then acts for
all agents in worlds of 2 to 32, without learning there. Data of all agents are pooled. Policies of 8 and more agents are those that others
are compared with. Returns are means per agent over 200 episodes, with 16 and 32 agents over 50.

Rows `bcq_entities` and `bcq_attention` observe all landmarks and all other agents by networks over entities, whose parameters do not depend
on their number. All other rows observe the three nearest landmarks and the two nearest agents; where there are fewer, zeros.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from offline_members import Member, filled, made
from offline_reference import (
    CHOICES,
    COMMON,
    EVALUATED,
    STEPS,
    UNIFORM,
    UPDATES,
    View,
    evaluated,
    observations,
    play,
    scripted,
    shards,
)

from agent_node.contracts import EntityGroup, Learner
from agent_node.learners.network_settings import EntityPart, entities_of
from agent_node.learners.settings import ReplaySettings
from agent_node.memory.episode import Episode
from agent_node.session.observation_features import Features
from agent_node.settings.builtin_components import register_builtin_components
from protocols.runtime.component_registry import component
from protocols.spaces.layout import Layout

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results" / "offline_transfer.csv"
COUNTS = (2, 3, 4, 5, 8, 10, 16, 32)
"""agents of the worlds in which policies act"""
TRAINED: dict[str, tuple[int, ...]] = {"2": (2,), "3": (3,), "4": (4,), "5": (5,), "3-5": (3, 4, 5)}
"""training data -> its numbers of agents"""
COMPARED: dict[str, tuple[int, ...]] = {str(count): (count,) for count in COUNTS if str(count) not in TRAINED}
"""data of policies that others are compared with"""
ENTITIES_COMPARED = ("8", "16")
"""those of rows with networks over entities, whose updates take 24 ms with 16 agents"""
TRANSITIONS, SEEDS = 30_000, 3
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "bc": ("bc", {}),
    "cql": ("discrete_cql", {}),
    "bcq": ("discrete_bcq", {}),
    "dbr_0.3": ("dbr", {}),
    "bcq_entities": ("discrete_bcq", {"network": "entities"}),
    "bcq_attention": ("discrete_bcq", {"network": "entity_attention"}),
}
"""learner and settings of each row"""
ANCHORS = {"random": UNIFORM, "cover": scripted("cover", 0.05)}
"""policies that are not learnt: uniform actions, and the best policy of the data"""


class Observed:
    """What the agents of a row observe in worlds of at most `agents`, and what its learner is built for."""

    def __init__(self, row: str, agents: int) -> None:
        kind, changes = ROWS[row]
        self.settings = cast(ReplaySettings, component("learner", kind).settings(**(COMMON | changes)))
        self.view: View = observations
        landmarks, others = 3, 2
        if self.settings.needs_entities:
            landmarks, others = agents, agents - 1
            self.view = partial(observations, landmarks=landmarks, others=others)
        size = 4 + 2 * landmarks + 4 * others
        self.features = Features(Layout(shape=[size], actions=[CHOICES]), history=1)
        self.entities: list[EntityGroup] = []
        if self.settings.needs_entities:
            parts = [
                EntityPart(name="own", size=4),
                EntityPart(name="landmarks", count=landmarks, size=2),
                EntityPart(name="others", count=others, size=2),
                EntityPart(name="others", count=others, size=2),
            ]
            self.entities = [EntityGroup(name, tuple(places)) for name, places in entities_of(parts, size).items()]


def episodes(sizes: Sequence[int], seed: int, view: View) -> list[Episode]:
    """Episodes of all agents in worlds of these sizes, as many worlds of each, with `TRANSITIONS` transitions up to rounding."""
    worlds = round(TRANSITIONS / STEPS / sum(sizes))
    found = [episode for size in sizes for shard in shards("mixed", seed, False, size, worlds, view) for episode in shard]
    for number, episode in enumerate(found):
        episode.number = number
    return found


def trained(row: str, sizes: Sequence[int], seed: int, updates: int = UPDATES) -> Learner:
    """The learner after all updates."""
    observed = Observed(row, max(sizes))
    data = episodes(sizes, seed, observed.view)
    buffer = filled(data, sum(episode.steps + 1 for episode in data), observed.features, observed.settings.discount)
    member = Member(observed.settings, buffer, 100 * seed, seed, observed.entities)
    for _ in range(updates):
        member.update()
    return member.learner


def fitted(learner: Learner, row: str, agents: int) -> tuple[Learner, Observed]:
    """The same policy for worlds of so many agents, and what it observes there: itself, or where its row observes all entities a learner
    for their number with the same parameters."""
    observed = Observed(row, agents)
    if not observed.entities:
        return learner, observed
    copy = made(observed.settings, observed.features, 0, 0, observed.entities)
    with torch.no_grad():
        for name, group in copy.parameter_groups().items():
            for mine, trained_one in zip(group, learner.parameter_groups()[name], strict=True):
                mine.copy_(trained_one)
    copy.averaged()
    return copy, observed


def played(agents: int) -> int:
    """Episodes of an evaluation."""
    return EVALUATED if agents < 16 else EVALUATED // 4


def returns(learner: Learner, row: str, counts: Sequence[int] = COUNTS) -> list[float]:
    """Mean returns per agent in worlds of so many agents."""
    found = []
    for count in counts:
        acting, observed = fitted(learner, row, count)
        found.append(evaluated([acting], count, observed.features, observed.view, played(count)))
    return found


# --- results ------------------------------------------------------------------------------------------------------------------------


def read(file: Path = RESULTS) -> dict[tuple[str, str, int], dict[int, float]]:
    """Returns by the agents of the world, of all policies that are there: row, training data, seed."""
    if not file.exists():
        return {}
    with file.open(newline="") as lines:
        return {
            (line["row"], line["train"], int(line["seed"])): {count: float(line[f"n{count}"]) for count in COUNTS}
            for line in csv.DictReader(lines)
        }


def plan(rows: Sequence[str], seeds: Sequence[int]) -> Iterator[tuple[str, str, int]]:
    """All policies, seed by seed; the policies that are not learnt first."""
    yield from ((anchor, "-", 0) for anchor in ANCHORS)
    for seed in seeds:
        for row in rows:
            compared = ENTITIES_COMPARED if "network" in ROWS[row][1] else COMPARED
            yield from ((row, train, seed) for train in (*TRAINED, *compared))


def measure(row: str, train: str, seed: int) -> list[float]:
    """Returns in worlds of `COUNTS` agents."""
    if row in ANCHORS:
        return [float(play(ANCHORS[row], count, played(count), 123_456 + count)[0].mean()) for count in COUNTS]
    return returns(trained(row, (TRAINED | COMPARED)[train], seed), row)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--train", nargs="+", choices=list(TRAINED | COMPARED), default=list(TRAINED | COMPARED))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(SEEDS)))
    parser.add_argument("--list", action="store_true", help="print the policies, and which of them are there")
    given = parser.parse_args()
    torch.set_num_threads(1)
    register_builtin_components()
    wanted = [one for one in plan(given.rows, given.seeds) if one[1] in ("-", *given.train)]
    for key in wanted:
        if given.list:
            print(*key, "done" if key in read() else "missing")
        elif key not in read():
            start = time.process_time()
            found = [f"{value:.3f}" for value in measure(*key)]
            new = not RESULTS.exists()
            with RESULTS.open("a", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                if new:
                    writer.writerow(["row", "train", "seed", *(f"n{count}" for count in COUNTS), "cpu_seconds"])
                writer.writerow([*key, *found, f"{time.process_time() - start:.1f}"])
            print(*key, *found, f"{time.process_time() - start:.1f} s", flush=True)


if __name__ == "__main__":
    main()
