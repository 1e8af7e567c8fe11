"""What AMIGo and curiosity learn: the experiments of docs/results/amigo.md, as real runs with several seeds.

    python benchmarks/amigo.py                             # everything: hours on two cores; can be interrupted at any time
    python benchmarks/amigo.py corridor --seeds 0 1 2      # one experiment
    python benchmarks/amigo.py larger --seeds 0            # 100 million frames: interrupt it when you like, and go on by the same command
    python benchmarks/amigo.py --list                      # the experiments, their runs, and which of them are there
    python benchmarks/amigo.py --missing                   # only runs whose metrics are not in docs/results/amigo.csv
    python benchmarks/amigo.py --report                    # the document anew, from the runs that are there and from earlier metrics

Runs that are there are not made again, interrupted ones go on where they were. Metrics of finished runs are kept in
docs/results/amigo.csv, so that the document needs no run directories.
"""

from __future__ import annotations

from statistics import fmean

from study import REPOSITORY, Experiment, Method, Study
from study_plot import Panel, draw
from study_report import Curve, Key, Report

DOCUMENT = REPOSITORY / "docs" / "results" / "amigo.md"
RECENT = "return.recent"
SOLVED = 0.9
FIRST, BEST = "frames to 0.9", "best return"
RETURNS = {
    "frames until 0.9": (FIRST, ",.0f"),
    "best return": (BEST, ".2f"),
    "final return": (RECENT, ".2f"),
    "evaluation": ("eval.own.return", ".2f"),
}
TEACHER = ("teacher.reached", "teacher.duration.reached", "teacher.entropy", "teacher.threshold")
LENDING = ("goal_swap.called", "goal_swap.exchanged")
AT_FIRST, BEFORE = "{}.at first", "{}.before solved"
CURRICULUM = {
    "reached at first": (AT_FIRST.format("teacher.reached"), ".2f"),
    "reached before 0.9": (BEFORE.format("teacher.reached"), ".2f"),
    "steps to a reached goal at first": (AT_FIRST.format("teacher.duration.reached"), ".0f"),
    "before 0.9": (BEFORE.format("teacher.duration.reached"), ".0f"),
    "teacher's entropy before 0.9": (BEFORE.format("teacher.entropy"), ".2f"),
    "t* before 0.9": (BEFORE.format("teacher.threshold"), ".0f"),
}
LENT_SHARE = "lending.share"
LENT = {"goals that changed hands, share": (LENT_SHARE, ".2f")}
DOOR_KEY = ("environment.id=minigrid:MiniGrid-DoorKey-8x8-v0",)
LARGER = ("environment.id=minigrid:MiniGrid-KeyCorridorS3R3-v0",)
TERMINAL = ("agents.teacher.boundary=terminal_grid",)
"""goals that the next episode's layout has changed do not count"""
FROZEN = ("agents.learner.learning_rate=1e-12",)
"""a student that never learns: what chance alone makes of a teacher"""
NO_COUNTS = "count, without its reward"
ALONE = ("agents.curiosity=null",)
"""nothing but the reward of the counts is taken away"""

