"""Faults of an agent's process, tied to its parts: clock, pace, disk, conversations, and the way out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from protocols.conversations.conversation import Send
from protocols.faults.node_faults import disk
from protocols.faults.node_faults.byzantine_messages import ByzantineSender
from protocols.faults.node_faults.fault_executor import FaultExecutor, Hooks
from protocols.faults.node_faults.fault_log import FILE, FaultLog, read
from protocols.faults.node_faults.process_faults import ActivitySlowdown, SkewedClock
from protocols.faults.node_faults.scheduled_faults import LETHAL, NodeFaultPlan
from protocols.faults.settings import ByzantineFault
from protocols.runtime.clock import LogicalClock, unix_time
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
        self._sender = ByzantineSender(start.node, faults.seed)
        self._scheduled = any(isinstance(fault.what, ByzantineFault) for fault in faults.scheduled_faults)
        hooks = Hooks(leave=leave, checkpoint_files=lambda: disk.newest(directory / "checkpoints"))
        log = FaultLog(directory, start.node, self.incarnation, unix_time if logical is None else logical.stamp)
        born = start.incarnation if logical is None else 1 + rejoin
        self.executor = FaultExecutor(log, faults.scheduled_faults, self.pace, self.clock, hooks, born, faults.heal)
        self._logical = logical

    def reached(self, step: int, episode: int) -> None:
        """Take the run's progress from an observation, before the observation is handled."""
        if self._logical is None:
            self.executor.advance(step=step, episode=episode)
        else:
            self.executor.advance(time=self._logical.now(), step=step, episode=episode)

    @property
    def byzantine(self) -> bool:
        """Whether messages of this agent are falsified, or may be by the schedule."""
        return self._scheduled or bool(self.executor.byzantine_attacks)

    def observe(self, src: str, message: Message, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Record a message from a peer, whose vectors Byzantine attacks may use."""
        self._sender.observe(src, message, arrays)

    def corrupt(self, send: Send) -> Send:
        """What is sent in place of `send`."""
        return self._sender.corrupt(send, self.executor.byzantine_attacks)
