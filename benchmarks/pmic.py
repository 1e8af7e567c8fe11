"""PMIC and its parts on cooperative navigation and predator-prey: the tables of docs/results/pmic.md, as real runs.

    python benchmarks/pmic.py navigation-1m                # 6 methods x 5 seeds of a million steps
    python benchmarks/pmic.py navigation predators         # 3.5 and 4 million steps each, as published
    python benchmarks/pmic.py navigation --seeds 0         # one seed
    python benchmarks/pmic.py navigation --methods MADDPG "PMIC, standardised"
    python benchmarks/pmic.py --list                       # the runs, and which of them are there
    python benchmarks/pmic.py --report                     # the document anew, from the runs that are there and from earlier metrics

Rows are `orchestrate up configs/pmic/CONFIG.yaml`, and can be interrupted: the same command goes on where it was. Returns are the team's:
the mean over the agents' returns, which are equal in all tasks. `python benchmarks/pmic_cost.py` measures what a run costs.
"""

from __future__ import annotations

from study import REPOSITORY, Experiment, Method, Study
from study_plot import Panel, draw
from study_report import Curve, Key, Report

DOCUMENT = REPOSITORY / "docs" / "results" / "pmic.md"
RETURN, FINAL, LATE = "eval.own.return", "final return", "late returns"
MILLION = 1_000_000
BEST = "PMIC, standardised"
"""the row that is made with more predators and on a bad network too"""
ENDINGS = {
    "MADDPG": "_maddpg", "PMIC, published form": "_published", BEST: "", "maximise only": "_maximise", "minimise only": "_minimise",
    "single memory": "_single_memory",
}  # fmt: skip
"""method -> the end of its configuration's name"""
PAIR = ("MADDPG", BEST)
COLOURS = dict(zip(ENDINGS, ("#555555", "#1f6fb4", "#d1372c", "#e6830b", "#8c6bb1", "#1a7a4c"), strict=True))
COLUMNS = {"final return": (FINAL, ",.1f"), "mean of the last five evaluations": (LATE, ",.1f")}


def experiment(
    name: str,
    config: str,
    steps: int,
    methods: tuple[str, ...] = tuple(ENDINGS),
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    network: str = "",
    overrides: tuple[str, ...] = (),
) -> Experiment:
    """Methods in one world, with 20 evaluations in a run; runs of more than a million steps are made only where they are named."""
    given = (f"evaluation.every={{steps: {steps // 20}}}", *overrides)
    rows = tuple(Method(method, f"{config}{ENDINGS[method]}{network}", steps, given) for method in methods)
    return Experiment(name, rows, (COLUMNS,), LATE, seeds, open_ended=steps > MILLION)


AGENTS = {"predators-6": 6, "predators-12": 12, "rescue": 2}
"""agents of an experiment; 3 in the others"""
EXPERIMENTS = (
    experiment("navigation", "navigation", 3 * MILLION + MILLION // 2),
    experiment("predators", "predator_prey", 4 * MILLION),
    experiment("navigation-1m", "navigation", MILLION),
    experiment("predators-1m", "predator_prey", MILLION),
    experiment("predators-6", "predator_prey", 4 * MILLION, PAIR, (0, 1, 2), overrides=("agents.count=6",)),
    experiment("predators-12", "predator_prey", 4 * MILLION, PAIR, (0, 1, 2), overrides=("agents.count=12",)),
    experiment("navigation-bad-network", "navigation", 3 * MILLION + MILLION // 2, PAIR, network="_bad_network"),
    experiment("predators-bad-network", "predator_prey", 4 * MILLION, PAIR, network="_bad_network"),
    experiment("rescue", "rescue", MILLION, PAIR),
)
PANELS = tuple(Panel(one.name, RETURN, one.name, "team return, evaluation") for one in EXPERIMENTS)


def derive(key: Key, curves: dict[str, Curve]) -> dict[str, Curve]:
    """The team's return (metrics of the run add up the agents' equal returns), that of the last evaluation, and the mean of the last
    five."""
    curve = [(steps, value / AGENTS.get(key[0], 3)) for steps, value in curves.get(RETURN, [])]
    late = [value for _, value in curve[-5:]]
    return {RETURN: curve, FINAL: curve[-1:], LATE: [(curve[-1][0], sum(late) / len(late))] if late else []}


def picture(metrics: dict[Key, dict[str, Curve]]) -> None:
    """The page's picture, where there are runs."""
    if metrics:
        draw(metrics, DOCUMENT.with_suffix(".svg"), PANELS, COLOURS, 1e3, "thousand environment steps")


STUDY = Study("pmic", REPOSITORY / "configs" / "pmic", Report(DOCUMENT, (), (RETURN,)), EXPERIMENTS, picture, derive)

if __name__ == "__main__":
    STUDY.main(__doc__)
