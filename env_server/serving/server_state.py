"""What an environment server keeps on disk to continue after a restart: counters in real time, checkpoints under the logical clock."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from struct import Struct
from typing import Any
from zlib import crc32

from protocols.faults.node_faults.disk import disk, newest
from protocols.runtime.atomic_files import force_names, sealed, unsealed, write_whole
from protocols.runtime.errors import ResourceError

logger = logging.getLogger(__name__)
_TICK = ("steps", "episodes", "peer_lost", "unfinished", "dropped")
_COUNTS, _SUM = Struct(f"<{len(_TICK)}q"), Struct("<I")


class ServerCounters:
    """`counters.json` and, from the time before, `counters.previous.json`; and `counters.tick`, with the counts of the newest tick.

    `note` is called in every tick before its results are sent, so no agent has an episode that the next process does not count. It is one
    system call without a flush to the disk: what it writes outlives the process, killed at any moment, but not a crash of the machine,
    after which the counts of the newest `write` are taken.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / "counters.json"
        self._previous = directory / "counters.previous.json"
        self._tick = directory / "counters.tick"
        self._file: int | None = None

    def note(self, counters: Mapping[str, int]) -> None:
        """Replace the counts of the newest tick. `OSError` where the disk does not take them."""
        if self._file is None:
            self._file = os.open(self._tick, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        counts = _COUNTS.pack(*(counters[name] for name in _TICK))
        os.pwrite(self._file, counts + _SUM.pack(crc32(counts)), 0)

    def close(self) -> None:
        """Release the file of `note`."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def write(self, counters: Mapping[str, Any]) -> None:
        """Replace the newest set. `OSError` where the disk does not take it; the old one stays then."""
        temporary = self.path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            disk.write(file, sealed(counters))
        if self.path.exists():
            self.path.replace(self._previous)
        temporary.replace(self.path)

    def read(self) -> dict[str, Any] | None:
        """The newest intact set of counters, with the counts of the newest tick; None without any. Damaged files are skipped with a
        warning."""
        kept, tick = self._kept(), self._newest_tick()
        if tick is None or (kept is not None and tick["steps"] < kept["steps"]):
            return kept
        return {**(kept or {}), **tick}

    def _newest_tick(self) -> dict[str, int] | None:
        """What `note` wrote last; None for no file, or one that is not whole."""
        try:
            written = self._tick.read_bytes()
        except FileNotFoundError:
            return None
        counts, check = written[: _COUNTS.size], written[_COUNTS.size :]
        if len(counts) < _COUNTS.size or check != _SUM.pack(crc32(counts)):
            logger.warning("%s cannot be read: it is not whole", self._tick)
            return None
        return dict(zip(_TICK, _COUNTS.unpack(counts), strict=True))

    def _kept(self) -> dict[str, Any] | None:
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
