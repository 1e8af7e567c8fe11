"""Whether the connections of a run are encrypted; they must be where other machines can reach them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocols.runtime.errors import AuthenticationError
from protocols.runtime.node_start import is_loopback

if TYPE_CHECKING:
    from orchestrator.config.configuration import Configuration


def exposed(configuration: Configuration) -> str:
    """What others can reach, in words; "" where nothing leaves this machine."""
    network, launch = configuration.network, configuration.launch
    if network.bind != "auto" and not is_loopback(network.bind):
        return f"network.bind is {network.bind}, which can be reached from outside"
    return "" if launch.one_machine else f"launch.engine is {launch.engine}, which may use several machines"


def encrypted(configuration: Configuration) -> bool:
    """Whether every socket of the run uses CURVE: `security.mode`, where `auto` means as soon as anything leaves this machine."""
    mode = configuration.security.mode
    return mode == "curve" or (mode == "auto" and bool(exposed(configuration)))


def check_security(configuration: Configuration) -> None:
    """`AuthenticationError` (exit 4) where messages would leave this machine in the open."""
    reach = exposed(configuration)
    if reach and not encrypted(configuration):
        raise AuthenticationError(
            f"{reach}, and security.mode is none, so that others could read and send messages of the run. Write security.mode=auto "
            "(encrypted, and only processes of this run are admitted), or keep to this machine: network.bind=127.0.0.1; nothing was started"
        )
