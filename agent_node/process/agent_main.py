"""Entry point of an agent's process: the clock of the run selects the class."""

from __future__ import annotations

from agent_node.process.agent_process import AgentNode
from agent_node.process.lockstep_agent import LockstepAgent
from protocols.runtime.errors import ExitCode
from protocols.runtime.node_control import enter
from protocols.runtime.node_start import NodeStart


def agent_node(start: NodeStart) -> AgentNode:
    """Join the run, and be the agent of that name. Raises what `NodeControl.join` does."""
    entrance = enter(start, "agent", "peer")
    return LockstepAgent(entrance) if entrance.logical else AgentNode(entrance)


def main(start: NodeStart) -> int:
    """Run until the run server stops the agent; the exit code."""
    agent_node(start).run()
    return ExitCode.OK
