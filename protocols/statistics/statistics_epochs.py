"""What averaging messages of statistics carry as their layout: an epoch of a basis, and never what those of parameters carry."""

from __future__ import annotations

from hashlib import blake2b

PREFIX = "statistics/"


def layout_of(basis: str, epoch: int) -> str:
    """The layout of an epoch."""
    return f"{PREFIX}{epoch}/{blake2b(basis.encode(), digest_size=16).hexdigest()}"


def epoch_of(layout: str, basis: str) -> int | None:
    """The epoch of a layout; None for another basis."""
    parts = layout.removeprefix(PREFIX).split("/")
    if not parts[0].isdigit() or len(parts[0]) > 18 or layout != layout_of(basis, int(parts[0])):
        return None
    return int(parts[0])
