"""Messages between an agent and the environment server: joining, steps, goals of episodes."""

from __future__ import annotations

from enum import IntFlag
from typing import Annotated, Literal

from msgspec import Meta

from protocols.spaces.layout import Layout
from protocols.wire.message_registry import register_conversation, route
from protocols.wire.messages import Count, Message, Names

Phase = Literal["training", "exchange", "evaluation", "checkpoint"]


class Join(Message):
    """Agent -> environment server. EO by (src, inc); answered by `Joined` or `Refuse`, then by `Observation`."""


class Joined(Message):
    """Environment server -> agent: its observations and actions in `copies` environment copies. Episodes with goals have `party`
    members.

    Frame: `layouts[bytes] u1` (JSON): the layout of each of `members`, in their order.
    """

    copies: Annotated[int, Meta(ge=1, le=65536)]
    layout: Layout
    members: Names
    tick: Count
    party: Count = 0


class Flag(IntFlag):
    """What holds for one agent in one copy after a tick; the row of a copy without `MEMBER` means nothing."""

    MEMBER = 1
    """the agent takes part in the episode that this copy plays"""
    FIRST = 2
    """first observation of an episode: reward means nothing"""
    TERMINATED = 4
    """the agent's part ended at this tick by its own outcome"""
    TRUNCATED = 8
    """the agent's part ended at this tick by a limit or by the loss of a partner"""
    PARKED = 16
    """the agent's part ended before this tick; it only watches, its action is not used"""
    OVER = 32
    """the whole episode ended at this tick; the next tick starts another in this copy"""
    SUBSTITUTED = 64
    """the agent's action came too late: the stand-in action in `applied` counted"""
    PEER_LOST = 128
    """the episode ended because a partner died"""
    EVALUATION = 256
    """act greedily, and keep nothing for learning"""
    WAITING = 512
    """it is another agent's turn: observation and reward mean nothing, the action is not used, `applied` and `SUBSTITUTED` are those of the
    agent's own last turn. Its step ends at its next tick without this flag, with the reward since then"""


class Act(Message):
    """Agent -> environment server: `action[K, A] f4|i4` for tick `tick`. EO by (src, tick), first value wins; rid = run/src/tick.

    Frame `restart[K] u1` (where an agent ends episodes itself): 1 where the copy's next episode begins now, in the place of the action.
    `waits`: the agent has not received the joint episodes of its dataset yet.
    """

    tick: Count
    waits: bool = False


class Observation(Message):
    """Environment server -> agent, cached for retries.

    Frames: `observation[K, ...] f4|u1`, `reward[K] f4`, `flags[K] u2` (`Flag`), `episode[K] i8`, `applied[K, A]` (the actions that
    counted), and in environments with goals `achieved[K, A]` (u1 features, or f4 for vector goals) of the agent's own body, and its own
    goal in the episode that each copy plays, `goal[K] i4` (-1: no member) or `goal[K, D] f4` (zeros: no member).

    `steps` and `episodes` are the run's progress at this tick, the same for all agents: triggers by step or episode use them. From a
    tick with `phase` evaluation on no agent learns; with `checkpoint` (logical clock) all agents make a checkpoint of this tick and join
    anew; with `exchange` some agent waits for joint episodes of a dataset, and no agent learns.
    """

    tick: Count
    steps: Count = 0
    episodes: Count = 0
    phase: Phase = "training"


class Offer(Message):
    """Environment server -> each member: episodes to come, so that goals can be agreed on while others run. EO by (episode, dst),
    answered by `Goals`.

    Frames: `episode[n] i8`, `copy[n] i4`, `members[n, M] i2` (indices into `Joined.members`, the episode's leader first, -1 pads),
    `evaluation[n] u1`, `goal[n] i4` (a goal assigned to all members, or -1: choose; for vector
    goals always -1).
    """


class Goals(Message):
    """Agent -> environment server: `episode[n] i8`, `goal[n] i4` or `goal[n, D] f4`, `negotiated[n] u1`. EO by (episode, src): it
    answers an `Offer`, which
    the server repeats until then; the first value wins."""


register_conversation(
    "stepping",
    route("env", "agent", "env", Join, Act, Goals),
    route("env", "env", "agent", Joined, Observation, Offer),
)
