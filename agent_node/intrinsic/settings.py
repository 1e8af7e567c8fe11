"""Curiosity: what an agent pays itself for what is new to it; imitation of its own episodes; teachers: what sets its goals."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agent_node.learners.settings import RMSPropSettings
from agent_node.settings.value_types import NotNegative, Positive
from protocols.runtime.component_registry import Registered, register
from protocols.runtime.settings_types import ComponentSettings, Probability

Steps = Annotated[int, Field(ge=1, le=1_000_000)]
Counts = Annotated[int, Field(ge=1, le=1_000_000)]
MeanTeacherReward = Annotated[float, Field(ge=-1, le=1)]


class CuriositySettings(ComponentSettings):
    """Settings of every intrinsic reward. Capabilities: `grid` (works only where a grid of cells is observed)."""

    coefficient: NotNegative = 0.1
    """weight of the reward that it adds"""


class ReplayRewardSettings(ComponentSettings):
    """Settings of every replay reward. Capabilities: those that it needs of the learner, besides `replay`: `joint` (batches with the steps
    of all members)."""


class MutualInformationSettings(ReplayRewardSettings):
    """Progressive mutual-information collaboration (PMIC, arXiv 2203.08553): the mutual information of the team's state and its joint
    action is raised where they are as in superior episodes, and lowered where they are as in inferior ones."""

    capabilities: ClassVar[tuple[str, ...]] = ("joint",)
    groups: ClassVar[tuple[str, ...]] = ("mi_low", "mi_up")
    architecture: ClassVar[tuple[str, ...]] = ("form",)
    kind: Literal["mutual_information"] = "mutual_information"
    maximise: NotNegative = 0.05
    """alpha: weight of the lower bound, which is learnt from superior episodes"""
    minimise: NotNegative = 0.05
    """beta: weight of the upper bound, which is learnt from inferior episodes"""
    form: Literal["standardised", "published"] = "standardised"
    """standardised: both bounds less their running means, over their running standard deviations, within -3 .. 3, times the running
    standard deviation of the reward; lower bound by InfoNCE with a hidden layer; upper bound clipped. published: alpha low - beta up, lower
    bound by JSD without a hidden layer, no warm-up"""
    warm_up: Annotated[int, Field(ge=0)] = 2000
    """updates, counted from the first with a bonus, within which both weights rise linearly from 0 (standardised)"""
    episodes: Annotated[int, Field(ge=1, le=100_000)] = 40
    """capacity of each of the two memories"""
    least_episodes: Annotated[int, Field(ge=1, le=100_000)] = 20
    """superior episodes before the bounds are trained and a bonus is given"""
    max_deviations: Positive | None = 6.0
    """returns count as at most their running mean plus so many standard deviations; null: as they are"""
    reorder: Annotated[int, Field(ge=0, le=100_000)] = 32
    """episodes that come before one is admitted to a memory, in the order of their numbers: messages arrive in another order at each agent,
    and admission depends on it; about the number of copies"""
    single_memory: bool = False
    """one memory of the newest episodes, for both bounds: for comparison"""
    replay_share: Probability = 0.25
    """share of the learner's batch among the samples from which the upper bound is learnt, which the others are inferior ones of"""
    batch_size: Annotated[int, Field(ge=2, le=65536)] = 256
    """samples in one gradient step of a bound"""
    gradient_steps: Annotated[int, Field(ge=1, le=100)] = 1
    """of each bound, for each update of the learner"""
    negatives: Annotated[int, Field(ge=2, le=65536)] | None = 128
    """samples with which the lower bound compares each sample; null: all of its batch"""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """step size of Adam, of both bounds"""


class TeacherSettings(ComponentSettings):
    """Settings of every teacher.

    Capabilities: `whole_grid` (works only where the whole grid is observed), `swappable_goals` (its goals may be exchanged for those of
    another agent's teacher, by a negotiation with `teacher_goals`).
    """

    groups: ClassVar[tuple[str, ...]] = ("teacher",)

    @property
    def ends_episodes(self) -> bool:
        """Whether the teacher ends training episodes, which needs copies that one agent plays alone."""
        return False


