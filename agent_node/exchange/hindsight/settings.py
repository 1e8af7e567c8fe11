"""Settings of hindsight."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from protocols.runtime.settings_types import Duration, Probability, Settings

Strategy = Literal["own_individual", "future", "final", "episode", "joint", "peer_goal", "near_miss"]
TargetWeighting = Literal["uniform", "rare"]
PartnerCorrection = Literal["ignore", "consistent", "corrected"]


class SegmentSettings(Settings):
    """Surprising steps of one member of an episode, for the others to learn from (Gerstgrasser et al., arXiv 2311.00865)."""

    share: Annotated[float, Field(gt=0, le=1)] = 0.1
    """of its steps are sent: those with the largest temporal-difference error"""
    window: Annotated[int, Field(ge=1, le=1_000_000)] = 1500
    """its newest errors, with which an error is compared"""
    rare_goal_share: Probability = 0.01
    """besides, all steps of an episode in which a goal was reached that is reached in less than this share of the episodes"""
    max_imported_ratio: Probability = 0.5
    """largest share of imported steps in the learner's batches; less while few are imported"""
    match_roles: bool = True
    """false: take only segments in which the partner achieved the feature that the agent itself usually achieves"""
    transitions: Annotated[int, Field(ge=1000, le=100_000_000)] = 20_000
    """imported steps kept; the oldest are dropped first"""
    version: Annotated[int, Field(ge=1)] = 500
    """updates of the sender that make a version of its policy"""
    max_policy_age: Annotated[int, Field(ge=0, le=1_000_000)] = 10
    """versions after which the segments of a sender's policy are dropped"""
    min_importance: Annotated[float, Field(ge=0, le=2)] = 0.0
    """segments with a mean of min(own / sender's probability of the action, 2) below this are not imported"""


class HindsightSettings(Settings):
    """Traces after the episode, and what is relearnt from them."""

    strategies: Annotated[list[Strategy], Field(min_length=1)] = ["future", "joint", "peer_goal"]
    """own_individual: individual goals its own body reached; future: any goal reached later in the episode; final: what was reached last;
    episode: any goal reached, from the steps before it first was; joint: cooperative goals that both bodies reached together; peer_goal:
    the goal that the partner pursued, where it was reached; near_miss: failures of cooperative goals whose features were all achieved, but
    never at once"""
    share: Probability = 0.6
    """share of the learner's transitions that are relabelled"""
    weighting: TargetWeighting = "uniform"
    """among the goals that a strategy offers; rare: in proportion to 1 / (1 + episodes in the buffer in which it was reached)"""
    partner: PartnerCorrection = "ignore"
    """the partner acted for another goal than the one that is relearnt. ignore: so be it; consistent: all members relabel an episode with
    the same cooperative goal; corrected: besides, each sends how much likelier its actions would have been under that goal, which weights
    the steps (discrete_sac, double_dqn)"""
    deadline: Annotated[Duration, Field(gt=0)] = 5.0
    """how long an episode waits for its partner's trace; without it only own_individual applies"""
    segments: SegmentSettings | None = None
    """surprising steps of partners, besides their traces; null: observations are not sent (learners with td_errors and probabilities)"""

    @model_validator(mode="after")
    def _distinct(self) -> HindsightSettings:
        if len(set(self.strategies)) != len(self.strategies):
            raise ValueError("a strategy is listed twice")
        return self
