"""What runs in the pods, in the words of our own command line; and what this version's command line can't do yet.

Whoever gives the run server an engine that waits for hosts which come by themselves names it in `ENGINE`, lets them prove by the token in
`TOKEN_FILE` that they belong to the run and exchange keys, and binds its telemetry to `TELEMETRY_PORT`: then `NOT_YET` has nothing more
to say.
"""

from __future__ import annotations

from dataclasses import replace

from orchestrator.config.configuration import Configuration
from orchestrator.launch.engine import Invitation
from orchestrator.launch.kubernetes.pods import host_name

ENGINE: str | None = None
"""launch engine by which the run server waits for invited hosts; None while there is none"""
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
    "The host pods say hello and end after `supervision.orphan` without an answer. What runs today is an export with --hosts 0."
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
