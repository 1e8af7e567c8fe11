"""The sections `faults` and `network.links` of a configuration: what happens to messages and nodes, and when.

`FaultsSettings` is the whole; `protocols.faults.settings.fault_checks` has the rules between its keys,
`protocols.faults.schedule.fault_schedule` turns it into what begins and ends when.

Units of triggers, the same for every node of a run:

- `time`: seconds since training began (virtual seconds under `clock: logical`),
- `step`: the run's progress in environment steps, as `until.steps` counts them,
- `episode`: finished training episodes of the run,
- `round`: the acting agent's own averaging rounds.
"""

from __future__ import annotations

from protocols.faults.settings.fault_event_settings import (
    ByzantineFault,
    ClockSkew,
    FaultEvent,
    MembershipFault,
    Partition,
    ProcessFault,
    StorageFault,
    Straggler,
)
from protocols.faults.settings.fault_section import FaultExpectation, FaultsSettings, FractionOrPercent, Nemesis, NemesisWeights, Operator
from protocols.faults.settings.link_effect_settings import Bandwidth, Corrupt, Duplicate, LinkEffects, LinkRule, Loss, Reorder
from protocols.faults.settings.node_patterns import AUTO, FaultName, Glob, Globs
from protocols.faults.settings.trigger_settings import ActivePeriod, Distribution, Length, RandomDuration, RunSpan, TriggerPoint

__all__ = [
    "AUTO",
    "ActivePeriod",
    "Bandwidth",
    "ByzantineFault",
    "ClockSkew",
    "Corrupt",
    "Distribution",
    "Duplicate",
    "FaultEvent",
    "FaultExpectation",
    "FaultName",
    "FaultsSettings",
    "FractionOrPercent",
    "Glob",
    "Globs",
    "Length",
    "LinkEffects",
    "LinkRule",
    "Loss",
    "MembershipFault",
    "Nemesis",
    "NemesisWeights",
    "Operator",
    "Partition",
    "ProcessFault",
    "RandomDuration",
    "Reorder",
    "RunSpan",
    "StorageFault",
    "Straggler",
    "TriggerPoint",
]
