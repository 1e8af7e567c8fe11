"""Entry point of an environment server's process: what it becomes is decided by the clock of the run."""

from __future__ import annotations

from env_server.server import EnvironmentServer
from env_server.ticks import TickServer
from env_server.wall import WallServer
from protocols.entrance import enter
from protocols.errors import ExitCode
from protocols.launch import NodeStart


def environment_server(start: NodeStart) -> EnvironmentServer:
    """Join the run, and be its environment server. Raises what `NodeControl.join` does, and what the environment does that is created."""
    entrance = enter(start, "env", "env")
    return TickServer(entrance) if entrance.logical else WallServer(entrance)


def main(start: NodeStart) -> int:
    """Live until told to stop; the exit code."""
    environment_server(start).run()
    return ExitCode.OK
