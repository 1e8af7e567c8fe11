"""What the configuration says of the environment."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from protocols.runtime.settings_types import Duration, Probability, Settings


class SupervisorSettings(Settings):
    """A goal supervisor, which gives all members of an episode one goal: what agreement between agents is compared with."""

    alignment: Probability = 1.0
    """in this share of the episodes with a cooperative goal all members hold the same; below 1 the supervisor is silent so often that the
    share comes out where agents that hear nothing choose uniformly"""


class EnvironmentSettings(Settings):
    """Which environment is played, in how many copies, and what happens to who is late."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    """`landmarks`; `reward_collection`; a PettingZoo environment as `package:module`, e.g. `mpe2:simple_spread_v3` or
    `pettingzoo.butterfly:pistonball_v6`; `gymnasium:ID`, e.g. `gymnasium:CartPole-v1`; or `minigrid:ID`, e.g.
    `minigrid:MiniGrid-DoorKey-8x8-v0`"""
    options: dict[str, Any] = {}
    """keyword arguments of the environment"""
    copies: Annotated[int, Field(ge=1, le=65536)] = 16
    """copies of the environment, stepped together in one message"""
    deadline: Duration = 2.0
    """how long a step waits for an action before the stand-in counts; all copies step together, so that an agent which is slow at every
    step holds up everybody for so long"""
    late_action: Literal["repeat", "noop", "random"] = "repeat"
    """the action of who is late: its last one, action 0 (the middle of a continuous range), or a random one"""
    goal_deadline: Duration = 3.0
    """how long an episode may wait for its members' goals before its members count as late and are given uniform ones"""
    supervisor: SupervisorSettings | None = None
    """who chooses the goals, in environments with goals: a supervisor, or, null, the agents"""


class EvaluationSettings(Settings):
    """Episodes with greedy policies that nobody learns from, played at the start, every so often, and at the end."""

    every: Annotated[int, Field(ge=1)] = 2000
    """training episodes between two evaluations"""
    episodes: Annotated[int, Field(ge=0)] = 64
    """episodes of one evaluation; 0 switches evaluation off"""
    final_episodes: Annotated[int, Field(ge=0)] = 256
    """episodes of the last evaluation, after training has ended"""
    aligned: bool = True
    """in goal environments also play as many episodes with one goal given to all members (skill apart from agreement)"""
