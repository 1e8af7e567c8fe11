"""What happens at a moment of the run, to whom."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from protocols.faults.settings.link_effect_settings import LinkEffects
from protocols.faults.settings.node_patterns import AUTO, FaultName, Glob, Globs
from protocols.faults.settings.sparse_settings import SparseSettings
from protocols.faults.settings.trigger_settings import Length, TriggerPoint
from protocols.runtime.errors import NEVER_RESTARTED, ExitCode
from protocols.runtime.settings_types import Duration, OneOf, Settings
from protocols.wire.messages import Channel

Shape = Literal["isolate_one", "halves", "majority_minority", "overlapping_ring", "random"]


class Partition(OneOf, SparseSettings):
    """Agents that cannot reach each other."""

    ONE_OF = ("groups", "shape")

    groups: Annotated[list[Globs], Field(min_length=2)] | None = None
    """sides by names or patterns of nodes; a node in no group is not separated"""
    shape: Shape | None = None
    """isolate_one: one agent alone; halves; majority_minority: just below half of them apart; overlapping_ring: each reaches a majority, no
    two the same one; random: each on one of two sides by a coin"""
    target: Glob = AUTO
    """for isolate_one the isolated agent, for halves and majority_minority an agent of the smaller side; auto: drawn"""
    direction: Literal["both", "from_first", "to_first"] = "both"
    """both; from_first: only what the first group (or the target's) sends is lost; to_first: only what is sent to it"""
    channels: Annotated[list[Channel], Field(min_length=1)] = ["peer"]
    """what is cut"""


class ProcessFault(Settings):
    """A process is killed, paused, made to hang, or ends by itself."""

    target: Glob
    """which: a node's name, a pattern, or auto (one drawn agent)"""
    action: Literal["kill", "term", "pause", "hang", "exit", "oom"]
    """kill (SIGKILL); term (SIGTERM); pause (SIGSTOP); hang: its main thread stops while its heart beats; exit: it ends with `code`;
    oom: it ends as if out of memory"""
    restart_after: Duration | None = None
    """time until it is started again; null: by `supervision`, and after term and exit with 0 or 2 to 6 never"""
    code: Annotated[int, Field(ge=0, le=255)] = 10
    """exit code, for exit"""

    @property
    def returns(self) -> bool:
        """Whether it is started again. A process that ends in order, or for a reason that a restart would not mend, is restarted only with
        `restart_after`."""
        in_order = self.action == "term" or (self.action == "exit" and self.code in {*NEVER_RESTARTED, ExitCode.OK})
        return self.restart_after is not None or not in_order


class Straggler(Settings):
    """An agent computes or acts more slowly than it could."""

    target: Glob
    """which: a node's name, a pattern, or auto (one drawn agent)"""
    factor: Annotated[float, Field(ge=1, le=10000)] = 5.0
    """how many times as long everything takes"""
    where: Literal["update", "act", "comm"] = "update"
    """update: learning; act: choosing actions; comm: conversations with its neighbours"""


class ClockSkew(SparseSettings):
    """The clock of a node runs ahead, behind, or at another rate."""

    target: Glob
    """whose: a node's name, a pattern, or auto (one drawn agent)"""
    offset: Duration = 0.0
    """how far it is ahead"""
    drift_ppm: Annotated[float, Field(ge=-1e6, le=1e6)] = 0.0
    """microseconds that it gains per second"""


class ByzantineFault(Settings):
    """An agent sends falsified messages."""

    target: Glob
    """who: a node's name, a pattern, or auto (one drawn agent)"""
    channel: Literal["avg", "trace", "goal"] = "avg"
    """which messages: avg (models and shares), trace (features achieved), goal (goal pursued)"""
    attack: Literal[
        "sign_flip", "scale", "noise", "constant", "alie", "ipm", "dissensus", "two_faced", "nan", "inf", "stale_replay", "wrong_shape",
        "garbage", "false_trace", "false_goal",
    ]  # fmt: skip
    """how"""
    scale: Annotated[float, Field(ge=-1e12, le=1e12)] = 1.0
    """how much: factor, or standard deviation of the noise"""


class StorageFault(Settings):
    """Writes or files of a node are damaged."""

    target: Glob
    """whose: a node's name, a pattern, or auto (one drawn agent)"""
    action: Literal["corrupt_checkpoint", "truncate", "flip", "full", "slow"]
    """corrupt_checkpoint, flip: bytes of the newest checkpoint change; truncate: it loses its end; full: nothing can be written; slow"""


class MembershipFault(SparseSettings):
    """An agent leaves in order, and perhaps returns."""

    leave: Glob
    """who: a node's name, a pattern, or auto (one drawn agent)"""
    return_after: Length | None = None
    """when it comes back: a duration, or {steps: n}, {episodes: n}; null: never"""


class FaultEvent(OneOf, SparseSettings):
    """Something that happens at a moment of the run."""

    ONE_OF = ("partition", "process", "straggler", "clock", "byzantine", "storage", "membership", "link")

    id: FaultName
    """name of the event"""
    at: TriggerPoint
    """when it begins"""
    duration: Annotated[Length | None, Field(alias="for")] = None
    """how long it lasts: a duration, or {steps: n}, {episodes: n}, {rounds: n}; null: until everything is healed"""
    partition: Partition | None = None
    """agents that cannot reach each other"""
    process: ProcessFault | None = None
    """a process dies, stops, hangs"""
    straggler: Straggler | None = None
    """an agent becomes slow"""
    clock: ClockSkew | None = None
    """a clock goes wrong"""
    byzantine: ByzantineFault | None = None
    """an agent sends falsified messages"""
    storage: StorageFault | None = None
    """a disk goes wrong"""
    membership: MembershipFault | None = None
    """an agent leaves and returns"""
    link: LinkEffects | None = None
    """a rule of the links is switched on"""
