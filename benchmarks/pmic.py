"""PMIC and its parts on cooperative navigation and predator-prey: the tables of docs/results/pmic.md, as real runs.

    python benchmarks/pmic.py navigation                   # 6 methods x 5 seeds of a million steps: hours on two cores
    python benchmarks/pmic.py navigation --seeds 0         # one seed
    python benchmarks/pmic.py navigation-short             # 50,000 steps: whether everything runs, not which method is better
    python benchmarks/pmic.py --list                       # the runs, and which of them are there
    python benchmarks/pmic.py --report                     # the document anew, from the runs that are there and from earlier metrics

Rows are `orchestrate up configs/pmic/CONFIG.yaml` with the overrides of the row. Returns are the team's: the mean over the agents' returns,
which are equal in both tasks.
"""

from __future__ import annotations

from study import REPOSITORY, Experiment, Method, Study
from study_plot import Panel, draw
from study_report import Curve, Key, Report

DOCUMENT = REPOSITORY / "docs" / "results" / "pmic.md"
RETURN, FINAL, LATE = "eval.own.return", "final return", "late returns"
AGENTS = 3
PUBLISHED = (
    "agents.replay_reward={kind: mutual_information, form: published, maximise: 0.01, minimise: 0.1, learning_rate: 1e-4, "
    "batch_size: 1024, negatives: null, replay_share: 0, max_deviations: null}"
)
BASE = ("agents.replay_reward=null", "exchange.consensus=null")
COLOURS = {
    "MADDPG": "#555555", "PMIC, published form": "#1f6fb4", "PMIC, standardised": "#d1372c", "maximise only": "#e6830b",
    "minimise only": "#8c6bb1", "single memory": "#1a7a4c",
}  # fmt: skip
COLUMNS = {"final return": (FINAL, ",.1f"), "mean of the last five evaluations": (LATE, ",.1f")}


def methods(config: str, steps: int) -> tuple[Method, ...]:
    """The rows: the base learner, PMIC in both forms, and PMIC without one of its parts."""
    evaluation = f"evaluation.every={{steps: {steps // 20}}}"

    def method(name: str, *overrides: str) -> Method:
        return Method(name, config, steps, (evaluation, *overrides))

    return (
        method("MADDPG", *BASE),
        method("PMIC, published form", PUBLISHED),
        method("PMIC, standardised"),
        method("maximise only", "agents.replay_reward.minimise=0"),
        method("minimise only", "agents.replay_reward.maximise=0"),
        method("single memory", "agents.replay_reward.single_memory=true"),
    )


EXPERIMENTS = (
    Experiment("navigation", methods("navigation", 1_000_000), (COLUMNS,), LATE),
    Experiment("predators", methods("predator_prey", 1_000_000), (COLUMNS,), LATE),
    Experiment("navigation-short", methods("navigation", 50_000), (COLUMNS,), LATE, seeds=(0,), open_ended=True),
)
PANELS = tuple(Panel(experiment.name, RETURN, experiment.name, "team return, evaluation") for experiment in EXPERIMENTS)


def derive(key: Key, curves: dict[str, Curve]) -> dict[str, Curve]:
    """The team's return (metrics of the run add up the agents' equal returns), that of the last evaluation, and the mean of the last
    five."""
    curve = [(steps, value / AGENTS) for steps, value in curves.get(RETURN, [])]
    late = [value for _, value in curve[-5:]]
    return {RETURN: curve, FINAL: curve[-1:], LATE: [(curve[-1][0], sum(late) / len(late))] if late else []}


def picture(metrics: dict[Key, dict[str, Curve]]) -> None:
    """The page's picture."""
    draw(metrics, DOCUMENT.with_suffix(".svg"), PANELS, COLOURS, 1e3, "thousand environment steps")


STUDY = Study("pmic", REPOSITORY / "configs" / "pmic", Report(DOCUMENT, (), (RETURN,)), EXPERIMENTS, picture, derive)

if __name__ == "__main__":
    STUDY.main(__doc__)