EXPERIMENTS = (
    Experiment(
        "corridor",
        (
            Method("plain", "plain", 400_000),
            Method("AMIGo", "default", 400_000),
            Method("AMIGo, window", "window_adaptive", 400_000),
            Method("BeBold", "bebold", 400_000),
            Method("RND", "rnd", 400_000),
            Method("AMIGo, student that never learns", "default", 400_000, FROZEN),
        ),
        (RETURNS, CURRICULUM),
        RECENT,
        seeds=(0, 1, 2),
    ),
    Experiment(
        "doorkey",
        (
            Method("plain", "plain", 2_000_000, DOOR_KEY),
            Method("AMIGo", "default", 2_000_000, DOOR_KEY),
            Method("BeBold", "bebold", 2_000_000, DOOR_KEY),
            Method("count", "count", 1_000_000),
            Method(NO_COUNTS, "count", 1_000_000, ALONE),
            Method("ranked episodes", "ranked", 1_000_000),
            Method("AMIGo, student that never learns", "default", 2_000_000, (*DOOR_KEY, *FROZEN)),
        ),
        (RETURNS, CURRICULUM),
        RECENT,
        seeds=(0, 1, 2),
    ),
    Experiment(
        "corridor_s3r3",
        (
            Method("count", "count", 4_000_000, LARGER),
            Method(NO_COUNTS, "count", 4_000_000, (*LARGER, *ALONE)),
            Method("ranked episodes", "ranked", 4_000_000, LARGER),
        ),
        (RETURNS,),
        RECENT,
        seeds=(0, 1, 2),
        open_ended=True,
    ),
    Experiment(
        "negotiated",
        (
            Method("contract net", "negotiated", 400_000),
            Method("each its own goals", "negotiated", 400_000, ("exchange.negotiation=null",)),
        ),
        (RETURNS, CURRICULUM, LENT),
        RECENT,
        seeds=(0, 1, 2),
    ),
    Experiment(
        "larger",
        (
            Method("AMIGo, published", "published/default", 100_000_000),
            Method("AMIGo, published, terminal grid", "published/default", 100_000_000, TERMINAL),
            Method("BeBold", "bebold", 100_000_000, LARGER),
        ),
        (RETURNS, CURRICULUM),
        RECENT,
        seeds=(0,),
        open_ended=True,
    ),
)
COLOURS = {
    "plain": "#555555", "AMIGo": "#d1372c", "AMIGo, window": "#e6830b", "BeBold": "#1f6fb4", "RND": "#1a7a4c",
    "AMIGo, student that never learns": "#8c6bb1", "AMIGo, published": "#d1372c", "AMIGo, published, terminal grid": "#e6830b",
    "count": "#1f9e9e", NO_COUNTS: "#777777", "ranked episodes": "#b4771f", "contract net": "#d1372c", "each its own goals": "#555555",
}  # fmt: skip
PANELS = (
    Panel("corridor", "return", "KeyCorridorS3R1", "return", (-0.03, 1.0)),
    Panel("corridor", "teacher.reached", "KeyCorridorS3R1", "goals that were reached, share", (-0.03, 1.03)),
    Panel("corridor", "teacher.duration.reached", "KeyCorridorS3R1", "steps to a reached goal"),
    Panel("corridor", "teacher.threshold", "KeyCorridorS3R1", "t*, steps"),
    Panel("doorkey", "return", "DoorKey-8x8", "return", (-0.03, 1.0)),
    Panel("doorkey", "teacher.duration.reached", "DoorKey-8x8", "steps to a reached goal"),
    Panel("negotiated", "return", "two agents in DoorKey-6x6", "return of the team", (-0.03, 1.0)),
    Panel("negotiated", "teacher.reached", "two agents in DoorKey-6x6", "goals that were reached, share", (-0.03, 1.03)),
    Panel("corridor_s3r3", "return", "KeyCorridorS3R3", "return", (-0.03, 1.0)),
    Panel("larger", "teacher.duration.reached", "KeyCorridorS3R3", "steps to a reached goal"),
    Panel("larger", "teacher.threshold", "KeyCorridorS3R3", "t*, steps"),
)


def marks(rows: dict[str, Curve], agents: dict[str, Curve]) -> dict[str, Curve]:
    """When the mean return of the last 100 episodes was 0.9 for the first time (left out where it never was), how much it was at best, and
    at last; and the teacher's metrics in the first and the last fifth of the time before (of the whole run where it never was)."""
    recent = rows.get(RECENT, [])
    if not recent:
        return {}
    end = recent[-1][0]
    first = next((steps for steps, value in recent if value >= SOLVED), None)
    found = {BEST: [(end, max(value for _, value in recent))], RECENT: recent[-1:]}
    if first is not None:
        found[FIRST] = [(first, float(first))]
    solved = end if first is None else first
    called, exchanged = (sum(value for _, value in agents.get(name, [])) for name in LENDING)
    if called:
        found[LENT_SHARE] = [(end, exchanged / called)]
    for name, curve in agents.items():
        for title, (start, stop) in ((AT_FIRST, (0.0, 0.2)), (BEFORE, (0.8, 1.0))):
            values = [value for steps, value in curve if start * solved <= steps <= stop * solved]
            if values:
                found[title.format(name)] = [(end, fmean(values))]
    return found


def picture(metrics: dict[Key, dict[str, Curve]]) -> None:
    """The page's picture."""
    draw(metrics, DOCUMENT.with_suffix(".svg"), PANELS, COLOURS, 1e3, "thousand frames")


REPORT = Report(DOCUMENT, ("return",), ("eval.own.return",), TEACHER + LENDING, marks)
STUDY = Study("amigo", REPOSITORY / "configs" / "amigo", REPORT, EXPERIMENTS, picture)

if __name__ == "__main__":
    STUDY.main(__doc__)
