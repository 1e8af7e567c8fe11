"""What ODMAR learns: the experiments of docs/results/odmar.md, as real runs with several seeds.

    python benchmarks/odmar.py                             # everything: hours on two cores; can be interrupted at any time
    python benchmarks/odmar.py reference --seeds 0 1 2     # one experiment
    python benchmarks/odmar.py variants bonus_parts        # other world models and exchanges, and the two parts of the bonus
    python benchmarks/odmar.py --list                      # the experiments, their runs, and which of them are there
    python benchmarks/odmar.py --missing                   # only runs whose metrics are not in docs/results/odmar.csv
    python benchmarks/odmar.py --report                    # the document anew, from the runs that are there and from earlier metrics

Runs that are there are not made again, interrupted ones go on where they were. Metrics of finished runs are kept in
docs/results/odmar.csv, so that the document needs no run directories.
"""

from __future__ import annotations

import numpy as np
from study import REPOSITORY, Experiment, Method, Study
from study_plot import Panel, draw
from study_report import Curve, Key, Report

from env_server.environments.reward_collection.collection_physics import gains, reward_map, starts
from env_server.environments.reward_collection.settings import RewardCollectionOptions

DOCUMENT = REPOSITORY / "docs" / "results" / "odmar.md"
EVALUATION = "eval.own.return"
SHARE = "share of the greatest"
COLUMNS = {
    "return, evaluation": (EVALUATION, ".0f"),
    "of the greatest": (SHARE, ".2f"),
    "return, training": ("return", ".0f"),
    "sites visited": ("eval.own.sites.visited", ".2f"),
}
OWN = "environment.options.reward=own"
EQUAL = "agents.learner.replay_ratio=4"
SHARED = ("exchange.experience={}", "network.topology={kind: complete}")
FAR_COST = 0.05
"""as in configs/odmar/far.yaml"""
HALLUCINATION = "agents.optimism={kind: hallucination}"
ALONE = "exchange.statistics=null"


def _against_baselines(steps: int, *, suffix: str = "") -> tuple[Method, ...]:
    """ODMAR with and without its bonus, and what it is compared with: the reference's baseline, then one change after the other."""
    sac = f"sac{suffix}"
    return (
        Method("ODMAR, no bonus", f"greedy{suffix}", steps),
        Method("ODMAR, bonus 0.01", f"optimistic{suffix}", steps),
        Method("SAC, team reward, 1 update", sac, steps),
        Method("SAC, own reward, 1 update", sac, steps, (OWN,)),
        Method("SAC, own reward, 4 updates", sac, steps, (OWN, EQUAL)),
        Method("SAC, own reward, 4 updates, shared buffer", sac, steps, (OWN, EQUAL, *SHARED)),
    )


