"""Files that exist completely or do not exist."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

from protocols.faults.node_faults.disk import disk

OF_THE_MACHINE = ("usage.jsonl", "incarnations.jsonl", "links.jsonl")
"""what a node's directory holds about processes and their speed: no part of a run's result"""


def write_whole(path: Path, content: bytes) -> None:
    """Write beside `path`, force it to the disk, and rename it; a process killed meanwhile leaves `.NAME.tmp` behind."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        disk.write(file, content, durable=True)
    temporary.replace(path)


def sealed(state: Mapping[str, Any]) -> bytes:
    """A mapping as JSON with the checksum of its own text, `crc32`, so that damage on the disk is not taken for the truth."""
    return json.dumps({**state, "crc32": _checksum(state)}).encode()


def unsealed(content: bytes) -> dict[str, Any]:
    """The mapping that `sealed` has written. `ValueError` where it is not whole."""
    state = json.loads(content)
    if not isinstance(state, dict) or state.pop("crc32", None) != _checksum(state):
        raise ValueError("its checksum differs")
    return state


def _checksum(state: Mapping[str, Any]) -> int:
    return crc32(json.dumps(state, sort_keys=True).encode())


def force_names(directory: Path) -> None:
    """Force the names in a directory to the disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def kept_sizes(directory: Path) -> dict[str, int]:
    """Sizes of the files that grow while a node runs and depend on the run alone (`*.jsonl` but those of the machine). They are stored with
    a checkpoint, so that a run that continues from it can drop what was written later."""
    return {path.name: path.stat().st_size for path in sorted(directory.glob("*.jsonl")) if path.name not in OF_THE_MACHINE}


def sweep_orphans(directory: Path) -> None:
    """Remove files that were being written when a process was killed."""
    for orphan in directory.glob(".*.tmp"):
        orphan.unlink(missing_ok=True)
