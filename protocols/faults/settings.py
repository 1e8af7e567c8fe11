"""The sections `faults` and `network.links` of a configuration: what happens to messages and nodes, and when.

`FaultsSettings` is the whole; `protocols.faults.fault_checks` has the rules between its keys,
`protocols.faults.fault_schedule` turns it into what begins and ends when.

Units of triggers, the same for every node of a run:

- `time`: seconds since training began (virtual seconds under `clock: logical`),
- `step`: the run's progress in environment steps, as `until.steps` counts them,
- `episode`: finished training episodes of the run,
- `round`: the acting agent's own averaging rounds.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer
from pydantic.json_schema import JsonSchemaValue

from protocols.runtime.errors import NEVER_RESTARTED, ExitCode
from protocols.runtime.settings_types import AlsoAccepts, Duration, OneOf, Probability, Rate, Settings, Size, parse_duration
from protocols.wire.messages import Channel

DURATION_TEXT: JsonSchemaValue = {"type": "string", "pattern": r"^\s*[0-9.eE+-]+\s*(us|ms|s|min|h|d)\s*$"}


class SparseSettings(Settings):
    """Written out without the keys that are null."""

    @model_serializer(mode="wrap")
    def _without_nulls(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in write(self).items() if value is not None}


def is_scalar(value: Any) -> bool:
    """A duration, or a number that lacks its unit."""
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)


AUTO = "auto"
"""as a target: one agent, drawn from the fault seed"""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Glob = Annotated[str, Field(min_length=1, max_length=64)]
"""A node's name, or a pattern of names: `agent-*`, `agent-[0-3]`."""
Globs = Annotated[
    list[Glob], Field(min_length=1), BeforeValidator(_listed), AlsoAccepts({"type": "string", "minLength": 1, "maxLength": 64})
]
"""One or several of them."""
FaultName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")]
"""The name of a rule or event, unique in the configuration: lower-case letters, digits, `_`, `-`."""


class Distribution(SparseSettings):
    """A random duration. `jitter` is the standard deviation; what is below `min` or above `max` is set to it."""

    dist: Literal["constant", "uniform", "normal", "lognormal", "exponential", "pareto", "empirical"] = "constant"
    """constant (mean); uniform (min, max); normal, lognormal, pareto (mean, jitter); exponential (mean); empirical (file)"""
    mean: Duration | None = None
    """mean before `min` and `max` are applied"""
    jitter: Duration | None = None
    """standard deviation before `min` and `max` are applied"""
    corr: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """correlation of the normal scores of successive values on a link (AR(1)); the distribution of each value stays the same"""
    min: Duration | None = None
    """least value; for uniform its lower end"""
    max: Duration | None = None
    """greatest value; for uniform its upper end"""
    file: Annotated[str, Field(min_length=1)] | None = None
    """for empirical: text file with one duration in a line (`12.5ms`), each equally likely; relative to where the run is started"""


def _constant(value: Any) -> Any:
    return {"dist": "constant", "mean": value} if is_scalar(value) else value


def _span(value: Any) -> Any:
    return {"time": value} if is_scalar(value) else value


RandomDuration = Annotated[Distribution, BeforeValidator(_constant), AlsoAccepts(DURATION_TEXT)]
"""A distribution, or one duration for a constant."""


class TriggerPoint(OneOf, SparseSettings):
    """A moment of the run, in exactly one unit."""

    ONE_OF = ("time", "step", "episode", "round", "random")

    time: Duration | None = None
    """time since training began; virtual time under `clock: logical`"""
    step: Annotated[int, Field(ge=0)] | None = None
    """environment steps of the run, as `until.steps` counts them"""
    episode: Annotated[int, Field(ge=0)] | None = None
    """finished training episodes of the run"""
    round: Annotated[int, Field(ge=0)] | None = None
    """averaging rounds of the agent that acts"""
    random: RandomDuration | None = None
    """a time since training began, drawn from the fault seed"""


class RunSpan(OneOf, SparseSettings):
    """A length of the run, in exactly one unit, counted from where it begins."""

    ONE_OF = ("time", "steps", "episodes", "rounds")

    time: Duration | None = None
    """time (virtual time under `clock: logical`)"""
    steps: Annotated[int, Field(ge=1)] | None = None
    """environment steps of the run"""
    episodes: Annotated[int, Field(ge=1)] | None = None
    """finished training episodes of the run"""
    rounds: Annotated[int, Field(ge=1)] | None = None
    """averaging rounds of the agent that acts"""


