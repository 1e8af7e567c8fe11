"""Checkpoints of the environment server under the logical clock: its counters at the ticks at which everybody makes one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protocols.faults.node_faults.disk import newest
from protocols.runtime.atomic_files import force_names, sealed, unsealed, write_whole
from protocols.runtime.errors import ResourceError


class IntervalCheckpoints:
    """`TICK.json` in a directory; the newest `keep` stay."""

    def __init__(self, directory: Path, keep: int) -> None:
        self._directory = directory
        self._keep = keep

    def write(self, tick: int, state: Mapping[str, Any]) -> None:
        """Keep the state of a tick."""
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