class NoveltySettings(CuriositySettings):
    """Random network distillation: an observation is new as long as a network does not predict the output of a random network for it."""

    outputs: Annotated[int, Field(ge=1, le=8192)] = 128
    """length of what the random network makes of an observation; width of the hidden layers too"""
    rectified: bool = True
    """whether both networks end in a rectifier, as published for BeBold; what the predictor's has shut it can't learn, so that novelty
    levels off at half its height; false, as where random network distillation comes from: it goes on falling"""
    optimiser: Literal["rmsprop", "adam"] = "rmsprop"
    """of the predictor: rmsprop (decay 0.99, epsilon 0.01) as published, or adam, which learns much faster here"""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """step size of the predictor's optimiser"""
    max_grad_norm: Positive = 40.0
    """gradients are scaled down to this norm"""
    loss: Literal["norm", "squared"] = "norm"
    """of the predictor: the distance itself, as in BeBold, or half its square, as where random network distillation comes from"""
    weight: Positive = 1.0
    """of the predictor's loss; means something with rmsprop only"""
    rollouts: Annotated[int, Field(ge=1, le=65536)] = 8
    """copies in one gradient update of the predictor, about: a rollout of all copies is cut into equal parts"""


class RNDSettings(NoveltySettings):
    """Novelty by random network distillation is paid as it is."""

    kind: Literal["rnd"] = "rnd"


class BeBoldSettings(NoveltySettings):
    """BeBold (Zhang et al., arXiv 2012.08621): the reward is the rise of novelty from one observation to the next, at the episode's
    first visit of the second."""

    capabilities: ClassVar[tuple[str, ...]] = ("grid",)
    kind: Literal["bebold"] = "bebold"
    previous: NotNegative = 1.0
    """a: weight of the novelty that is left; 1 in BeBold, 0.5 in NovelD"""


class CountSettings(CuriositySettings):
    """Counts of visited states: r_i = coefficient / sqrt(n(s')), the less the more often the state after a step was visited."""

    kind: Literal["count"] = "count"
    scope: Literal["lifelong", "episodic", "first_visit"] = "first_visit"
    """which visits count. lifelong: all in training, as COUNT in RIDE and RAPID; episodic: those in the episode; first_visit: all in
    training, and only the first visit in an episode is paid"""
    state: Literal["whole", "observation"] = "whole"
    """what a state is. whole: the whole grid with what the agent carries, where the environment shows it; observation: what the policy
    sees"""


class ImitationSettings(ComponentSettings):
    """Settings of everything that makes a policy repeat own earlier actions. It needs a learner with the capability `imitation`."""


class RankedEpisodesSettings(ImitationSettings):
    """Ranked episodes (RAPID: Zha et al., arXiv 2101.08152): the steps of the best own episodes are kept and imitated. Score of an episode:
    return_weight * return + local_weight * local novelty + global_weight * global novelty."""

    kind: Literal["ranked"] = "ranked"
    pairs: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    """pairs of observation and action that are kept, those of the highest scores"""
    return_weight: NotNegative = 1.0
    """w0: of the sum of the environment's rewards"""
    local_weight: NotNegative = 0.1
    """w1: of the share of different states among those of the episode"""
    global_weight: NotNegative = 0.001
    """w2: of the mean of 1 / sqrt(N(s)) over the episode's states, with N(s) their visits in all training episodes"""
    updates: Annotated[int, Field(ge=0, le=1000)] = 5
    """gradient steps for each training episode that ended"""
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 256
    """pairs in one gradient step"""
    decay_steps: Annotated[int, Field(ge=1)] | None = None
    """own training steps within which the number of gradient steps falls to 0, linearly; null: it stays"""


class DifficultySettings(ComponentSettings):
    """Settings of every difficulty rule."""


class ThresholdSettings(DifficultySettings):
    """Goals shall take at least t* steps; t* rises, and never falls ("default")."""

    kind: Literal["threshold"] = "threshold"
    start: Steps = 7
    """t* at the start, steps"""
    maximum: Steps = 100
    """t* rises as long as it is at most this"""
    counts: Counts = 10
    """batches in a row that must have earned enough before t* rises by 1"""
    threshold: MeanTeacherReward = -0.1
    """theta: what a batch's goals must pay the teacher on average to be enough. At -failure or less every batch is enough, and t* rises
    whatever the student can do"""


