"""The sections `faults` and `network.links` of a configuration: what happens to messages and nodes, and when.

`FaultsSettings` is the whole; `protocols.faults.checking` knows the rules between its keys, `protocols.faults.schedule` turns it into what
begins and ends when.

Units of triggers, the same for every node of a run:

- `time`: seconds since training began (virtual seconds under `clock: logical`),
- `step`: the run's progress in environment steps, as `until.steps` counts them,
- `episode`: finished training episodes of the run,
- `round`: the acting agent's own averaging rounds.
"""

from __future__ import annotations

from .events import Byzantine, ClockSkew, FaultEvent, Membership, Partition, Process, Storage, Straggler
from .links import Bandwidth, Corrupt, Duplicate, LinkEffects, LinkRule, Loss, Reorder
from .moments import At, Distribution, During, Length, RandomDuration, Span
from .names import AUTO, FaultName, Glob, Globs
from .whole import Expectation, FaultsSettings, Nemesis, Operator, Share, Weights

__all__ = [
    "AUTO",
    "At",
    "Bandwidth",
    "Byzantine",
    "ClockSkew",
    "Corrupt",
    "Distribution",
    "Duplicate",
    "During",
    "Expectation",
    "FaultEvent",
    "FaultName",
    "FaultsSettings",
    "Glob",
    "Globs",
    "Length",
    "LinkEffects",
    "LinkRule",
    "Loss",
    "Membership",
    "Nemesis",
    "Operator",
    "Partition",
    "Process",
    "RandomDuration",
    "Reorder",
    "Share",
    "Span",
    "Storage",
    "Straggler",
    "Weights",
]
