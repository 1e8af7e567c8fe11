"""The coordination game without an environment: how well each rule of update aligns two tables, when skills are given.

    python benchmarks/coordination_table.py            # 5 seeds a cell, some minutes on one core
    python benchmarks/coordination_table.py --quick    # 1 seed

Individual goals always succeed. A cooperative goal that both hold succeeds always or with probability `skill`; one that only one of them
holds fails or, with probability `compatible`, succeeds where the two goals together name at most two landmarks. 240 episodes a batch with
three landmarks, 120 with six; rule A learns after each batch and plays 60, the others learn after each game and play 150. Alignment is that
of the last batch's games with a cooperative goal. Beside it stands what these rules reached in an independent study of the same table
game.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from measuring import machine, table

from agent_node.exchange.goal_negotiation import CoordinationGame
from agent_node.exchange.settings import CoordinationGameSettings
from protocols.spaces.feature_sets import FeatureSets

Rule = Literal["forgetting", "visited_cell", "inhibition"]
RULES: dict[str, Rule] = {"A": "forgetting", "D": "visited_cell", "E": "inhibition"}


@dataclass(frozen=True)
class Case:
    """A row: the game, and the mean alignments to compare with, by rule."""

    name: str
    space: FeatureSets
    expected: tuple[float, float, float]
    skill: float = 1.0
    compatible: float = 0.0


CASES = (
    Case("L=3, beta 2", FeatureSets(3), (0.97, 1.00, 1.00)),
    Case("L=3, beta 2, half of the aligned games succeed", FeatureSets(3), (1.00, 0.52, 1.00), skill=0.5),
    Case("L=6, beta 1", FeatureSets(6, premium=1.0), (0.95, 0.26, 1.00)),
    Case("L=6, beta 2", FeatureSets(6), (0.89, 0.45, 1.00)),
    Case("L=6, beta 4", FeatureSets(6, premium=4.0), (0.74, 0.76, 0.93)),
    Case("L=6, beta 2, compatible pairs succeed in 3 of 10", FeatureSets(6), (0.91, 0.73, 1.00), compatible=0.3),
    Case("L=6, beta 2, half of the aligned games succeed", FeatureSets(6), (0.10, 0.04, 0.99), skill=0.5),
    Case("L=6, cooperative goals only", FeatureSets(6, smallest=2), (1.00, 1.00, 1.00)),
)


def rewards(case: Case, goals: tuple[int, int], random: np.random.Generator) -> tuple[float, float]:
    """What both earn with these goals."""
    space, aligned = case.space, goals[0] == goals[1]
    lucky = random.random() < case.skill
    fits = len(set(space.sets[goals[0]]) | set(space.sets[goals[1]])) <= 2 and random.random() < case.compatible
    paid = [not space.cooperative[goal] or (lucky if aligned else fits) for goal in goals]
    first, second = (float(space.rewards[goal]) * ok for goal, ok in zip(goals, paid, strict=True))
    return first, second


def alignment(case: Case, rule: Rule, seed: int) -> float:
    """Share of the last batch's games with a cooperative goal in which both hold the same."""
    random, space = np.random.default_rng(seed), case.space
    size = 240 if space.features == 3 else 120
    settings = CoordinationGameSettings(update=rule, batch=size)
    agents = [CoordinationGame(settings, space.count, seed + 1000 * number) for number in range(2)]
    same: list[bool] = []
    for _ in range(60 if rule == "forgetting" else 150):
        same = []
        records: tuple[list[tuple[int, int, float]], ...] = ([], [])
        for _ in range(size):
            first = int(random.random() < 0.5)
            leader, follower = agents[first], agents[1 - first]
            goal = int(random.integers(space.count))
            message = leader.lead(goal, random)
            taken = follower.follow(message, random)
            earned = rewards(case, (goal, taken), random)
            records[first].append((goal, message, earned[0]))
            records[1 - first].append((taken, message, earned[1]))
            if rule != "forgetting":
                for agent, played in zip(agents, records, strict=True):
                    agent.update(played)
                    played.clear()
            if space.cooperative[goal] or space.cooperative[taken]:
                same.append(goal == taken)
        for agent, played in zip(agents, records, strict=True):
            agent.update(played)
    return float(np.mean(same))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1 seed in the place of 5")
    seeds = range(1 if cast(bool, parser.parse_args().quick) else 5)
    rows = []
    for case in CASES:
        cells = [case.name]
        for (name, rule), expected in zip(RULES.items(), case.expected, strict=True):
            found = [alignment(case, rule, seed) for seed in seeds]
            cells += [f"{np.mean(found):.2f} ({min(found):.2f})", f"{expected:.2f}"]
            print(f"{case.name}: {name} {cells[-2]}, expected {expected:.2f}", flush=True)
        rows.append(cells)
    print(f"\n{machine()}\nalignment, mean ({len(seeds)} seeds; least)\n")
    print(table(["case", *(cell for name in RULES for cell in (name, "expected"))], rows))


if __name__ == "__main__":
    main()
