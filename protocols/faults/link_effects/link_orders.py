"""Link faults requested by hand during a run (`clock: wall`): the order, and its execution by a node.

What a process does to itself travels as a `ScheduledFault`; what the links do has to begin in every process that sends, whether or not the
run's configuration has faults for them.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from protocols.faults.link_effects.run_links import inject_late
from protocols.faults.node_faults.scheduled_faults import run_schedule
from protocols.faults.schedule.run_moments import RunPosition
from protocols.faults.settings import FaultEvent

if TYPE_CHECKING:
    from protocols.faults.link_effects.link_shim import Shim
    from protocols.runtime.entrance import Entrance
    from protocols.transport.connections import Destination

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ManualLinkFault:
    """An event of the kinds `link` or `partition`, and how far the run was when it began."""

    event: FaultEvent
    reached: RunPosition

    def to_json(self) -> str:
        """For `Command.fault`."""
        return json.dumps({"event": self.event.model_dump(mode="json"), "reached": asdict(self.reached)}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ManualLinkFault | None:
        """Read an order; None for one of another kind. `ValueError` for what is none."""
        fields = json.loads(text)
        if not isinstance(fields, dict) or "event" not in fields:
            return None
        try:
            return cls(FaultEvent.model_validate(fields["event"]), RunPosition(**fields["reached"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"no order of a fault: {error!r}") from None


def carry_out(
    entrance: Entrance, shim: Shim[Destination] | None, orders: Iterable[tuple[str, str]]
) -> tuple[Shim[Destination] | None, list[tuple[str, str]]]:
    """Do what orders of the run server want of this node's links. Returns what now happens to its messages (made with the first order, in a
    run whose configuration needs none), and the orders that the process itself has to carry out."""
    rest = []
    for op, what in orders:
        if op == "heal":
            rest.append((op, what))
            if shim is not None:
                shim.heal() if what == "*" else shim.end(what, time.monotonic())
            continue
        try:
            order = ManualLinkFault.from_json(what)
        except ValueError as error:
            logger.error("%s", error)
            continue
        if order is None:
            rest.append((op, what))
            continue
        if shim is None:
            shim = inject_late(entrance.transport, entrance.start, entrance.configuration, order.reached.time)
        if order.event.link is not None and order.event.link.corrupt is not None:
            entrance.transport.guard.expect_damage()
        event = run_schedule(entrance.configuration).compiled(order.event)
        shim.begin(event, time.monotonic(), int(order.reached.step), int(order.reached.episode))
    return shim, rest
