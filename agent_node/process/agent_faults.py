"""Faults of an agent's process, tied to its parts: clock, pace, disk, conversations, and the way out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from protocols.averaging.averaging_messages import Average, Compressed, Share
from protocols.conversations.conversation import Send
from protocols.faults.node_faults import disk
from protocols.faults.node_faults.byzantine_sender import ByzantineSender
from protocols.faults.node_faults.fault_executor import FaultExecutor, Hooks
from protocols.faults.node_faults.fault_log import FILE, FaultLog, read
from protocols.faults.node_faults.node_fault import LETHAL
from protocols.faults.node_faults.scheduled_faults import NodeFaultPlan
from protocols.faults.node_faults.slowdown import ActivitySlowdown, SkewedClock
from protocols.runtime.clock import LogicalClock
from protocols.runtime.node_start import NodeStart
from protocols.wire.messages import Message


class AgentProcessFaults:
    """What the schedule has for one agent. `leave`: how it goes in order, given the reason.

    With `logical` times are those of that clock, and the agent reads them in `reached` alone; its incarnations are counted by the faults
    that ended them, not by processes (`rejoin`: it comes back into a run that went on), so that a resumed run writes what an uninterrupted
    one does.
    """

    def __init__(
        self,
        start: NodeStart,
        faults: NodeFaultPlan,
        leave: Callable[[str], None],
        logical: LogicalClock | None = None,
        rejoin: bool = False,
    ) -> None:
        directory = start.node_directory
        self.incarnation = start.incarnation
        if logical is not None:
            self.incarnation = 1 + sum(line.get("kind") in LETHAL and line.get("what") == "begin" for line in read(directory / FILE))
        self.pace = ActivitySlowdown()
        self.clock = SkewedClock()
        self._byzantine = ByzantineSender(start.node, faults.seed)
        hooks = Hooks(leave=leave, checkpoint_files=lambda: _newest(directory))
        log = FaultLog(directory, start.node, self.incarnation, time.time if logical is None else logical.stamp)
        born = start.incarnation if logical is None else 1 + rejoin
        self.executor = FaultExecutor(log, faults.scheduled_faults, self.pace, self.clock, hooks, born, faults.heal)
        self._logical = logical

    def reached(self, step: int, episode: int) -> None:
        """Take the run's progress from an observation, before the observation is handled."""
        if self._logical is None:
            self.executor.advance(step=step, episode=episode)
        else:
            self.executor.advance(time=self._logical.now(), step=step, episode=episode)

    def apply_order(self, orders: Iterable[tuple[str, str]]) -> None:
        """Execute orders of the run server: pairs of `fault` or `heal` and the fault as text."""
        self.executor.apply_order(orders)

    # --- conversations --------------------------------------------------------------------------------------------------------------

    def observe(self, src: str, message: Message, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Record a message from a peer, whose vectors Byzantine attacks may use."""
        self._byzantine.observe(src, message, arrays)

    def corrupt(self, send: Send) -> Send:
        """What is sent in place of `send`. The run position reaches a round when the first message of that round is sent."""
        if isinstance(send.message, Average | Share | Compressed) and not getattr(send.message, "layout", "").startswith("statistics/"):
            self.executor.advance(round=send.message.round)
        return self._byzantine.corrupt(send, self.executor.byzantine_attacks)


def _newest(directory: Path) -> Path | None:
    return disk.newest(directory / "checkpoints")
