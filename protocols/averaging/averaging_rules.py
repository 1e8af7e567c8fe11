"""The state machine of an averaging rule, from its settings."""

from __future__ import annotations

from dataclasses import dataclass

from protocols.averaging.averager import Averager, Neighbourhood
from protocols.averaging.choco import ChocoAveraging
from protocols.averaging.compressors import Compressor, Quantise, TopK
from protocols.averaging.push_sum import PushSum
from protocols.averaging.robust_averaging import VectorRuleAveraging
from protocols.averaging.rule_settings import (
    ROOM,
    AveragingRuleSettings,
    ChocoRule,
    CompressionSettings,
    GossipRule,
    PushSumRule,
    VectorRuleSettings,
)
from protocols.averaging.synchronous_gossip import SynchronousAveraging
from protocols.runtime.component_registry import create
from protocols.runtime.errors import ConfigurationError


@dataclass(frozen=True)
class AveragingContext:
    """What a rule is created for, besides its settings."""

    neighbourhood: Neighbourhood
    layout: str
    """digest of names, shapes and order of the averaged parameters"""
    size: int
    """length d of the vector"""
    deadline: float
    """seconds after which a round closes without the neighbours that are missing"""
    incarnation: int = 0
    """incarnation of this agent (0: there is only one)"""
    rejoin: bool = False
    """whether the neighbours have continued averaging without this agent"""
    seed: int = 0
    """seed of random draws, for example of a compressor"""


def create_averager(rule: AveragingRuleSettings, context: AveragingContext) -> Averager:
    """The machine of a rule. `ConfigurationError` where a third party's rule creates none."""
    implementation = create(ROOM, rule)
    if isinstance(rule, VectorRuleSettings):
        return VectorRuleAveraging(context.neighbourhood, context.layout, context.size, implementation, rule, context.deadline)
    machine = implementation(rule, context)
    if not isinstance(machine, Averager):
        text = "return a protocols.averaging.averager.Averager, or derive the settings of a function on vectors from VectorRuleSettings"
        raise ConfigurationError(f"averaging rule {rule.kind!r} created a {type(machine).__name__}; {text}")
    return machine


def push_sum(rule: PushSumRule, context: AveragingContext) -> PushSum:
    """Push-sum with the window and number format of `rule`, registered as `pushsum` (`protocols.averaging.push_sum`)."""
    place = (context.neighbourhood, context.layout, context.size, context.deadline)
    return PushSum(*place, rule.window, rule.offer_dtype, context.incarnation, context.rejoin)


def gossip(rule: GossipRule, context: AveragingContext) -> SynchronousAveraging:
    """Synchronous gossip, registered as `mh` (`protocols.averaging.synchronous_gossip`)."""
    return SynchronousAveraging(context.neighbourhood, context.layout, context.size, context.deadline)


def choco(rule: ChocoRule, context: AveragingContext) -> ChocoAveraging:
    """Compressed gossip with the compressor and step size of `rule`, registered as `choco` (`protocols.averaging.choco`)."""
    compressor = create_compressor(rule.compression)
    return ChocoAveraging(context.neighbourhood, context.layout, context.size, compressor, rule.step_size, context.seed, context.deadline)


def create_compressor(settings: CompressionSettings) -> Compressor:
    """`TopK` for the kind `top_k`, else `Quantise`. `ValueError` for a share or a number of bits out of range."""
    return TopK(settings.share) if settings.kind == "top_k" else Quantise(settings.bits)
