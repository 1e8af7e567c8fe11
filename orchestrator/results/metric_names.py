"""The names of the metrics that nodes write, as docs/reference/metrics.md lists them (a test holds that), and what their steps count.

Parts of an agent may come from elsewhere and report what they like: below the names of learner, world model, curiosity and imitation
anything goes. So a name that is not known here deserves a warning, and no more.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping

from protocols.runtime.suggestions import nearest

_OF_EPISODES = (
    "return", "return.normalised", "return.environment", "length", "sites.visited", "landmarks.covered", "prison.rounds", "success",
    "success.individual", "success.cooperative",
)  # fmt: skip
_EXCLUSIVE = ("goals.distinct", "goals.covered")
"""of goals that one member at most can reach"""
_FIGURE_GROUPS = ("eval.own", "eval.aligned")
_PER_AGENT = ("success", *(f"{group}.success" for group in _FIGURE_GROUPS))
"""each of these also as NAME.AGENT"""
_GOAL = re.compile(r"(eval\.(own|aligned)\.success|eval\.own\.agreed)\.goal\.\d+(-\d+)*")
OPEN = ("learner.", "world_model.", "curiosity.", "imitation.", "experience.", "info.", "eval.own.info.")
"""first letters of what a part reports of itself, and of counters of whatever happened"""

ENVIRONMENT = (
    *_OF_EPISODES, *_EXCLUSIVE, "return.recent", "aligned", "goals.pursued_entropy", "negotiated", "episodes", "episodes.whole",
    "episodes.peer_lost", "episodes.dropped",
    "steps", "steps_per_second", "env.substituted", "env.illegal_actions", "episodes.substituted", "goals.substituted",
    "time.wait", "time.step", "time.send", "time.other",
    *(f"{group}.{name}" for group in _FIGURE_GROUPS for name in (*_OF_EPISODES, "episodes")), "eval.own.aligned",
    *(f"eval.own.{name}" for name in _EXCLUSIVE),
    "eval.aligned.return.per_goal", "eval.aligned.diversity", "eval.aligned.specialization", "eval.aligned.specialization.published",
)  # fmt: skip
"""of `env-0`; besides these success.AGENT and ....goal.G"""
AGENTS = (
    "return", "success", "success.individual", "success.cooperative", "negotiated", "steps_per_second", "substituted",
    "updates", "buffer.transitions", "learner.loss", "learner.value", "learner.target", "learner.entropy", "learner.clamped",
    "learner.reward_scale",
    "intrinsic",
    "teacher.threshold", "teacher.reached", "teacher.hard", "teacher.duration", "teacher.duration.reached", "teacher.reward",
    "teacher.reward.raw", "teacher.extrinsic", "teacher.entropy", "teacher.loss.policy", "teacher.loss.value",
    "curiosity.reward", "curiosity.novelty", "curiosity.first", "curiosity.states", "curiosity.loss",
    "imitation.loss", "imitation.updates", "ranked.score", "ranked.return", "ranked.pairs", "ranked.episodes", "ranked.states",
    "mi.low", "mi.low.std", "mi.up", "mi.up.std", "mi.bonus", "mi.bonus.std", "mi.admitted", "mi.rejected",
    "mi.superior.least", "mi.superior.greatest", "mi.inferior.least", "mi.inferior.greatest",
    "world_model.error", "world_model.imagined", "world_model.model_loss", "world_model.transitions", "world_model.evidence",
    "world_model.noise", "world_model.lengthscale", "goals.entropy", "negotiation.self_consistency",
    "environment.steps", "environment.episodes",
    "statistics.origins", "statistics.staleness", "statistics.complete", "statistics.published", "statistics.unpublished",
    "statistics.refused", "statistics.entries_taken", "statistics.entries_sent", "statistics.bytes_taken", "statistics.bytes_sent",
    "statistics.mass", "statistics.epoch", "plans.sent", "plans.received",
    "goal_swap.called", "goal_swap.bids", "goal_swap.awarded", "goal_swap.exchanged", "goal_swap.reports", "goal_swap.active",
    "hindsight.complete", "hindsight.incomplete", "buffer.imported",
    "experience.sent", "experience.imported", "experience.duplicate", "experience.not_neighbour", "experience.layout_differs",
    "experience.dropped",
    "consensus.round", "statistics.round", "consensus.rounds", "consensus.missing", "consensus.mass", "consensus.mass_error",
    "round.duration", "round.quorum",
    "messages_per_second", "peers", "peers.alive",
    "time.act", "time.sample", "time.learn", "time.model", "time.exchange", "time.checkpoint", "time.wait", "time.other",
)  # fmt: skip
"""of agents"""
ROUNDS = (
    "consensus.disagreement_before", "consensus.disagreement", "consensus.contraction", "statistics.disagreement_before",
    "statistics.disagreement", "statistics.disagreement_min", "statistics.contraction",
)  # fmt: skip
"""of node `run`; their step is the number of the averaging round"""
RUN = (*ROUNDS, "convention.accuracy", "models.disagreement")
"""of node `run`"""
FAULTS = (
    "faults.count", "detection_time.max", "detection_time.mean", "recovery_time.max", "recovery_time.mean",
    "unavailable_time.sum", "unavailable_time.max",
    "steps_per_second.before", "steps_per_second.during", "steps_per_second.after",
    "rounds_per_second.before", "rounds_per_second.during", "rounds_per_second.after",
    "episodes.finished", "episodes.lost", "episodes.discarded", "episodes.substituted", "node.restarts",
    "consensus.error", "alignment.final",
)  # fmt: skip
"""of `verdict.json`; besides these every figure of a node as NAME.final, .max, .min and .mean"""
_SUMMED_UP = ("final", "max", "min", "mean")

EVERY = tuple(dict.fromkeys((*ENVIRONMENT, *AGENTS, *RUN)))
"""of all nodes"""


def is_known(name: str, agents: Iterable[str] = ()) -> bool:
    """Whether some node may write a figure of this name, in a run with these agents."""
    if name in EVERY or name.startswith(OPEN) or _GOAL.fullmatch(name):
        return True
    return any(name == f"{group}.{agent}" for group in _PER_AGENT for agent in agents)


def is_known_of_faults(name: str, agents: Iterable[str] = ()) -> bool:
    """Whether the report of a run's faults may have it."""
    figure, _, part = name.rpartition(".")
    return name in FAULTS or (part in _SUMMED_UP and is_known(figure, agents))


def likely(name: str, of_faults: bool = False) -> str | None:
    """The known name that is most likely meant."""
    return nearest(name, (*FAULTS, *(f"{figure}.{part}" for figure in EVERY for part in _SUMMED_UP)) if of_faults else EVERY)


def counted_in(name: str) -> str:
    """What the steps of a figure count: `rounds` of averaging, `updates` (gradient steps), or environment `steps`."""
    return "rounds" if name in ROUNDS else "updates" if name == "consensus.round" else "steps"


OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
"""(measured, expected value) -> whether it holds, by the key `op`"""
