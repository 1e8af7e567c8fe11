"""The exchange: what travels over the edges between agents."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from protocols.registry import Registered
from protocols.settings import Duration, Every, Probability, Settings

from .negotiation import NegotiationSettings

Strategy = Literal["own_individual", "future", "final", "episode", "joint", "peer_goal", "near_miss"]
TargetWeighting = Literal["uniform", "rare"]
PartnerCorrection = Literal["ignore", "consistent", "corrected"]


class SegmentSettings(Settings):
    """Steps that surprised one member of an episode, for the others to learn from (Gerstgrasser et al., arXiv 2311.00865)."""

    share: Annotated[float, Field(gt=0, le=1)] = 0.1
    """of its steps are told: those of greatest temporal-difference error"""
    window: Annotated[int, Field(ge=1, le=1_000_000)] = 1500
    """its newest errors, among which an error must be so great"""
    rare: Probability = 0.01
    """besides, all steps of an episode in which a goal was reached that is reached in less than this share of the episodes"""
    most_imported: Probability = 0.5
    """largest share of what the partners told in the learner's batches; less while little of it is there"""
    roles: bool = True
    """false: take only segments in which the partner stood on the landmark that the agent itself usually takes"""
    transitions: Annotated[int, Field(ge=1000, le=100_000_000)] = 20_000
    """of the partners kept; the oldest leave first"""
    version: Annotated[int, Field(ge=1)] = 500
    """updates of the sender that make a version of its policy"""
    oldest: Annotated[int, Field(ge=0, le=1_000_000)] = 10
    """versions by which a sender's policy may have moved on, before what it told is dropped"""
    least_weight: Annotated[float, Field(ge=0, le=2)] = 0.0
    """segments are left whose actions the own policy would hardly take: mean of min(own / sender's probability, 2) below this"""


class HindsightSettings(Settings):
    """Traces after the episode, and what is relearnt from them."""

    strategies: Annotated[list[Strategy], Field(min_length=1)] = ["future", "joint", "peer_goal"]
    """own_individual: individual goals its own body reached; future: any goal reached later in the episode; final: what was reached last;
    episode: any goal reached, from the steps before it first was; joint: cooperative goals that both bodies reached together; peer_goal:
    the goal that the partner pursued, where it was reached; near_miss: failures of cooperative goals whose landmarks were touched, but
    never at once"""
    share: Probability = 0.6
    """share of the learner's transitions that are relabelled"""
    weighting: TargetWeighting = "uniform"
    """among the goals that a strategy offers; rare: in proportion to 1 / (1 + episodes in the buffer in which it was reached)"""
    partner: PartnerCorrection = "ignore"
    """the partner acted for another goal than the one that is relearnt. ignore: so be it; consistent: all members relabel an episode with
    the same cooperative goal; corrected: besides, each tells how much likelier its actions would have been under that goal, which weights
    the steps (discrete_sac, double_dqn)"""
    deadline: Annotated[Duration, Field(gt=0)] = 5.0
    """how long an episode waits for its partner's trace; without it only own_individual applies"""
    segments: SegmentSettings | None = None
    """what surprised the partner, besides its trace; null: nobody's observations leave it (learners: double_dqn, discrete_sac)"""

    @model_validator(mode="after")
    def _distinct(self) -> HindsightSettings:
        if len(set(self.strategies)) != len(self.strategies):
            raise ValueError("a strategy is listed twice")
        return self


class CompressionSettings(Settings):
    """How compressed averaging makes a change small."""

    kind: Literal["top_k", "quantise"] = "top_k"
    """top_k: the largest numbers; quantise: all numbers, in few bits"""
    share: float = Field(default=0.1, gt=0.0, le=1.0)
    """of the numbers, for top_k"""
    bits: Literal[2, 4, 8] = 4
    """per number, for quantise"""


Group = Literal["policy", "critic", "world_model", "teacher"]
"""what may be averaged: parameters by the part that they belong to"""


