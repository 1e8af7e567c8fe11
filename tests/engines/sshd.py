"""A real ssh server on every host of a site, with keys and configuration of its own; nothing of the user's is read or written."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.engines.site import Host
from tests.orchestrator.run_server.cluster import ROOT, eventually

_PRIVILEGES = Path("/run/sshd")
_SERVER = """
ListenAddress {address}:22
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
LogLevel VERBOSE
"""
_CLIENT = """
Host *
    User root
    IdentityFile {directory}/user_key
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile {directory}/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
"""


def why_no_sshd() -> str:
    """Why no ssh server can be started here; "" where one can."""
    missing = [tool for tool in ("ssh", "ssh-keygen", "sshd") if _path(tool) is None]
    return f"{', '.join(missing)} not installed (packages openssh-client, openssh-server)" if missing else ""


class SshServers:
    """Servers on all these hosts. `python(host)` is an interpreter there with this package and a directory for temporary files."""

    def __init__(self, hosts: Sequence[Host], directory: Path, known_names: Mapping[str, Path] | None = None) -> None:
        """`known_names`: by host, the file that is its own /etc/hosts."""
        self._hosts, self._directory, self._known_names = hosts, directory, known_names or {}
        self.client_configuration = directory / "client.conf"

    def set_up(self) -> None:
        """Make keys and configurations, and start the servers."""
        directory = self._directory
        for key in ("host_key", "user_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / key)], check=True, timeout=10)
        public = (directory / "host_key.pub").read_text()
        (directory / "known_hosts").write_text("".join(f"{host.name} {public}" for host in self._hosts))
        names = "".join(f"Host {host.name}\n    HostName {host.address}\n    HostKeyAlias {host.name}\n" for host in self._hosts)
        self.client_configuration.write_text(names + _CLIENT.format(directory=directory))
        for host in self._hosts:
            (directory / f"{host.name}.conf").write_text(_SERVER.format(address=host.address, directory=directory))
            temporary = directory / host.name
            temporary.mkdir()
            threads = "OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1"
            words = f'PYTHONPATH={ROOT} TMPDIR={temporary} {threads} {sys.executable} "$@"'
            self.python(host).write_text(f"#!/bin/sh\nexec env {words}\n")
            self.python(host).chmod(0o755)
            self.start(host)

    def python(self, host: Host) -> Path:
        return self._directory / f"python-{host.name}"

    def temporary(self, host: Host) -> Path:
        """Where processes started there by ssh keep temporary files."""
        return self._directory / host.name

    def start(self, host: Host) -> None:
        """Start the server of one host, again where its machine had died; ready when it answers."""
        _PRIVILEGES.mkdir(mode=0o755, exist_ok=True)
        server = _path("sshd")
        assert server is not None
        names = self._known_names.get(host.name)
        own = 'mount --bind "$0" /etc/hosts && exec "$@"'
        within = ["unshare", "--mount", "sh", "-c", own, str(names)] if names is not None else []
        host.run([*within, server, "-f", str(self._directory / f"{host.name}.conf"), "-E", str(self._directory / f"{host.name}.log")])
        eventually(f"the ssh server of {host.name} answers", lambda: self.call(host, "true") == 0)

    def call(self, host: Host, command: str) -> int:
        """The exit code of a command there, by ssh."""
        words = ["ssh", "-F", str(self.client_configuration), "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", host.name, command]
        return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=20).returncode


def _path(tool: str) -> str | None:
    return shutil.which(tool) or shutil.which(tool, path="/usr/sbin:/usr/local/sbin")
