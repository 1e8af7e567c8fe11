"""What a run server that was killed has left running, from the run's directory: enough for another one to take over the processes.

Hosts and nodes go on without a run server for `supervision.orphan`. Another one that has the same addresses and token receives their
`Hello` (`protocols.conversations.membership.run_server_contact`) and goes on leading them; no process is started again. This is for runs
by real time with all hosts on this machine, in training or in the last evaluation, whose configuration stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.config.configuration import Configuration
from orchestrator.config.resolved_configuration import recorded
from orchestrator.launch.engine import engine_class
from orchestrator.launch.process_control import ProcessRecord, is_running, read_records
from orchestrator.results.run_files import read_json, read_lines
from orchestrator.run_server.hosts.run_nodes import ENVIRONMENT
from protocols.runtime.errors import AuthenticationError
from protocols.runtime.node_start import read_token


@dataclass(frozen=True)
class LivingRun:
    """Processes that go on without a run server, and where they look for one."""

    control: int
    telemetry: int
    """ports of its two channels"""
    token: str
    hosts: Mapping[str, ProcessRecord]
    placement: Mapping[str, str]
    """node to host"""
    incarnations: Mapping[str, int]
    """the newest of each node; its process may have ended since"""
    began: float
    """monotonic time of this machine at which training began, had it never been interrupted"""
    training_over: str
    """why training is over, in words; empty while it goes on"""


def find_living(directory: Path, configuration: Configuration) -> LivingRun | None:
    """What can be taken over in this directory, which must have no run server; None where the run must go on from its checkpoints."""
    launch = configuration.launch
    if configuration.clock != "wall" or configuration.encrypted or launch.home == "server" or not engine_class(launch.engine).adopts:
        return None
    state, control = read_json(directory / "run.json"), read_json(directory / "control.json")
    placement = {str(node): str(host) for node, host in read_json(directory / "placement.json").items()}
    incarnations = {name: _newest(directory, name) for name in [ENVIRONMENT, *configuration.agent_names()]}
    began = state.get("began")
    if not isinstance(began, (int, float)) or placement.keys() != incarnations.keys() or not all(incarnations.values()):
        return None
    newest = {record.name: record for record in read_records(directory)}
    hosts = {name: newest[name] for name in launch.host_names() or [] if name in newest and is_running(newest[name])}
    if not hosts or sorted(hosts) != sorted(launch.host_names() or []):
        return None
    try:
        token = read_token(directory / "control.json")
        endpoint, telemetry = (int(str(control[key]).rpartition(":")[2]) for key in ("endpoint", "telemetry"))
    except (AuthenticationError, KeyError, ValueError):
        return None
    return LivingRun(endpoint, telemetry, token, hosts, placement, incarnations, float(began), str(state.get("training_over") or ""))


def can_be_taken_over(directory: Path) -> bool:
    """Whether `find_living` finds something, by the configuration that the directory records."""
    try:
        return find_living(directory, recorded((directory / "config.json").read_bytes())) is not None
    except (OSError, ValueError):
        return False


def advice(directory: Path) -> str:
    """What to do about a run whose run server is gone."""
    name = directory.name
    if can_be_taken_over(directory):
        return f"its processes go on; take them over: orchestrate up --resume {name}, or end them: orchestrate down {name}"
    return f"clean up: orchestrate down {name}"


def _newest(directory: Path, node: str) -> int:
    lines = read_lines(directory / "nodes" / node / "incarnations.jsonl")
    return max((line["incarnation"] for line in lines if isinstance(line.get("incarnation"), int)), default=0)
