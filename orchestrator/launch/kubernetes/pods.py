"""How many pods of which size a run needs: the hosts of a run are pods, all alike, since one Indexed Job has one template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.config.configuration import Configuration
from orchestrator.launch.launch_settings import PlacementSettings
from orchestrator.launch.placement import Slot, node_requests, place

HOST_CORES = 0.2
HOST_MEMORY = 768 * 2**20
"""of a host process and the warm parent of its nodes, which holds torch"""
SERVER_CORES = 0.5
SERVER_MEMORY = 512 * 2**20
"""of the run server and the command that looks on"""


@dataclass(frozen=True)
class Pods:
    """`hosts` pods of `slot` each, for the `nodes` by slot name; without hosts all nodes run beside the run server."""

    hosts: int
    slot: Slot
    nodes: Mapping[str, str]
    server_cores: float
    server_memory: int

    @property
    def host_cores(self) -> float:
        """Cores that a host pod asks for: its nodes' and its own."""
        return self.slot.cores + HOST_CORES

    @property
    def host_memory(self) -> int:
        """Bytes that a host pod asks for."""
        return self.slot.memory + HOST_MEMORY


def host_name(number: int) -> str:
    """Name of a host, and of its slot: `host-0`, ..."""
    return f"host-{number}"


def pods_for(configuration: Configuration, hosts: int) -> Pods:
    """Spread the nodes evenly over that many hosts, as far as pins allow, and make every host as large as the fullest one.

    With 0 hosts: one pod for everything. `PlacementError` for pins that name no host, and where the configuration's own policy would not
    find room in hosts of this size.
    """
    requests = node_requests(configuration)
    if hosts == 0:
        cores, memory = sum(node.cores for node in requests), sum(node.memory for node in requests)
        slot = Slot("local", cores, memory, sum(node.gpus for node in requests))
        where = place(requests, [slot], configuration.launch.placement)
        return Pods(0, slot, where, SERVER_CORES + HOST_CORES + cores, SERVER_MEMORY + HOST_MEMORY + memory)
    settings = configuration.launch.placement
    # Each could hold everything, so that only load, the share of it that is taken, decides.
    everything = [sum(node.cores for node in requests), sum(node.memory for node in requests), sum(node.gpus for node in requests)]
    wide = [Slot(host_name(number), float(everything[0]), int(everything[1]), int(everything[2])) for number in range(hosts)]
    spread = place(requests, wide, PlacementSettings(policy="spread", pins=settings.pins))
    sizes = [[node for node in requests if spread[node.name] == slot.name] for slot in wide]
    cores = max(sum(node.cores for node in nodes) for nodes in sizes)
    memory = max(sum(node.memory for node in nodes) for nodes in sizes)
    gpus = max(sum(node.gpus for node in nodes) for nodes in sizes)
    slots = [Slot(slot.name, cores, memory, gpus) for slot in wide]
    return Pods(hosts, Slot("host", cores, memory, gpus), place(requests, slots, settings), SERVER_CORES, SERVER_MEMORY)
