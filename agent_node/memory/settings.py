"""Settings of replay."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from protocols.runtime.settings_types import Probability, Settings


class BufferSettings(Settings):
    """The replay buffer of whole episodes."""

    transitions: Annotated[int, Field(ge=1000, le=100_000_000)] = 200_000
    """own transitions kept; the oldest episodes leave first"""


class PrioritizedReplaySettings(Settings):
    """Prioritised experience replay (Schaul et al., arXiv 1511.05952).

    Transition i is drawn with probability P(i) = p_i^alpha / sum over k of p_k^alpha, with p_i = |TD error| + 1e-6 when it was last learnt
    from, or the greatest p so far for a new one. It counts with the weight (N P(i))^-beta, divided by the greatest weight of the batch."""

    alpha: Probability = 0.6
    """0: all transitions are equally likely"""
    beta: Probability = 0.4
    """1: weights correct the whole bias of the draw"""
