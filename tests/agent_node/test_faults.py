"""Faults of an agent under the logical clock begin and end at places of the run that its time, steps and episodes say together."""

from __future__ import annotations

from pathlib import Path

from agent_node.faults import AgentFaults
from protocols.clock import LogicalClock
from protocols.faults.deed import Deed
from protocols.faults.deeds import NodeFaults
from protocols.faults.log import read
from protocols.faults.moments import Moment
from protocols.faults.settings import Byzantine
from protocols.launch import NodeStart


def test_a_length_in_steps_counts_from_the_step_of_the_tick_at_which_the_fault_began(tmp_path: Path) -> None:
    start = NodeStart("test", "agent-0", "agent", 1, str(tmp_path), "", "", "")
    lie = Deed("lie", Byzantine(target="agent-0", attack="sign_flip"), Moment("time", 0.02), Moment("step", 10))
    clock = LogicalClock(0.01)
    faults = AgentFaults(start, NodeFaults((lie,)), lambda reason: None, clock)
    for clock.tick in range(1, 8):
        faults.reached(8 * clock.tick, 0)
    lines = [(line["what"], line["t"], line["time"], line["step"]) for line in read(tmp_path / "nodes" / "agent-0" / "faults.jsonl")]
    assert lines == [("begin", 0.02, 0.02, 16), ("end", 0.04, 0.04, 32)]
