"""The pods of a run: how many of which size, and the commands that run in them.

The hosts of a run are pods, all alike, since one Indexed Job has one template. The run server can not lead hosts in other pods yet. That
takes a launch engine that waits for hosts which start by themselves (`ENGINE`) and prove by the token in `TOKEN_FILE` that they belong to
the run, and a run server that binds its telemetry to `TELEMETRY_PORT`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from orchestrator.config.configuration import Configuration
from orchestrator.launch.engine import Invitation
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
    """The pods of one run: `hosts` host pods with the cores and memory (bytes) of `slot`, and one of the run server. `nodes` maps the
    names of nodes to slot names; with 0 hosts all nodes run in the pod of the run server."""

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


ENGINE: str | None = None
"""launch engine by which the run server waits for invited hosts; None: not implemented"""
CONTROL_PORT = 7400
TELEMETRY_PORT = 7401
RUNS = "/runs"
CONFIG = "/etc/murmuration/config.yaml"
SECRET = "/etc/murmuration-secret"
INVITATIONS = "/etc/murmuration-invitations"
PRIVATE = "/run/murmuration"
TOKEN = "control.json"
TOKEN_FILE = f"{PRIVATE}/{TOKEN}"

NOT_YET = (
    "This version's run server can't lead hosts in other pods yet: launch engines start their hosts themselves, and none waits for hosts "
    "that come by themselves; the keys of encrypted connections are made by each process as it starts, so that no file can hold them "
    "beforehand; and telemetry takes a free port. "
    "The host pods send `Hello` and end after `supervision.orphan` without an answer. What works is an export with --hosts 0."
)


def notes(hosts: int) -> list[str]:
    """What the user of an export must know before it is applied."""
    return [NOT_YET] if hosts and ENGINE is None else []


def server_script(run: str, hosts: int) -> str:
    """Of the run server's pod: begin the run, or go on with it where an earlier pod left it. `up` is the container's process, so that the
    signal by which a pod is ended stops the run in order, with checkpoints."""
    overrides = ""
    if hosts:
        overrides = f" network.control_port={CONTROL_PORT}"
        if ENGINE is not None:
            overrides += f" network.bind=0.0.0.0 launch.engine={ENGINE} launch.hosts={hosts}"
    return f"""set -eu
umask 077
if [ -e {RUNS}/{run}/run.json ]; then
  exec orchestrate --runs-dir {RUNS} up --resume {run} --plain
fi
exec orchestrate --runs-dir {RUNS} up {CONFIG}{overrides} --name {run} --plain
"""


def host_script() -> str:
    """Of a host's pod: a token that only its owner can read, and the invitation with this pod's number on standard input."""
    return f"""set -eu
umask 077
cp {SECRET}/{TOKEN} {TOKEN_FILE}
exec orchestrate host - < {INVITATIONS}/host-"$JOB_COMPLETION_INDEX".json
"""


def invitations(configuration: Configuration, run: str, server: str, hosts: int) -> dict[str, str]:
    """File name to JSON, one for each host. `server`: name under which the run server's pod is found."""
    common = Invitation(
        run=run,
        directory=f"{RUNS}/{run}",
        control=f"tcp://{server}:{CONTROL_PORT}",
        telemetry=f"tcp://{server}:{TELEMETRY_PORT}",
        token_file=TOKEN_FILE,
        host="",
        seed=configuration.seed,
        heartbeat=configuration.supervision.heartbeat,
        orphan=configuration.supervision.orphan,
        plugins=tuple(configuration.plugins),
    )
    return {f"{host_name(number)}.json": replace(common, host=host_name(number)).to_json() + "\n" for number in range(hosts)}
