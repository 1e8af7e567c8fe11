"""What an error of the operating system in the run server means to a user: a full disk, too few descriptors, a run directory gone."""

from __future__ import annotations

import errno
import resource
import shutil
from pathlib import Path

import zmq

from protocols.runtime.errors import ResourceError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)
NEEDED_FILES = 256
"""descriptors with which a run of a few dozen nodes works"""
_FULL_BELOW = 64 * 1024
"""free bytes from which on a disk is not called full"""


def resource_error(error: Exception, directory: Path) -> ResourceError | None:
    """The error in words with its cure, exit code 6; None where the cause is another one, which deserves a traceback."""
    number = error.errno if isinstance(error, OSError | zmq.ZMQError) else None
    if number in _FULL:
        what = getattr(error, "filename", None) or "a file of the run"
        return ResourceError(
            f"the disk of {directory} is full: {what} could not be written. What the nodes wrote until then is there; later metrics, the "
            "summary and the plots are lost. "
            f"Make room, then go on from the checkpoints: orchestrate up --resume {directory.name}"
        )
    if number in _NO_DESCRIPTOR:
        return ResourceError(descriptors())
    if number in (errno.ENOENT, errno.ESTALE) and not (directory / "config.json").exists():
        return ResourceError(gone(directory))
    return None


def descriptors() -> str:
    """The limit of open files of this process, and the cure."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needs = f"it may open {limit} files, and a run needs at least {NEEDED_FILES}"
    return f"this process has no file descriptor left: {needs}. Allow more in the shell that starts the run: ulimit -n 4096"


def gone(directory: Path) -> str:
    """The run directory was moved or removed."""
    return (
        f"the run directory {directory} was moved or removed while the run went on, and its files with it. Leave it where it is until "
        "the run has ended; a run that was moved can be resumed at its new place: orchestrate up --resume NAME --runs-dir DIRECTORY"
    )


def why_gone(directory: Path) -> str | None:
    """Why a run server may have ended without a record: its directory is gone, or its disk is full. None for any other cause."""
    if not (directory / "config.json").exists():
        return gone(directory)
    if shutil.disk_usage(directory).free < _FULL_BELOW:
        return f"the disk of {directory} is full, so the end of the run could not be recorded; make room"
    return None