ABLATIONS = (
    Method("ODMAR, imagines from own states only", "greedy", 4000, ("agents.world_model.imagination.uniform_start_ratio=0",)),
    Method("ODMAR, positions without waves", "greedy", 4000, ("agents.frequencies=0",)),
)
"""what its two additions to the published method are worth"""
EXPERIMENTS = (
    Experiment("reference", (*_against_baselines(4000), *ABLATIONS), (COLUMNS,), EVALUATION),
    Experiment("penalty", _against_baselines(4000, suffix="_penalty"), (COLUMNS,), EVALUATION, seeds=(0, 1, 2)),
    Experiment(
        "far",
        (
            Method("no optimism", "far", 3000, ("agents.optimism=null",)),
            Method("bonus", "far", 3000),
            Method("hallucination", "far", 3000, (HALLUCINATION,)),
            Method("Thompson sampling", "far", 3000, ("agents.optimism={kind: thompson}",)),
            Method("bonus, no sharing", "far", 3000, (ALONE,)),
            Method("bonus and plans", "far", 3000, ("exchange.plans={}",)),
            Method("hallucination, no sharing", "far", 3000, (HALLUCINATION, ALONE)),
        ),
        (COLUMNS,),
        EVALUATION,
    ),
    Experiment(
        "variants",
        (
            Method("Gaussian process, ledger", "greedy", 4000),
            Method("Gaussian process, push-sum", "push_sum", 4000),
            Method("exact Gaussian process, no sharing", "exact_gp", 4000),
            Method("ensemble, averaged", "ensemble", 4000),
        ),
        (COLUMNS,),
        EVALUATION,
    ),
    Experiment(
        "bonus_parts",
        (
            Method("no optimism", "far", 3000, ("agents.optimism=null",)),
            Method("both parts", "far", 3000),
            Method("bonus of visits only", "far", 3000, ("agents.optimism.weight=0",)),
            Method("bonus of dynamics only", "far", 3000, ("agents.optimism.reward_weight=0",)),
        ),
        (COLUMNS,),
        EVALUATION,
        seeds=tuple(range(10)),
    ),
)
COLOURS = {
    "ODMAR, no bonus": "#1f6fb4", "ODMAR, bonus 0.01": "#d1372c", "SAC, team reward, 1 update": "#555555",
    "SAC, own reward, 1 update": "#8c6bb1", "SAC, own reward, 4 updates": "#e6830b",
    "SAC, own reward, 4 updates, shared buffer": "#1a7a4c",
    "ODMAR, imagines from own states only": "#5fb0d0", "ODMAR, positions without waves": "#c49a6c",
    "no optimism": "#555555", "bonus": "#d1372c", "hallucination": "#1f6fb4", "Thompson sampling": "#1a7a4c",
    "bonus, no sharing": "#e6830b", "bonus and plans": "#8c6bb1", "hallucination, no sharing": "#5fb0d0",
}  # fmt: skip
PANELS = (
    Panel("reference", EVALUATION, "reference layout", "return, evaluation"),
    Panel("reference", "return", "reference layout", "return, training"),
    Panel("penalty", EVALUATION, "reference layout, actions cost 1", "return, evaluation"),
    Panel("far", EVALUATION, "far layout", "return, evaluation"),
)


def greatest(options: RewardCollectionOptions, seed: int, agents: int = 5) -> float:
    """Return of agents that go straight to the site that pays them most and stay there: sum over agents of max over sites of
    value * (horizon - t + 1), t the first step after which the site pays, minus what the way costs. After t steps an agent with gains g is
    anywhere in a box of half-widths t g. What is crossed on the way is left out."""
    sites = reward_map(options)
    total = 0.0
    for start, gain in zip(starts(options, agents), gains(options, agents, seed), strict=True):
        best = 0.0
        for place, value in zip(sites.sites, sites.values, strict=True):
            way = np.abs(np.array(place) - start)
            steps = next(t for t in range(1, 1000) if np.linalg.norm(np.maximum(way - t * gain, 0)) < sites.radius)
            least = np.maximum(way - sites.radius, 0) / gain  # no shorter way enters the circle
            best = max(best, value * (options.horizon - steps + 1) - options.action_cost * float(least.sum()))
        total += best
    return total


def derive(key: Key, curves: dict[str, Curve]) -> dict[str, Curve]:
    """The evaluation return as a share of the greatest."""
    experiment, _, seed = key
    far = RewardCollectionOptions(variant="far", action_cost=FAR_COST)
    options = {
        "reference": RewardCollectionOptions(),
        "penalty": RewardCollectionOptions(action_cost=1.0),
        "far": far,
        "variants": RewardCollectionOptions(),
        "bonus_parts": far,
    }[experiment]
    most = greatest(options, seed)
    return {SHARE: [(steps, value / most) for steps, value in curves.get(EVALUATION, [])]}


def picture(metrics: dict[Key, dict[str, Curve]]) -> None:
    """The page's picture."""
    draw(metrics, DOCUMENT.with_suffix(".svg"), PANELS, COLOURS, 1e3, "thousand training steps")


REPORT = Report(DOCUMENT, ("return", "sites.visited"), (EVALUATION, "eval.own.sites.visited"))
STUDY = Study("odmar", REPOSITORY / "configs" / "odmar", REPORT, EXPERIMENTS, picture, derive)

if __name__ == "__main__":
    STUDY.main(__doc__)
