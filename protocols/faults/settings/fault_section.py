"""The section `faults`: all that goes wrong in a run, and what must hold in the end."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from protocols.faults.settings.fault_event_settings import FaultEvent
from protocols.faults.settings.link_effect_settings import LinkRule
from protocols.faults.settings.sparse_settings import DURATION_TEXT, AlsoAccepts, SparseSettings
from protocols.faults.settings.trigger_settings import Distribution, RandomDuration
from protocols.runtime.settings_types import Settings, parse_duration


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
    random: Nemesis | None = None
    """faults drawn at random; null: none"""
    expect: list[FaultExpectation] = []
    """the verdict of the run: what must hold at its end"""
