"""Checkpoints: whole or absent.

One checkpoint is `STEP.safetensors` (all arrays) and `STEP.json` (counters, random states, and the SHA-256 of the former), each written to
a temporary file in the same directory, flushed to the disk and renamed; the manifest is written last, so that no manifest exists without
its arrays. Names only rise: where the newest one has this step (nothing was learnt since) or a later one (which was damaged, and skipped at
the restart), the next number is taken, and the manifest contains the step. `LATEST` names the newest. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from protocols.runtime.atomic_files import force_names, sweep_orphans, write_whole
from protocols.runtime.errors import ResourceError

logger = logging.getLogger(__name__)
FORMAT = 2


def write(directory: Path, step: int, tensors: Mapping[str, torch.Tensor], manifest: Mapping[str, Any], keep: int) -> Path:
    """Write a checkpoint and remove all but the newest `keep`. Returns the manifest's path."""
    directory.mkdir(parents=True, exist_ok=True)
    # Conversations keep times among their state, some of which are infinite by design.
    learnt = {name: tensor for name, tensor in tensors.items() if not name.startswith(("averaging/", "statistics/"))}
    diverged = [name for name, tensor in learnt.items() if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())]
    if diverged:
        raise FloatingPointError(
            f"learning has diverged: {', '.join(diverged)} hold numbers that are not finite; no checkpoint is made of them"
        )
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    newest = max((int(path.stem) for path in directory.glob("*.json")), default=-1)
    name = f"{max(step, newest + 1):012d}"
    write_whole(directory / f"{name}.safetensors", content)
    entry = {"format": FORMAT, "step": step, "sha256": sha256(content).hexdigest(), **manifest}
    write_whole(directory / f"{name}.json", json.dumps(entry).encode())
    write_whole(directory / "LATEST", name.encode())
    force_names(directory)
    for old in sorted(directory.glob("*.json"))[:-keep]:
        old.unlink()
        old.with_suffix(".safetensors").unlink(missing_ok=True)
    return directory / f"{name}.json"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory: tensors by name, and a manifest of JSON values (counters, digests, versions)."""

    tensors: dict[str, torch.Tensor]
    manifest: dict[str, Any]


def read_newest(directory: Path) -> Checkpoint | None:
    """The newest undamaged checkpoint; None if the directory has none.

    Damaged ones are skipped with a warning; if all are damaged, `ResourceError`, since a new start would lose what was learnt.
    """
    sweep_orphans(directory)
    found = sorted(directory.glob("*.json"), reverse=True)
    troubles = []
    for path in found:
        try:
            return _read(path)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            troubles.append(f"{path.name}: {error}")
            logger.warning("the checkpoint %s can't be read: %s", path, error)
    if not found:
        return None
    raise ResourceError(
        f"no checkpoint in {directory} can be read ({'; '.join(troubles)}); restore one, or remove the directory to begin anew"
    )


def read_initial(directory: Path) -> Checkpoint:
    """The newest checkpoint of another run (`init_from`). `ResourceError` where it has none."""
    if (found := read_newest(directory)) is None:
        raise ResourceError(f"init_from: {directory} has no checkpoint; name a run that has ended in order")
    return found


def read(path: Path) -> Checkpoint:
    """One checkpoint, by its manifest or its arrays. `ResourceError` where it can't be read."""
    try:
        return _read(path.with_suffix(".json"))
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ResourceError(f"the checkpoint {path} can't be read: {error}; choose another one of {path.parent}") from None


def _read(path: Path) -> Checkpoint:
    manifest: dict[str, Any] = json.loads(path.read_text())
    if manifest["format"] != FORMAT:
        raise ValueError(f"format {manifest['format']}, this version reads {FORMAT}")
    content = path.with_suffix(".safetensors").read_bytes()
    if sha256(content).hexdigest() != manifest["sha256"]:
        raise ValueError("its arrays are not those that were written (SHA-256 differs)")
    return Checkpoint(load(content), manifest)
