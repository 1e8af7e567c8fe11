"""Averaging rules by their names in `exchange.consensus.mode`, with their settings. Free of numpy.

A rule of a third party is registered in the room `averaging_rule`, as either

- a function on vectors, `rule(own [d], neighbours [n, d], weights [n], settings) -> update [d]` (float64), which is called once a round and
  whose result is added to the parameters x_i: settings derived from `VectorRuleSettings` or `RobustRuleSettings`; or
- a function `create(settings, context) -> Averager`, where the rule has messages or rounds of its own: settings derived from
  `AveragingRuleSettings` (context: `protocols.averaging.averaging_rules.AveragingContext`).

Keys that `exchange.consensus` has too (`SHARED`) are taken from there; further keys of a rule stand in `exchange.consensus.options`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from protocols.runtime.component_registry import component, kinds, register
from protocols.runtime.settings_types import ComponentSettings, Settings

ROOM = "averaging_rule"
SHARED = ("num_byzantine", "compression", "step_size", "window", "offer_dtype")
"""keys of `exchange.consensus` that rules read"""


class CompressionSettings(Settings):
    """Compression of the change of a vector."""

    kind: Literal["top_k", "quantise"] = "top_k"
    """top_k: the components of largest absolute value; quantise: all components with few bits"""
    share: float = Field(default=0.1, gt=0.0, le=1.0)
    """share of the components that top_k sends"""
    bits: Literal[2, 4, 8] = 4
    """bits for each component, for quantise"""


class AveragingRuleSettings(ComponentSettings):
    """Base of the settings of averaging rules.

    Capabilities: directed (the graph may have directed edges), robust (protects against Byzantine neighbours), compressed (sends compressed
    changes), needs_step_size (diverges where `step_size` is too large for the compression).
    """

    @property
    def min_neighbours(self) -> int:
        """The least number of neighbours with which the rule changes anything."""
        return 1


class VectorRuleSettings(AveragingRuleSettings):
    """Base of the settings of rules that are functions on vectors."""


class RobustRuleSettings(VectorRuleSettings):
    """Base of the settings of rules that tolerate b = `num_byzantine` arbitrary vectors; they need 2 b + 1 neighbours.

    Vectors much longer than the own one are refused before the rule is called (`robust_averaging.LONGEST`).
    """

    capabilities = ("robust",)
    num_byzantine: Annotated[int, Field(ge=0, le=64)] = 1

    @property
    def min_neighbours(self) -> int:
        """2 b + 1: a majority of the neighbours is then correct."""
        return 2 * self.num_byzantine + 1


class PushSumRule(AveragingRuleSettings):
    """Push-sum with running sums (Kempe, Dobra and Gehrke 2003): exact in spite of lost messages and restarts, on directed graphs too."""

    capabilities = ("directed",)
    kind: Literal["pushsum"] = "pushsum"
    window: Annotated[int, Field(ge=1, le=32)] = 4
    offer_dtype: Literal["float64", "float32"] = "float64"


class GossipRule(AveragingRuleSettings):
    """Synchronous gossip with Metropolis-Hastings weights (Xiao and Boyd 2004)."""

    kind: Literal["mh"] = "mh"


class ChocoRule(AveragingRuleSettings):
    """Synchronous gossip with compressed changes (CHOCO, Koloskova, Stich and Jaggi 2019)."""

    capabilities = ("compressed", "needs_step_size")
    kind: Literal["choco"] = "choco"
    compression: CompressionSettings = CompressionSettings()
    step_size: float | None = Field(default=None, gt=0.0, le=1.0)


class ClipRule(RobustRuleSettings):
    """Self-centred clipping of the neighbours' differences (He, Karimireddy and Jaggi 2022)."""

    kind: Literal["clip"] = "clip"


class TrimRule(RobustRuleSettings):
    """Trimmed mean: in each coordinate, without the b least and b greatest inputs (Yin et al. 2018)."""

    kind: Literal["trim"] = "trim"


class MedianRule(RobustRuleSettings):
    """Median of each coordinate (Yin et al. 2018)."""

    kind: Literal["median"] = "median"


class GeometricMedianRule(RobustRuleSettings):
    """Geometric median: the point with the least sum of distances to all inputs (Pillutla, Kakade and Harchaoui 2022)."""

    kind: Literal["geomedian"] = "geomedian"


class KrumRule(RobustRuleSettings):
    """Krum: the input that is nearest to its n - b - 2 nearest others (Blanchard et al. 2017)."""

    kind: Literal["krum"] = "krum"

    @property
    def min_neighbours(self) -> int:
        """2 b + 2: the proof needs 2 b + 3 inputs, the own one included."""
        return 2 * self.num_byzantine + 2


def rule_settings(kind: str, shared: Mapping[str, Any], options: Mapping[str, Any] = {}) -> AveragingRuleSettings:
    """Settings of the rule `kind` from `options` and from those values of `shared` that it has keys for and that are given (not None).
    `KeyError` for an unknown kind, `ValueError` for values that break its rules."""
    settings = component(ROOM, kind).settings
    values = {name: value for name, value in shared.items() if name in settings.model_fields and value is not None}
    rule = settings.model_validate({**values, **options, "kind": kind})
    if not isinstance(rule, AveragingRuleSettings):
        raise ValueError(f"{settings.__name__} of the rule {kind} is not derived from AveragingRuleSettings")
    return rule


def rules_with(capability: str) -> list[str]:
    """Names of the averaging rules that have a capability, those of plugins included."""
    return [kind for kind in kinds(ROOM) if capability in getattr(component(ROOM, kind).settings, "capabilities", ())]


register(ROOM, "pushsum", PushSumRule, "protocols.averaging.averaging_rules:push_sum")
register(ROOM, "mh", GossipRule, "protocols.averaging.averaging_rules:gossip")
register(ROOM, "choco", ChocoRule, "protocols.averaging.averaging_rules:choco")
register(ROOM, "clip", ClipRule, "protocols.averaging.robust_averaging:clip")
register(ROOM, "trim", TrimRule, "protocols.averaging.robust_averaging:trim")
register(ROOM, "median", MedianRule, "protocols.averaging.robust_averaging:median")
register(ROOM, "geomedian", GeometricMedianRule, "protocols.averaging.robust_averaging:geomedian")
register(ROOM, "krum", KrumRule, "protocols.averaging.robust_averaging:krum")
