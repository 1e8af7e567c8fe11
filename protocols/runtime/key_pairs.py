"""Key pairs of processes (CURVE: Curve25519, as libzmq has it), and files that only their owner may read.

Every process makes its own pair, in memory. Others receive the public half; the secret one is in no argument list, no
environment, no message and no log. It is on a disk in one case only: command lines of the same user must be able to reach a run that
another process leads, and find a pair made for them in the run's `.keys/` (mode 0700, files 0600).
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path

from protocols.runtime.errors import AuthenticationError

KEY_LENGTH = 40
"""characters of a key as text (Z85: 32 bytes, five characters for four of them)"""


@dataclass(frozen=True)
class KeyPair:
    """Both halves as text (Z85). The secret one is in no representation of the object."""

    public: str
    secret: str = field(repr=False)

    @staticmethod
    def make() -> KeyPair:
        """A new pair from the system's source of randomness."""
        import zmq

        public, secret = zmq.curve_keypair()
        return KeyPair(public.decode("ascii"), secret.decode("ascii"))


def check_private(path: Path) -> None:
    """`AuthenticationError`, which names the file and the cure, unless it belongs to this user and no other user may read or change it.

    A file must be a plain one, no link to elsewhere; a directory may be given too.
    """
    try:
        status = path.lstat()
    except OSError as error:
        raise AuthenticationError(f"{path} can't be read: {error.strerror}") from None
    directory = stat.S_ISDIR(status.st_mode)
    if not directory and not stat.S_ISREG(status.st_mode):
        raise AuthenticationError(f"{path} is no plain file; secrets are read from no link, pipe or device: remove it")
    if status.st_uid != os.geteuid():
        raise AuthenticationError(
            f"{path} belongs to another user (number {status.st_uid}), who could know what is in it; start the run anew"
        )
    if status.st_mode & 0o077:
        cure = f"chmod {'700' if directory else '600'} {path}"
        raise AuthenticationError(f"{path} is open to other users (mode {stat.S_IMODE(status.st_mode):o}); make it private: {cure}")


def write_pair(path: Path, pair: KeyPair) -> None:
    """Write a pair to a new file with mode 0600 in a directory with mode 0700, which is made if it is absent and checked if it is there."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    check_private(path.parent)
    path.unlink(missing_ok=True)
    # Exclusively: a link that another user has created meanwhile is not followed.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        json.dump({"public": pair.public, "secret": pair.secret}, file)


def read_pair(path: Path) -> KeyPair:
    """Read it back. `AuthenticationError` when it is missing, when others may read it or its directory, or when it holds no pair."""
    check_private(path.parent)
    check_private(path)
    try:
        content = json.loads(path.read_text(encoding="ascii"))
        pair = KeyPair(str(content["public"]), str(content["secret"]))
    except (OSError, ValueError, KeyError, TypeError):
        # Nothing of the content may get into the message, not even of one that is damaged.
        raise AuthenticationError(f"no key pair in {path}; it is written when a run starts: start the run anew") from None
    if len(pair.public) != KEY_LENGTH or len(pair.secret) != KEY_LENGTH:
        raise AuthenticationError(f"no key pair in {path}: its keys have not {KEY_LENGTH} characters; start the run anew")
    return pair


def remove_keys(directory: Path) -> None:
    """Remove a directory of keys with all that is in it; nothing if it is not there."""
    shutil.rmtree(directory, ignore_errors=True)
