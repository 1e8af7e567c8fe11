"""What Dec-IMSAP learns: the experiments of docs/results/dec_imsap.md, as real runs with several seeds.

    python benchmarks/dec_imsap.py                             # everything: about a day on two cores; can be interrupted at any time
    python benchmarks/dec_imsap.py methods --seeds 0 1 2       # one experiment
    python benchmarks/dec_imsap.py --list                      # the experiments, their runs, and which of them are there
    python benchmarks/dec_imsap.py --report                    # the document anew, from the runs that are there and from earlier metrics

Runs that are there are not made again, interrupted ones go on where they were. Metrics of finished runs are kept in
docs/results/dec_imsap.csv, so that the document needs no run directories.
"""

from __future__ import annotations

from study import REPOSITORY, Experiment, Method, Study
from study_plot import Panel, draw
from study_report import Curve, Key, Report

DOCUMENT = REPOSITORY / "docs" / "results" / "dec_imsap.md"
TRAINING = ("success.cooperative", "success.individual", "aligned", "return", "return.normalised", "length")
EVALUATIONS = tuple(
    f"eval.{kind}.{name}"
    for kind in ("own", "aligned")
    for name in (
        "success.cooperative", "success.individual", "aligned", "return", "return.normalised", "return.per_goal", "length", "diversity",
        "specialization", "specialization.published",
    )
)  # fmt: skip
COMPARED = "success.cooperative"
PAIRS_ONLY = "environment.options.smallest=2"
SIX = ("environment.options.landmarks=6", "evaluation.episodes=210", "evaluation.final_episodes=1050")
BOUNCING = ("environment.options.restitution=0.25", "environment.options.margin=2.5")
PUBLISHED_RULE = "exchange.negotiation.update=forgetting"
INDIVIDUAL_ONLY = "exchange.hindsight.strategies=[own_individual]"

LEARNT = {
    "success with pairs, training": ("success.cooperative", ".2f"),
    "alignment, training": ("aligned", ".2f"),
    "return, training": ("return", ".2f"),
    "pairs, one goal given to both": ("eval.aligned.success.cooperative", ".2f"),
    "length, one goal given to both": ("eval.aligned.length", ".0f"),
}
"""columns of a table: the figure and its form"""
RELEARNT = {
    "pairs, training": ("success.cooperative", ".2f"),
    "pairs, own goals": ("eval.own.success.cooperative", ".2f"),
    "singles, own goals": ("eval.own.success.individual", ".2f"),
    "pairs, one goal given to both": ("eval.aligned.success.cooperative", ".2f"),
    "singles, one goal given to both": ("eval.aligned.success.individual", ".2f"),
}
SKILLS = {
    "alignment, training": ("aligned", ".2f"),
    "evaluation return / R*": ("eval.aligned.return.normalised", ".2f"),
    "the same, every goal alike": ("eval.aligned.return.per_goal", ".2f"),
    "length": ("eval.aligned.length", ".0f"),
    "diversity": ("eval.aligned.diversity", ".2f"),
    "specialization": ("eval.aligned.specialization", ".2f"),
    "as published": ("eval.aligned.specialization.published", ".2f"),
}


def _compared(steps: int, *overrides: str) -> tuple[Method, ...]:
    """The five methods of the first table."""
    return (
        Method("independent", "independent", steps, overrides),
        Method("aligned 50 %", "aligned_50", steps, overrides),
        Method("game, forgetting (A)", "coordination_game", steps, (*overrides, PUBLISHED_RULE)),
        Method("game, inhibition (E)", "coordination_game", steps, overrides),
        Method("supervised", "supervised", steps, overrides),
    )


