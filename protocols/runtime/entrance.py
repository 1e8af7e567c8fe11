"""How a node joins its run: it binds its channel, is welcomed, and receives the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from protocols.faults.link_effects.run_links import inject
from protocols.runtime.node_control import NodeControl
from protocols.runtime.node_start import NodeStart
from protocols.transport import Identity, Transport, TransportOptions
from protocols.wire.messages import Channel, Role

if TYPE_CHECKING:
    from protocols.faults.link_effects.link_shim import Shim
    from protocols.transport.connections import Destination


@dataclass(frozen=True)
class Entrance:
    """A node that was welcomed to its run."""

    start: NodeStart
    transport: Transport
    control: NodeControl
    configuration: Mapping[str, Any]
    """the run's, whole and checked"""
    shim: Shim[Destination] | None
    """what happens to its messages under `clock: wall`, where the run has faults of the links"""

    @property
    def logical(self) -> bool:
        """Whether the run goes by ticks instead of by real time."""
        return bool(self.configuration["clock"] == "logical")


def enter(start: NodeStart, role: Role, channel: Channel) -> Entrance:
    """Listen on `channel` and send `Hello` until welcomed. Raises what `NodeControl.join` does."""
    transport = Transport(Identity(start.run, start.node, start.incarnation, role), TransportOptions(keys=start.keys))
    endpoint = transport.bind(channel, start.bind, carrier=start.carrier, advertise=start.advertise)
    control = NodeControl(start, transport, endpoint)
    configuration = control.join()
    shim = inject(transport, start, configuration, control.trained, control.training)
    return Entrance(start, transport, control, configuration, shim)
