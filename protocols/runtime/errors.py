"""Errors of the wire and the exit codes every process of a run uses."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How a process ended; a supervisor restarts only `CRASH` and deaths by signal."""

    OK = 0
    EXPECTATION_FAILED = 1
    USAGE = 2
    CONFIG = 3
    AUTHENTICATION = 4
    SCHEMA = 5
    RESOURCES = 6
    ENVIRONMENT = 7
    CRASH = 10
    ABORTED = 20
    INTERRUPTED = 130


NEVER_RESTARTED = frozenset(
    {ExitCode.USAGE, ExitCode.CONFIG, ExitCode.AUTHENTICATION, ExitCode.SCHEMA, ExitCode.RESOURCES, ExitCode.ENVIRONMENT}
)
"""exit codes of mistakes that the next start would only repeat"""


class MurmurationError(Exception):
    """Base of every error that a user can cause; `exit_code` is what the process ends with."""

    exit_code: ExitCode = ExitCode.CRASH


class UsageError(MurmurationError):
    """The command line names something that does not exist or does not fit."""

    exit_code = ExitCode.USAGE


class ConfigurationError(MurmurationError):
    """The configuration breaks a rule; the text names the place, the rule and the cure."""

    exit_code = ExitCode.CONFIG


class ResourceError(MurmurationError):
    """Something outside is missing: a package, a port, memory, a file."""

    exit_code = ExitCode.RESOURCES


class AuthenticationError(MurmurationError):
    """A peer could not prove that it belongs to the run."""

    exit_code = ExitCode.AUTHENTICATION


class SchemaError(MurmurationError):
    """A peer or a file has another version."""

    exit_code = ExitCode.SCHEMA


class EnvironmentFailure(MurmurationError):
    """The environment returned what no run can use, for example a reward that is not finite; the text names it and the cure."""

    exit_code = ExitCode.ENVIRONMENT


_KINDS = {
    kind.exit_code: kind for kind in (UsageError, ConfigurationError, ResourceError, AuthenticationError, SchemaError, EnvironmentFailure)
}


def error_of(code: int, text: str) -> MurmurationError:
    """The error that another process has ended with, or refuses with, by its exit code; a crash for what is none of an error."""
    known = ExitCode(code) if code in set(ExitCode) and code else ExitCode.CRASH
    error = _KINDS.get(known, MurmurationError)(text)
    error.exit_code = known
    return error


CODES: dict[str, str] = {
    "E_VERSION": "another major version of the protocol",
    "E_SCHEMA": "another schema of messages: both sides must run the same version",
    "E_AUTH": "not permitted for the sender: no token, a foreign name, a name in use over another connection, or a type of message that "
    "nodes of that role do not send here",
    "E_KEY": "the key of the connection does not belong to the sender that the message names",
    "E_REVOKED": "the key of the connection is not valid any more: its node is dead, or has a successor",
    "E_RUN": "a message of another run",
    "E_UNKNOWN_NODE": "from or for a node that this run does not have",
    "E_STALE_INC": "from an earlier incarnation of a node, or from one that was declared dead (counted as `rx.stale`)",
    "E_SIZE": "too many frames, or a header, frame or message that is too large",
    "E_DECODE": "the header is no message: malformed, unknown type or field, out of bounds, a key twice",
    "E_FRAME": "the arrays are not those described, or not those that the message must have",
    "E_SHARED": "an array in shared memory is gone, has another size, or is in no segment of frames",
    "E_NONFINITE": "an array holds NaN or an infinity",
    "E_RANGE": "an array from another agent holds a number above 1e15, or one to be averaged that is far from all numbers of the receiver",
    "E_AHEAD": "of a future tick, or from an incarnation of a node that the roster does not name yet",
    "E_BUSY": "no room for it now",
    "E_LATE": "too late to count",
    "E_ABORT": "the conversation it belongs to was given up",
    "E_RATE": "more messages or bytes a second than a source may send",
}
"""what every code of `BadMessage` means"""


class BadMessage(MurmurationError):
    """Bytes from a peer break a rule of the wire format; `code` is one of `CODES`."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class InvariantError(MurmurationError):
    """What must be true whatever happens is not: to stop is better than to go on with wrong numbers."""


class Backpressure(MurmurationError):
    """The bounded send queue of a destination is full; the caller decides what to drop."""