EXPERIMENTS = (
    Experiment("methods", _compared(800_000), (LEARNT,), COMPARED),
    Experiment(
        "hindsight",
        (
            Method("none", "hindsight", 640_000, ("exchange.hindsight=null",)),
            Method("own individual goals", "hindsight", 640_000, (INDIVIDUAL_ONLY,)),
            Method("joint and own", "hindsight", 640_000),
        ),
        columns=(RELEARNT,),
        compared=COMPARED,
    ),
    Experiment(
        "cooperative",
        (
            Method("independent", "independent", 1_200_000, (PAIRS_ONLY,)),
            Method("game, forgetting (A)", "coordination_game", 1_200_000, (PAIRS_ONLY, PUBLISHED_RULE)),
            Method("game, inhibition (E)", "coordination_game", 1_200_000, (PAIRS_ONLY,)),
            Method("supervised", "supervised", 1_200_000, (PAIRS_ONLY,)),
        ),
        columns=(LEARNT,),
        compared=COMPARED,
    ),
    Experiment(
        "six",
        (
            Method("independent", "independent", 2_600_000, SIX),
            Method("game, forgetting (A)", "coordination_game", 4_400_000, (*SIX, PUBLISHED_RULE)),
            Method("game, inhibition (E)", "coordination_game", 3_300_000, SIX),
            Method("supervised", "supervised", 1_300_000, SIX),
        ),
        columns=(LEARNT, SKILLS),
        compared=COMPARED,
    ),
    Experiment(
        "published",
        (
            Method("independent", "independent", 10_000_000, (*SIX, *BOUNCING)),
            Method("game, inhibition (E)", "coordination_game", 10_000_000, (*SIX, *BOUNCING)),
            Method("supervised", "supervised", 10_000_000, (*SIX, *BOUNCING)),
        ),
        seeds=(0,),
        columns=(SKILLS,),
        compared=COMPARED,
    ),
)


COLOURS = {
    "independent": "#555555", "aligned 50 %": "#8c6bb1", "game, forgetting (A)": "#e6830b", "game, inhibition (E)": "#d1372c",
    "supervised": "#1a7a4c", "none": "#555555", "own individual goals": "#8c6bb1", "joint and own": "#1f6fb4",
}  # fmt: skip
PUBLISHED_STEPS = (0.6, 2, 3, 5, 10, 20, 42)
"""million environment steps"""
PUBLISHED = {
    "independent": (PUBLISHED_STEPS, (0.27, 0.60, 0.71, 0.78, 0.87, 0.92, 0.92)),
    "game, inhibition (E)": (PUBLISHED_STEPS, (0.29, 0.66, 0.81, 0.92, 0.97, 0.98, 1.0)),
    "supervised": (PUBLISHED_STEPS, (0.27, 0.80, 0.95, 0.99, 0.99, 1.0, 1.0)),
}
"""the paper's main comparison (six landmarks, beta 2), read off its figure, +-0.015; its game is rule A"""
PANELS = (
    Panel("methods", "success.cooperative", "three landmarks, all goals", "success with pairs, training", (-0.03, 1.05)),
    Panel("methods", "aligned", "three landmarks, all goals", "alignment, training", (-0.03, 1.05)),
    Panel("cooperative", "success.cooperative", "three landmarks, pairs only", "success with pairs, training", (-0.03, 1.05)),
    Panel("cooperative", "aligned", "three landmarks, pairs only", "alignment, training", (-0.03, 1.05)),
    Panel("six", "success.cooperative", "six landmarks, all goals", "success with pairs, training", (-0.03, 1.05)),
    Panel("six", "aligned", "six landmarks, all goals", "alignment, training", (-0.03, 1.05)),
    Panel(
        "hindsight",
        "eval.own.success.cooperative",
        "hindsight, goals chosen independently",
        "success with pairs, evaluation",
        (-0.03, 1.05),
    ),
    Panel(
        "published",
        "eval.aligned.return.normalised",
        "six landmarks, published arena",
        "evaluation return / R*",
        (-0.03, 1.05),
        published=PUBLISHED,
    ),
)


def picture(metrics: dict[Key, dict[str, Curve]]) -> None:
    """The page's picture."""
    draw(metrics, DOCUMENT.with_suffix(".svg"), PANELS, COLOURS, 1e6, "million training steps")


STUDY = Study("dec_imsap", REPOSITORY / "configs" / "dec_imsap", Report(DOCUMENT, TRAINING, EVALUATIONS), EXPERIMENTS, picture)

if __name__ == "__main__":
    STUDY.main(__doc__)