Length = Annotated[RunSpan, BeforeValidator(_span), AlsoAccepts(DURATION_TEXT)]
"""A span; a duration alone is one of time."""


class ActivePeriod(SparseSettings):
    """When a rule holds."""

    start: TriggerPoint = TriggerPoint(episode=0)
    """from when on"""
    stop: Annotated[
        TriggerPoint | None, BeforeValidator(lambda value: None if value == "end" else value), AlsoAccepts({"const": "end"})
    ] = None
    """until when; `end`: as long as the run"""


class Loss(SparseSettings):
    """Which messages are lost."""

    model: Literal["bernoulli", "gilbert_elliott"] = "bernoulli"
    """bernoulli: each with probability p; gilbert_elliott: the link changes between a good and a bad state, message by message"""
    p: Probability | None = None
    """bernoulli: probability of loss"""
    corr: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """bernoulli: correlation of the losses of successive messages; the probability of each stays p"""
    p_gb: Probability | None = None
    """gilbert_elliott: probability, at each message, that a good link turns bad"""
    p_bg: Probability | None = None
    """gilbert_elliott: probability, at each message, that a bad link turns good"""
    loss_good: Probability = 0.0
    """gilbert_elliott: probability of loss in the good state"""
    loss_bad: Probability = 1.0
    """gilbert_elliott: probability of loss in the bad state"""


class Duplicate(Settings):
    """Messages that arrive twice."""

    p: Probability
    """probability"""
    gap: Duration = 0.005
    """time from the first copy to the second"""


class Reorder(Settings):
    """Messages that are held back, so that later ones overtake them."""

    p: Probability
    """probability"""
    hold: Duration = 0.04
    """how long"""


class Corrupt(Settings):
    """Messages that are damaged on the way; the receiver refuses and counts them."""

    p: Probability
    """probability"""
    what: Literal["payload", "header", "truncate"] = "payload"
    """payload: bytes of the arrays; header: bytes of the header; truncate: the end is cut off"""


class Bandwidth(Settings):
    """A link that takes time to send each byte."""

    rate: Annotated[Rate, Field(gt=0)]
    """bits per second, over all channels of the rule together"""
    queue: Size = 2**20
    """bytes that may wait for the link"""
    overflow: Literal["drop"] = "drop"
    """drop: what finds the queue full is lost"""


def _probability(value: Any) -> Any:
    return {"p": value} if isinstance(value, (int, float)) and not isinstance(value, bool) else value


class LinkEffects(SparseSettings):
    """What happens to messages between some nodes. All rules that match a message act on it; delays add."""

    source: Annotated[Globs, Field(alias="from")] = ["*"]
    """who sends: a node's name, a pattern, or a list of them"""
    to: Globs = ["*"]
    """who receives"""
    symmetric: bool = False
    """whether the rule holds in the other direction too"""
    channels: Annotated[list[Channel], Field(min_length=1)] = ["peer"]
    """which conversations: peer (agents with each other), env (agents with the environment server), ctl and tele (with the run server)"""
    types: list[Annotated[str, Field(pattern=r"^[a-z]{1,32}$")]] = []
    """only these message types (average, propose, trace, ...); none: all"""
    delay: RandomDuration | None = None
    """time on the way; a duration alone is constant"""
    loss: Annotated[Loss, BeforeValidator(_probability), AlsoAccepts({"type": "number", "minimum": 0, "maximum": 1})] | None = None
    """which messages never arrive; a number alone is the probability of each"""
    duplicate: Duplicate | None = None
    """which arrive twice"""
    reorder: Reorder | None = None
    """which are overtaken"""
    corrupt: Corrupt | None = None
    """which are damaged"""
    bandwidth: Bandwidth | None = None
    """how fast bytes leave; its decisions depend on when messages are sent, hence repeat exactly only under `clock: logical`"""


