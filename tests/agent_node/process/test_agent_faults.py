"""Faults of an agent under the logical clock begin and end at places of the run given by its time, steps and episodes together."""

from __future__ import annotations

from pathlib import Path

from agent_node.process.agent_faults import AgentProcessFaults
from protocols.faults.fault_schedule import RunMoment
from protocols.faults.node_faults.fault_log import read
from protocols.faults.node_faults.scheduled_faults import NodeFaultPlan, ScheduledFault
from protocols.faults.settings import ByzantineFault
from protocols.runtime.clock import LogicalClock
from protocols.runtime.node_start import NodeStart


def test_a_length_in_steps_counts_from_the_step_of_the_tick_at_which_the_fault_began(tmp_path: Path) -> None:
    start = NodeStart("test", "agent-0", "agent", 1, str(tmp_path), "", "", "")
    lie = ScheduledFault("lie", ByzantineFault(target="agent-0", attack="sign_flip"), RunMoment("time", 0.02), RunMoment("step", 10))
    clock = LogicalClock(0.01)
    faults = AgentProcessFaults(start, NodeFaultPlan((lie,)), lambda reason: None, clock)
    for clock.tick in range(1, 8):
        faults.reached(8 * clock.tick, 0)
    lines = [(line["what"], line["t"], line["time"], line["step"]) for line in read(tmp_path / "nodes" / "agent-0" / "faults.jsonl")]
    assert lines == [("begin", 0.02, 0.02, 16), ("end", 0.04, 0.04, 32)]
