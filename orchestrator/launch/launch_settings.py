"""Settings of where and how processes are started: one section for each engine that has any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from protocols.runtime.settings_types import Duration, NodeName, Settings, Size


@dataclass(frozen=True)
class LaunchEngine:
    """What holds for a launch engine; `implementation` is `module:class`, imported when a run uses it."""

    implementation: str
    one_machine: bool = False
    """its hosts are all on the machine of the run server"""
    listed: bool = False
    """the configuration lists its hosts"""


ENGINES: Mapping[str, LaunchEngine] = {
    "local": LaunchEngine("orchestrator.launch.local_engine:LocalEngine", one_machine=True),
    "slurm": LaunchEngine("orchestrator.launch.slurm.slurm_engine:SlurmEngine"),
    "ray": LaunchEngine("orchestrator.launch.ray.ray_engine:RayEngine"),
    "ssh": LaunchEngine("orchestrator.launch.ssh.ssh_engine:SshEngine", listed=True),
}


class ResourceSettings(Settings):
    """What one node of a role needs."""

    cores: Annotated[float, Field(gt=0)] = 0.4
    """processor cores"""
    memory: Size = 512 * 2**20
    """memory"""
    gpus: Annotated[int, Field(ge=0, le=1)] = 0
    """1: it has a GPU to itself, and goes only where one is free; 0: agents share the GPUs of their host in turns, where there are any"""


class EnvironmentResourceSettings(ResourceSettings):
    """What an environment server needs."""

    memory: Size = 256 * 2**20
    """memory"""


class ResourcesSettings(Settings):
    """What nodes need, by role."""

    agent: ResourceSettings = ResourceSettings()
    """each agent"""
    env: EnvironmentResourceSettings = EnvironmentResourceSettings()
    """the environment server"""


class PlacementSettings(Settings):
    """Which node runs on which slot."""

    policy: Literal["pack", "spread"] = "pack"
    """pack fills one slot after the other, spread fills all evenly"""
    pins: dict[str, str] = {}
    """node name or glob to slot name, or to labels (zone=west)"""
    relocate: bool = True
    """nodes of a host that is lost go to the others, from their last checkpoints; false: the run ends"""


class RaySettings(Settings):
    """A Ray cluster that runs already."""

    address: str = "auto"
    """of the cluster's head, as `ray start` prints it (192.0.2.1:6379); auto: the cluster that this machine belongs to"""
    strategy: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] = "STRICT_SPREAD"
    """how Ray distributes the hosts over its nodes"""
    cores: Annotated[float, Field(gt=0)] | None = None
    """processor cores that each host asks Ray for; null: what its nodes need by `launch.resources`, divided by the number of hosts"""
    memory: Size | None = None
    """memory that each host asks Ray for; null: what its nodes need, and those of one lost host where the cluster has room for it"""
    gpus: Annotated[int, Field(ge=0)] = 0
    """GPUs that each host asks Ray for; 0: as many as its nodes need to themselves"""
    resources: dict[str, float] = {}
    """resources of your own that each host asks for, by name: {big_disk: 1}"""


class SlurmSettings(Settings):
    """An allocation of Slurm: the one that this process runs in already, or a job that is submitted."""

    partition: str | None = None
    """null: the cluster's default"""
    time: Duration | None = None
    """longest time of the job; null: the partition's limit"""
    account: str | None = None
    """who pays; null: your default account"""
    cores: Annotated[int, Field(ge=1)] | None = None
    """processor cores on each node; null: what its share of the run needs"""
    memory: Size | None = None
    """memory on each node; null: what its share of the run needs, and room for that of a host that is lost"""
    gres: str | None = None
    """generic resources of each node, as Slurm writes them: gpu:2; null: GPUs, where launch.resources.agent.gpus asks for them"""
    extra: list[str] = []
    """further options of sbatch: ["--constraint=fast"]"""


class SshHostSettings(Settings):
    """One machine that ssh reaches."""

    name: NodeName
    """its name in the run"""
    ssh: str
    """destination, as in your ssh configuration: user@host, or a name of ~/.ssh/config"""
    python: str = "python3"
    """Python there in which this package is installed"""
    bind: str = ""
    """address that its nodes are bound to; empty: the one by which it reaches this machine"""
    advertise: str = ""
    """address or name by which the others reach it; empty: the bound one"""
    cores: Annotated[float, Field(gt=0)] | None = None
    """processor cores to use there; null: all"""
    memory: Size | None = None
    """memory to use there; null: all"""
    gpus: Annotated[int, Field(ge=0)] | None = None
    """GPUs to use there; null: all"""
    labels: dict[str, str] = {}
    """facts that pins can ask for: {zone: west}"""


class SshSettings(Settings):
    """Machines of your own, reached by your own ssh."""

    hosts: list[SshHostSettings] = []
    """the machines; one host process runs on each"""
    options: list[str] = []
    """further options of ssh: ["-F", "cluster.conf"]"""
    connect_timeout: Annotated[Duration, Field(gt=0)] = 10.0
    """time in which a machine must answer before anything is started"""


class LaunchSettings(Settings):
    """Where and how processes are started."""

    engine: Literal["local", "ray", "slurm", "ssh"] = "local"
    """who gives machines. local: this one; ray: a Ray cluster; slurm: an allocation of Slurm; ssh: those on a list"""
    hosts: Annotated[int, Field(ge=1, le=64)] = 1
    """hosts that the engine is asked for. local: they divide this machine, to rehearse what happens on several; ssh has a list"""
    ray: RaySettings = RaySettings()
    """for the engine ray"""
    slurm: SlurmSettings = SlurmSettings()
    """for the engine slurm"""
    ssh: SshSettings = SshSettings()
    """for the engine ssh"""
    home: Literal["auto", "shared", "server"] = "auto"
    """shared: hosts see the run's directory, and write there; server: each host has a directory of its own, and the run server a copy;
    auto: shared where a host sees it"""
    threads: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """computing threads of each node; auto: cores / nodes, at least 1"""
    resources: ResourcesSettings = ResourcesSettings()
    """what a node of each role needs"""
    placement: PlacementSettings = PlacementSettings()
    """which node runs where"""

    @property
    def one_machine(self) -> bool:
        """All hosts are on the machine of the run server."""
        return ENGINES[self.engine].one_machine

    @property
    def lists_hosts(self) -> bool:
        """The configuration lists the hosts of the engine."""
        return ENGINES[self.engine].listed

    def host_names(self) -> list[str] | None:
        """Names of the hosts of a run, None where only the engine will know them."""
        if self.lists_hosts:
            return [host.name for host in self.ssh.hosts]
        if not self.one_machine:
            return None
        return [self.engine] if self.hosts == 1 else [f"{self.engine}-{i}" for i in range(self.hosts)]

    @property
    def host_count(self) -> int:
        """Hosts of a run."""
        return len(self.ssh.hosts) if self.lists_hosts else self.hosts
