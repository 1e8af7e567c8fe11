"""When: moments and lengths of a run, and durations that are drawn."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from protocols.faults.settings.sparse_settings import DURATION_TEXT, AlsoAccepts, SparseSettings, is_scalar
from protocols.runtime.settings_types import Duration, OneOf


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
