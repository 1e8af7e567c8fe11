"""What an environment server keeps on disk to continue after a restart: counters in real time, checkpoints under the logical clock."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protocols.faults.node_faults.disk import disk, newest
from protocols.runtime.atomic_files import force_names, sealed, unsealed, write_whole
from protocols.runtime.errors import ResourceError

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
        """The newest intact set of counters; None without any. Damaged files are skipped with a warning."""
        for path in (self.path, self._previous):
            if not path.exists():
                continue
            try:
                return unsealed(path.read_bytes())
            except (OSError, ValueError) as error:
                logger.warning("%s cannot be read: %s", path, error)
        return None


class IntervalCheckpoints:
    """`TICK.json` in a directory; the newest `keep` stay."""

    def __init__(self, directory: Path, keep: int) -> None:
        self._directory = directory
        self._keep = keep

    def write(self, tick: int, state: Mapping[str, Any]) -> None:
        """Write the state of `tick` to a file of its own, and remove all but the newest files. `OSError` where the disk refuses it."""
        self._directory.mkdir(parents=True, exist_ok=True)
        write_whole(self._directory / f"{tick:012d}.json", sealed(state))
        force_names(self._directory)
        for old in sorted(self._directory.glob("*.json"))[: -self._keep]:
            old.unlink()

    def read(self, tick: int) -> dict[str, Any]:
        """The state of that tick. `ResourceError` where it can't be read."""
        path = self._directory / f"{tick:012d}.json"
        try:
            return unsealed(path.read_bytes())
        except (OSError, ValueError) as error:
            raise ResourceError(f"the checkpoint {path}, from which the run goes on, can't be read: {error}") from None

    def newest(self) -> Path | None:
        """The newest file, if there is one."""
        return newest(self._directory, "*.json")
