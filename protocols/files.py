"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from protocols.faults.disk import disk


def write_whole(path: Path, content: bytes) -> None:
    """Write beside `path`, force it to the disk, and put it in place; whoever is killed meanwhile leaves `.NAME.tmp` behind."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        disk.write(file, content, durable=True)
    temporary.replace(path)


def force_names(directory: Path) -> None:
    """Force the names in a directory to the disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep_orphans(directory: Path) -> None:
    """Remove what was being written when somebody was killed."""
    for orphan in directory.glob(".*.tmp"):
        orphan.unlink(missing_ok=True)
