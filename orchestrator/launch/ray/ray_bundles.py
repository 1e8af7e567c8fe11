"""How much each host asks Ray for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, floor

from orchestrator.config.configuration import Configuration
from orchestrator.launch.placement import node_requests


@dataclass(frozen=True)
class Bundle:
    """Capacity for one host: processor cores, bytes, GPUs, and resources that Ray only counts."""

    cores: float
    memory: int
    gpus: int = 0
    resources: Mapping[str, float] = field(default_factory=dict)

    def amounts(self) -> dict[str, float]:
        """As Ray writes it."""
        amounts = {"CPU": self.cores, "memory": float(self.memory), "GPU": float(self.gpus), **self.resources}
        return {name: amount for name, amount in amounts.items() if amount > 0}


def bundles(configuration: Configuration) -> tuple[Bundle, Bundle]:
    """The bundle that each of `launch.hosts` hosts should have, and the one that it must have.

    With n nodes on h hosts, cores are sum(cores of all nodes) / h, and not less than the most that one node needs; GPUs likewise. Memory is
    that of the ceil(n / h) nodes that need most of it, and in the bundle that should be of ceil(n / (h - 1)): so the nodes of one lost host
    fit on the others. What `launch.ray` names is taken as it is.
    """
    launch, needs = configuration.launch, node_requests(configuration)
    hosts = launch.hosts
    cores = launch.ray.cores or max(ceil(100 * sum(need.cores for need in needs) / hosts) / 100, *(need.cores for need in needs))
    gpus = launch.ray.gpus or ceil(sum(need.gpus for need in needs) / hosts)
    memory = sorted((need.memory for need in needs), reverse=True)

    def bundle(share: int) -> Bundle:
        wanted = sum(memory[: ceil(len(memory) / share)])
        return Bundle(cores, launch.ray.memory or wanted, gpus, launch.ray.resources)

    return bundle(max(1, hosts - 1)), bundle(hosts)


def room(bundle: Mapping[str, float], nodes: Sequence[Mapping[str, float]], strategy: str) -> int:
    """How many bundles Ray nodes with these resources could hold if they were empty."""
    each = [min(floor(node.get(name, 0.0) / amount + 1e-9) for name, amount in bundle.items()) for node in nodes] or [0]
    if strategy == "STRICT_SPREAD":
        return sum(count > 0 for count in each)
    return max(each) if strategy == "STRICT_PACK" else sum(each)
