"""One fault of one node: what it is, when it begins, how long it lasts; and how the run server orders it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import inf

from protocols.faults.schedule.run_moments import RunMoment
from protocols.faults.settings import ByzantineFault, ClockSkew, MembershipFault, ProcessFault, StorageFault, Straggler

NodeFault = ProcessFault | Straggler | ClockSkew | ByzantineFault | StorageFault | MembershipFault
LETHAL = ("process.kill", "process.term", "process.exit", "process.oom", "membership.leave")
"""kinds after which the process is gone"""
MOMENTARY = (*LETHAL, "process.pause", "process.hang", "storage.corrupt_checkpoint", "storage.truncate", "storage.flip")
"""kinds that are over as soon as they have been done"""
NEVER = RunMoment("time", inf)
"""for faults that only an order begins"""
KINDS: dict[str, type[NodeFault]] = {
    "process": ProcessFault,
    "straggler": Straggler,
    "clock": ClockSkew,
    "byzantine": ByzantineFault,
    "storage": StorageFault,
    "membership": MembershipFault,
}
"""key of a fault event to what it is"""


@dataclass(frozen=True)
class ScheduledFault:
    """One fault of one node. `lasts` is counted from where it begins; None: until it is healed."""

    id: str
    what: NodeFault
    start: RunMoment
    lasts: RunMoment | None = None

    @property
    def kind(self) -> str:
        """What it is, for logs: process.kill, straggler.update, byzantine.sign_flip, ..."""
        what = self.what
        if isinstance(what, ProcessFault):
            return f"process.{what.action}"
        if isinstance(what, Straggler):
            return f"straggler.{what.where}"
        if isinstance(what, ByzantineFault):
            return f"byzantine.{what.attack}"
        if isinstance(what, StorageFault):
            return f"storage.{what.action}"
        return "membership.leave" if isinstance(what, MembershipFault) else "clock.skew"

    def to_json(self) -> str:
        """For an order to the node that shall do it."""
        lasts = None if self.lasts is None else {"unit": self.lasts.unit, "value": self.lasts.value}
        key = next(key for key, kind in KINDS.items() if isinstance(self.what, kind))
        return json.dumps({"id": self.id, "lasts": lasts, key: self.what.model_dump(mode="json")})

    @classmethod
    def from_json(cls, text: str) -> ScheduledFault:
        """Read an order; `ValueError` for what is none."""
        fields = json.loads(text)
        try:
            lasts = fields["lasts"]
            key = next(key for key in KINDS if key in fields)
            what = KINDS[key].model_validate(fields[key])
            return cls(str(fields["id"]), what, NEVER, None if lasts is None else RunMoment(lasts["unit"], float(lasts["value"])))
        except (KeyError, TypeError, StopIteration) as error:
            raise ValueError(f"no order of a fault: {error!r}") from None