class LinkRule(LinkEffects):
    """A named rule of the links."""

    id: FaultName
    """name of the rule: its draws and its lines in the trace go by it"""
    during: ActivePeriod = ActivePeriod()
    """when it holds"""


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
    def ends(self) -> bool:
        """Whether the process is gone."""
        return self.action in ("kill", "term", "exit", "oom")

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


NodeFault = ProcessFault | Straggler | ClockSkew | ByzantineFault | StorageFault | MembershipFault
NODE_FAULTS: dict[str, type[NodeFault]] = {
    "process": ProcessFault, "straggler": Straggler, "clock": ClockSkew, "byzantine": ByzantineFault, "storage": StorageFault,
    "membership": MembershipFault,
}  # fmt: skip
"""key of an event to what happens to a node"""


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


class NemesisWeights(Settings):
    """How often each kind of fault is drawn, relative to the others."""

    partition: Annotated[float, Field(ge=0, le=1e6)] = 2.0
    """a partition of a drawn shape"""
    kill: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    """an agent is killed, and started again when the drawn duration is over"""
    pause: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    """an agent is stopped"""
    slow: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    """an agent takes five times as long to learn"""
    link: Annotated[float, Field(ge=0, le=1e6)] = 2.0
    """the links of one agent: delays of 30 to 100 ms in the mean, losses of up to 30 %"""
    kill_environment: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """the environment server is killed, and started again when the drawn duration is over"""


class Nemesis(SparseSettings):
    """Faults drawn at random, the same ones for the same seed."""

    every: RandomDuration = Distribution.model_validate({"dist": "exponential", "mean": "20s"})
    """time from one to the next"""
    weights: NemesisWeights = NemesisWeights()
    """what they are"""
    max_concurrent: Annotated[int, Field(ge=1, le=1000)] = 1
    """faults at the same time: one that comes while so many last is left out"""
    duration: RandomDuration = Distribution.model_validate({"dist": "uniform", "min": "2s", "max": "15s"})
    """how long each lasts"""


def _number_or_duration(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


Operator = Literal["==", "!=", "<", "<=", ">", ">="]
"""of a figure with what is expected of it"""


class FaultExpectation(Settings):
    """What must hold at the end of the run."""

    metric: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.]{0,63}$")]
    """a figure of the summary: episodes.lost, recovery_time.max, alignment.final, consensus.error, ..."""
    op: Operator
    """how it compares"""
    value: Annotated[float, BeforeValidator(_number_or_duration), AlsoAccepts(DURATION_TEXT)]
    """with what: a number, or a duration (seconds)"""


def _share(value: Any) -> Any:
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            return float(value.strip()[:-1]) / 100.0
        except ValueError:
            raise ValueError(f'"{value}" is no share; write for example 10% or 0.1') from None
    return value


FractionOrPercent = Annotated[
    float, Field(ge=0, lt=1), BeforeValidator(_share), AlsoAccepts({"type": "string", "pattern": r"^\s*[0-9.]+\s*%\s*$"})
]


class FaultsSettings(Settings):
    """What goes wrong in a run."""

    version: Literal[1] = 1
    """version of this section"""
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    """every draw derives from it, separate from the learning seed"""
    backend: Literal["shim", "netem", "tun"] = "shim"
    """where link faults are made: shim, in every process, on whole messages (netem and tun are not in this version)"""
    mode: Literal["live", "replay"] = "live"
    """live; replay: link events take effect at the messages at which they did in the run `trace`"""
    trace: Annotated[str, Field(min_length=1)] | None = None
    """for replay: directory of the run to repeat; relative to where the run is started"""
    record: Literal["counts", "full"] = "counts"
    """what nodes/NAME/faults.jsonl holds besides events: counts per link and second; full: also a line for each message"""
    heal_before_end: FractionOrPercent = 0.1
    """all faults end for this last share of the run, so that recovery is seen; network.links stay"""
    links: list[LinkRule] = []
    """rules of the links that hold for the run or a part of it"""
    events: list[FaultEvent] = []
    """what happens when"""
    traces: list[Annotated[str, Field(min_length=1)]] = []
    """CSV files with faults of nodes or links, relative to the file that names them; their rows become `events` and `links`"""
    random: Nemesis | None = None
    """faults drawn at random; null: none"""
    expect: list[FaultExpectation] = []
    """the verdict of the run: what must hold at its end"""
