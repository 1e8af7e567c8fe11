"""What machines answered before anything is started: what is wrong with them, in words with the cure, and by which address they see us."""

from __future__ import annotations

import ipaddress
import subprocess
from collections.abc import Sequence

import psutil

from orchestrator import __version__
from orchestrator.config.configuration import Configuration
from orchestrator.launch.addresses import address_towards
from orchestrator.launch.ssh.remote_task import sources_digest
from orchestrator.launch.ssh.ssh_calls import NO_WAY, SshAnswer, SshMachine
from protocols.runtime.errors import ResourceError

_RESOLVE = 5.0
_NOT_FOUND = (126, 127)


def complaints(configuration: Configuration, machines: Sequence[SshMachine], answers: Sequence[SshAnswer]) -> list[str]:
    """What would fail, one text a machine."""
    found = []
    ours = sources_digest()
    for machine, answer in zip(machines, answers, strict=True):
        if text := _complaint(machine, answer, ours, configuration.launch.ssh.connect_timeout):
            found.append(f"host {machine.name} (ssh {machine.ssh}): {text}")
    return found


def _complaint(machine: SshMachine, answer: SshAnswer, ours: str, connect_timeout: float) -> str:
    said, reinstall = answer.complaint, f"install the version of this machine there, in the environment of {machine.python}"
    if answer.found is not None:
        version, sources = answer.found.get("version"), answer.found.get("sources")
        if version != __version__:
            return f"it has version {version} of this package, this machine {__version__}; {reinstall}"
        differs = f"its version {version} of this package has other modules than this machine's (digest {sources}, here {ours})"
        return "" if sources == ours else f"{differs}; {reinstall}"
    if answer.code is None:
        return f"{said}; try by hand: ssh -o BatchMode=yes {machine.ssh} true. launch.ssh.connect_timeout is {connect_timeout:g} s"
    if answer.code == NO_WAY:
        return f"{said.rstrip('.')}; this must work without a question: ssh -o BatchMode=yes {machine.ssh} true"
    if answer.code in _NOT_FOUND:
        return f"there is no {machine.python} ({said}); write launch.ssh.hosts.python, the Python in which this package is installed there"
    if "No module named" in said or "Error while finding module" in said:
        return f"{machine.python} there lacks this package or what it needs ({said}); {reinstall}"
    return f"{machine.python} there can't run this package ({said}); {reinstall}"


def address_for(configuration: Configuration, called_from: Sequence[str]) -> str:
    """The address of this machine by which the others reach it: that from which they say they were called, where it is ours, else the one
    from which datagrams to them would leave. `ResourceError` where these differ."""
    own = {address.address.partition("%")[0] for card in psutil.net_if_addrs().values() for address in card}
    # Behind a jump host or translated addresses they were called from somewhere else.
    ours = {address for address in called_from if address in own and not ipaddress.ip_address(address).is_link_local}
    if not ours or "" in called_from:
        settings = configuration.launch.ssh
        ours |= {address_towards(_name_behind(host.ssh, settings.options)) for host in settings.hosts}
    outside = {address for address in ours if not ipaddress.ip_address(address).is_loopback}
    if len(outside) > 1:
        raise ResourceError(
            f"the machines reach this one by several addresses ({', '.join(sorted(outside))}): write network.bind=0.0.0.0, and in "
            "network.advertise one address or name by which all of them reach it"
        )
    return (outside or ours).pop()


def _name_behind(destination: str, options: Sequence[str]) -> str:
    """Host name or address that ssh would connect to."""
    try:
        done = subprocess.run(["ssh", "-G", *options, "--", destination], capture_output=True, text=True, timeout=_RESOLVE, check=True)
    except (OSError, subprocess.SubprocessError):
        return destination.rpartition("@")[2]
    names = [line.split(" ", 1)[1] for line in done.stdout.splitlines() if line.startswith("hostname ")]
    return names[0] if names else destination.rpartition("@")[2]
