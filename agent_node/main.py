"""Entry point of an agent's process: what it becomes is decided by the clock of the run."""

from __future__ import annotations

from agent_node.node import AgentNode
from agent_node.ticks import TickAgent
from agent_node.wall import WallAgent
from protocols.entrance import enter
from protocols.errors import ExitCode
from protocols.launch import NodeStart


def agent_node(start: NodeStart) -> AgentNode:
    """Join the run, and be the agent of that name. Raises what `NodeControl.join` does."""
    entrance = enter(start, "agent", "peer")
    return TickAgent(entrance) if entrance.logical else WallAgent(entrance)


def main(start: NodeStart) -> int:
    """Live until told to stop; the exit code."""
    agent_node(start).run()
    return ExitCode.OK
