"""Entry point of an environment server's process: what it becomes is decided by the clock of the run."""

from __future__ import annotations

from env_server.serving.environment_server import EnvironmentServer
from env_server.serving.lockstep_server import LockstepServer
from env_server.serving.real_time_server import RealTimeServer
from protocols.runtime.errors import ExitCode
from protocols.runtime.node_control import enter
from protocols.runtime.node_start import NodeStart


def environment_server(start: NodeStart) -> EnvironmentServer:
    """Join the run, and be its environment server. Raises what `NodeControl.join` does, and what the environment does that is created."""
    entrance = enter(start, "env", "env")
    return LockstepServer(entrance) if entrance.logical else RealTimeServer(entrance)


def main(start: NodeStart) -> int:
    """Run until the run server sends stop; returns the exit code."""
    environment_server(start).run()
    return ExitCode.OK