class ConsensusSettings(Settings):
    """Averaging of named parameter groups with the graph's neighbours."""

    mode: Literal["pushsum", "mh", "clip", "trim", "median", "geomedian", "krum", "choco"] = "pushsum"
    """pushsum: exact in spite of lost messages and restarts (push-sum with running sums); mh: synchronous gossip with Metropolis-Hastings
    weights, exact only where nothing is lost; clip, trim, median, geomedian, krum: the same rounds, safe from some neighbours that lie;
    choco: the same rounds with compressed changes"""
    liars: int = Field(default=1, ge=0, le=64)
    """how many of its neighbours an agent protects itself against, in clip, trim, median, geomedian and krum"""
    compression: CompressionSettings = CompressionSettings()
    """of choco"""
    step: float | None = Field(default=None, gt=0.0, le=1.0)
    """gamma of choco; null: what the compression bears"""
    groups: Annotated[list[Group], Field(min_length=1)] = ["policy", "critic", "world_model"]
    """what is averaged; groups that the components do not have are refused"""
    every: Every = Every(updates=50)
    """how often"""
    deadline: Annotated[Duration, Field(gt=0)] = 2.0
    """a round closes without the neighbours that are later than this, and sooner without those that are regularly late"""
    window: Annotated[int, Field(ge=1, le=32)] = 4
    """pushsum: offers to a neighbour that it has not acknowledged, before it is given nothing more"""
    offers: Literal["float64", "float32"] = "float64"
    """pushsum: what offers travel in; float32 halves the traffic, and agents then agree to six digits"""


class StatisticsSettings(Settings):
    """Sums over all agents of what their models are made of, for models whose statistics add up."""

    mode: Literal["ledger", "pushsum", "mh"] = "ledger"
    """ledger: everybody holds everybody's newest statistics, and the sum is exact; pushsum: running sums, for more than 64 agents, large
    models, or where nobody is to see another's statistics unmixed; mh: synchronous averaging, where nothing is lost (comparison)"""
    least: Annotated[int, Field(ge=1, le=100_000_000)] = 250
    """new transitions of its own before an agent publishes again: from the difference of two versions few transitions can be read back"""
    every: Annotated[Duration, Field(gt=0)] = 0.2
    """ledger: how often a neighbour is told what is there while it has not got it; pushsum, mh: least time between two rounds"""
    deadline: Annotated[Duration, Field(gt=0)] = 2.0
    """pushsum, mh: a round closes without the neighbours that are later than this"""
    tolerance: Annotated[float, Field(gt=0, le=0.1)] = 1e-6
    """pushsum, mh: agents have agreed when projections of their sums differ by no more than this share (stop rule)"""
    check: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """mh: rounds between two checks of agreement, no less than the diameter of the graph; null: the number of agents less one"""
    rounds: Annotated[int, Field(ge=1, le=99_999)] = 2000
    """mh: rounds after which averaging ends though agents have not agreed"""
    report: Annotated[int, Field(ge=1, le=99_999)] | None = 10
    """mh: rounds between two from which the run's figure `statistics.disagreement` is made; null: it is not"""
    forget: Annotated[Duration, Field(gt=0)] | None = None
    """ledger: what an agent has published is withdrawn when it has been dead so long; null: what it saw stays true"""


class PlanSettings(Settings):
    """Agents tell their neighbours where they are going, and count as known what the neighbours are going to see."""

    steps: Annotated[int, Field(ge=1, le=1000)] = 50
    """of the way that the policy would take in the world model, told after each of its refreshes"""


class ExperienceSettings(Settings):
    """Finished own training episodes, told whole to the neighbours: the upper bound of what sharing data can bring."""

    transitions: Annotated[int, Field(ge=1000, le=100_000_000)] = 200_000
    """of the neighbours kept; the oldest leave first"""


class ExchangeSettings(Settings):
    """What travels over the edges; each part can be switched off with null."""

    negotiation: Annotated[NegotiationSettings, Registered("negotiation")] | None = None
    """goals agreed on before an episode; null: each for itself"""
    hindsight: HindsightSettings | None = None
    """traces after an episode; null: only its own experience"""
    experience: ExperienceSettings | None = None
    """transitions themselves, for comparison (environments without goals, learners with a replay buffer); null: nobody's leave it"""
    consensus: ConsensusSettings | None = None
    """averaging of models; null: independent agents"""
    statistics: StatisticsSettings | None = None
    """sums of the statistics of additive models; null: everybody's model is its own"""
    plans: PlanSettings | None = None
    """where each is going to look, so that the others look elsewhere; null: nobody tells"""
