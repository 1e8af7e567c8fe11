"""What an environment server remembers over its own death: a few numbers, the newest two sets of them.

Arenas themselves start anew. Each set has a checksum, so that one that was damaged on the disk is not taken for the truth.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protocols.faults.node_faults.disk import disk
from protocols.runtime.atomic_files import sealed, unsealed

logger = logging.getLogger(__name__)


class ServerCounters:
    """`counters.json` and, from the time before, `counters.previous.json`."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / "counters.json"
        self._previous = directory / "counters.previous.json"

    def write(self, counters: Mapping[str, Any]) -> None:
        """Replace the newest set. `OSError` where the disk does not take it; the old one stays then."""
        temporary = self.path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            disk.write(file, sealed(counters))
        if self.path.exists():
            self.path.replace(self._previous)
        temporary.replace(self.path)

    def read(self) -> dict[str, Any] | None:
        """The newest set that is whole; None where there is none."""
        for path in (self.path, self._previous):
            if not path.exists():
                continue
            try:
                return unsealed(path.read_bytes())
            except (OSError, ValueError) as error:
                logger.warning("%s can't be read: %s", path, error)
        return None