class WindowSettings(DifficultySettings):
    """Goals shall take about t* steps; t* moves both ways ("window_adaptive")."""

    kind: Literal["window"] = "window"
    window: Steps = 50
    """w: goals that were reached within t* - w .. t* + w steps are right"""
    start: Steps = 100
    """t* at the start, steps"""
    minimum: Steps = 20
    """t* falls no further"""
    maximum: Steps | None = None
    """t* rises no further; null: the longest episode"""
    counts: Counts = 10
    """batches that earned enough (or too little) before t* falls (or rises) by 1"""
    threshold: MeanTeacherReward = -0.1
    """theta: what a batch's goals must pay the teacher on average to be enough"""
    solved: NotNegative = 0.8
    """t* falls also where the environment paid this much, on average, in the steps that ended the batch's goals"""


register("difficulty", "threshold", ThresholdSettings, "agent_node.intrinsic.goal_difficulty:ThresholdDifficulty")
register("difficulty", "window", WindowSettings, "agent_node.intrinsic.goal_difficulty:WindowDifficulty")


class AmigoTeacherSettings(RMSPropSettings, TeacherSettings):
    """Adversarially motivated intrinsic goals (Campero et al., arXiv 2006.12122): a second policy that is rewarded for goals that the
    first reaches, but not easily."""

    capabilities: ClassVar[tuple[str, ...]] = ("whole_grid", "swappable_goals")
    architecture: ClassVar[tuple[str, ...]] = ("orientation",)
    kind: Literal["amigo"] = "amigo"
    difficulty: Annotated[DifficultySettings, Registered("difficulty")] = ThresholdSettings()
    """what makes a goal hard enough, and how that changes"""
    reached: Literal["changed", "position"] = "changed"
    """a goal is reached when its cell's content has changed since it was set, or when the agent is on it"""
    changed_by: Literal["own", "any_agent"] = "own"
    """whose changes reach a goal, where others are in the grid, or things that move on their own. own: what the agent's last step changed
    where it is, was, or had ahead; any_agent: all changes"""
    boundary: Literal["terminal_grid", "reset_grid", "ignored"] = "terminal_grid"
    """what a goal is compared with at an episode's last step: the grid in which it ended; the first one of the next episode, as published
    (cells that differ between layouts then count); nothing, the goal is not reached there"""
    restart_episode: bool = False
    """whether training episodes end with the goal that is reached, after which nothing is earned; the next one begins at once"""
    coefficient: NotNegative = 1.0
    """c: the policy is paid c (1 - 0.9 k / longest episode) for a goal reached after k steps"""
    failure: Annotated[float, Field(ge=-1, le=0)] = -0.3
    """-beta: what a goal that was not right pays the teacher; one that was right pays 1 more"""
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 150
    """goals that have ended in one update of the teacher"""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.002
    """step size of RMSProp"""
    entropy_coef: NotNegative = 0.05
    """weight of the entropy of the goals' distribution"""
    value_coef: NotNegative = 0.5
    """weight of the value function's loss"""
    orientation: Literal["aligned", "transposed"] = "aligned"
    """transposed: the number computed at (x, y) means another cell, as in the published code (on square grids (y, x)); for comparison"""

    @property
    def ends_episodes(self) -> bool:
        """Whether a reached goal ends the episode (`restart_episode`)."""
        return self.restart_episode


register("curiosity", "rnd", RNDSettings, "agent_node.intrinsic.novelty:RND")
register("curiosity", "bebold", BeBoldSettings, "agent_node.intrinsic.novelty:BeBold")
register("curiosity", "count", CountSettings, "agent_node.intrinsic.state_counts:CountBonus")
register("imitation", "ranked", RankedEpisodesSettings, "agent_node.intrinsic.ranked_episodes:RankedEpisodes")
register("replay_reward", "mutual_information", MutualInformationSettings, "agent_node.intrinsic.mutual_information:MutualInformation")
register("teacher", "amigo", AmigoTeacherSettings, "agent_node.intrinsic.amigo_teacher:AmigoTeacher")
