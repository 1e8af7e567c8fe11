"""Where a run goes on that was interrupted.

Under the wall clock every node goes on from its own newest checkpoint, and there is nothing to prepare. Under the logical clock all nodes
go back to the newest tick at which all of them have a whole checkpoint, and what their files hold beyond it is dropped: it will happen
again, in the same way. A finished run that is given more to do goes back to before its end, for a longer one would have gone on there
without a last evaluation.
"""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

from orchestrator.results.metric_series import VIRTUAL
from orchestrator.results.run_files import read_json
from orchestrator.run_server.metrics.metrics_collector import RUN_NODE
from protocols.runtime.atomic_files import OF_THE_MACHINE, unsealed
from protocols.runtime.clock import TrainingLimits
from protocols.runtime.errors import ResourceError

ENVIRONMENT = "env-0"
FROM_THE_START = -1


def go_back(directory: Path, agents: list[str], tick_length: float, limits: TrainingLimits) -> int:
    """Bring the nodes' files to the newest tick of which all nodes have a checkpoint, and return it; -1 is the beginning of the run.

    A checkpoint counts where the environment server has it, and each agent that took part then, with arrays that are as they were written.
    One that was made after training had ended counts where training is over by the `limits` of now too; else only where there is no other.
    Metrics of the whole run, which the run server makes of the agents', are dropped beyond the virtual time of that tick, which comes
    every `tick_length` seconds.
    """
    nodes = directory / "nodes"
    ticks = sorted((int(path.stem) for path in (nodes / ENVIRONMENT / "checkpoints").glob("*.json")), reverse=True)
    whole = ((tick, state) for tick in ticks if (state := _whole(nodes, tick)) is not None)
    tick, state = next(whole, (FROM_THE_START, None))
    if state is not None and _ends_too_early(state, tick, limits):
        tick = next((earlier for earlier, state in whole if not _ends_too_early(state, earlier, limits)), tick)
    for name in [ENVIRONMENT, *agents]:
        _forget(nodes / name, tick)
    _forget_since(nodes / RUN_NODE / "metrics.jsonl", tick * tick_length)
    return tick


def _manifest(node: Path, tick: int) -> dict[str, Any]:
    return read_json(node / "checkpoints" / f"{tick:012d}.json")


def _whole(nodes: Path, tick: int) -> dict[str, Any] | None:
    """The environment server's part of a checkpoint that is whole."""
    try:
        state = unsealed((nodes / ENVIRONMENT / "checkpoints" / f"{tick:012d}.json").read_bytes())
    except (OSError, ValueError):
        return None
    return state if all(_has(nodes / agent, tick) for agent in state["present"]) else None


def _ends_too_early(state: dict[str, Any], tick: int, limits: TrainingLimits) -> bool:
    """Whether it was made after the end of training, and training ends later now."""
    return not state["course"]["training"] and limits.still_over(state, tick) is None


def _has(node: Path, tick: int) -> bool:
    try:
        content = (node / "checkpoints" / f"{tick:012d}.safetensors").read_bytes()
    except OSError:
        return False
    return sha256(content).hexdigest() == _manifest(node, tick).get("sha256")


def _forget(node: Path, tick: int) -> None:
    """Remove a node's checkpoints after a tick, and cut its files to the lengths that they had then."""
    for path in (node / "checkpoints").glob("*.json"):
        if int(path.stem) > tick:
            path.unlink()
            path.with_suffix(".safetensors").unlink(missing_ok=True)
    newest = max((int(path.stem) for path in (node / "checkpoints").glob("*.json")), default=FROM_THE_START)
    manifest = _manifest(node, newest)
    if newest == tick or not manifest:
        sizes = manifest.get("files", {})
        for path in node.glob("*.jsonl"):
            if path.name not in OF_THE_MACHINE:
                _cut(path, int(sizes.get(path.name, 0)))


def _forget_since(path: Path, time: float) -> None:
    """Drop the lines of later virtual times from a file of metrics; earlier versions wrote times of day, and those stay. The file itself
    stays too: it may be open already, to be appended to. Lines are not in order of time, since reports come late."""
    try:
        with path.open("r+b") as file:
            lines = file.readlines()
            stays = [_is_before(line, time) for line in lines]
            if all(stays):
                return
            first = stays.index(False)
            file.seek(sum(map(len, lines[:first])))
            file.writelines(line for line, stay in zip(lines[first:], stays[first:], strict=True) if stay)
            file.truncate()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ResourceError(f"{path} can't be cut to where the run goes on: {error.strerror}") from None


def _is_before(line: bytes, time: float) -> bool:
    try:
        t = float(json.loads(line)["t"])
    except (ValueError, TypeError, KeyError):
        return False
    return t <= time + 1e-6 or t >= VIRTUAL


def _cut(path: Path, size: int) -> None:
    try:
        os.truncate(path, min(size, path.stat().st_size))
    except OSError as error:
        raise ResourceError(f"{path} can't be cut to where the run goes on: {error.strerror}") from None
