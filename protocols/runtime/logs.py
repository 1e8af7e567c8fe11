"""The one form of log lines that every process of a run writes, and its reader.

`2026-11-21T14:02:52.118Z LEVEL logger message`: time in UTC with milliseconds, so that lines of several processes can be merged by
text. Lines without such a beginning (tracebacks, output of libraries) belong to the record before them.
"""

from __future__ import annotations

import logging
import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TextIO

ROTATE_AT = 64 * 2**20
"""bytes after which a log file that its own process writes is renamed to `.1`"""
ROTATED = 3
"""renamed files kept"""

_LINE = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})Z ([A-Z]+) (\S+) (.*)$", re.DOTALL)


class Formatter(logging.Formatter):
    """Writes `2026-11-21T14:02:52.118Z LEVEL logger message`; tracebacks follow on lines of their own."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - the standard library's name
        """UTC, ISO 8601, milliseconds."""
        return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(record.msecs):03d}Z"


def configure(level: str = "INFO", stream: TextIO | None = None, path: Path | None = None) -> logging.Handler:
    """Send all log records of this process to `path` (rotated) or else to `stream` (standard error), in the common form.

    Handlers that were there before are removed: a forked process must not write into its parent's file.
    """
    handler: logging.Handler
    if path is not None:
        handler = RotatingFileHandler(path, maxBytes=ROTATE_AT, backupCount=ROTATED, encoding="utf-8", delay=False)
    else:
        handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(Formatter())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    return handler


@dataclass(frozen=True)
class LogLine:
    """One record as read back; `time` in UTC, `text` may hold further lines."""

    time: datetime
    level: str
    logger: str
    text: str

    @property
    def severity(self) -> int:
        """The level as a number of the standard library, 20 for unknown names."""
        value = logging.getLevelName(self.level)
        return value if isinstance(value, int) else logging.INFO


def parse(line: str) -> LogLine | None:
    """The record that begins with this line, or None for a continuation."""
    match = _LINE.match(line.rstrip("\n"))
    if match is None:
        return None
    try:
        time = datetime.strptime(match[1], "%Y-%m-%dT%H:%M:%S.%f").replace(tzinfo=UTC)
    except ValueError:
        return None
    return LogLine(time, match[2], match[3], match[4])
