"""The record of a finished run that is given more to do: kept until the longer run has done more than is recorded.

`resume/outcome.json` has {"run": `run.json` as it was, "counts": steps and episodes, "config.yaml", "config.json": their texts}; under the
logical clock, where a resumed run first returns to an earlier checkpoint, `resume/nodes/` has the nodes' files as they were. The directory
`resume` exists from the start of the longer run to its end.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.results.run_files import read_json, write_json
from protocols.runtime.atomic_files import OF_THE_MACHINE, unsealed

_KEPT = "resume"
_RECORD = "outcome.json"
_CONFIGURATION = ("config.yaml", "config.json")
COUNTS = ("steps", "episodes")
ATTEMPT = "attempt"
"""key of `run.json`: how the longer run ended whose end the record does not show"""


def counts(directory: Path) -> dict[str, int]:
    """Training steps and episodes with which the run would go on, from the files of its environment server; zeros where it has none."""
    home = directory / "nodes" / "env-0"
    for path in (home / "counters.json", *sorted((home / "checkpoints").glob("*.json"), reverse=True)):
        try:
            state = unsealed(path.read_bytes())
            numbers = state.get("numbers", state)  # a checkpoint has more than counts
            return {name: int(numbers[name]) for name in COUNTS}
        except (OSError, ValueError, KeyError):
            continue
    return dict.fromkeys(COUNTS, 0)


def keep_outcome(directory: Path) -> None:
    """Keep the record of a run that is done, with its results; nothing is kept of other runs."""
    record = read_json(directory / "run.json")
    if record.get("state") != "DONE" or not (directory / "summary.json").is_file():
        return
    texts = {name: (directory / name).read_text(encoding="utf-8") for name in _CONFIGURATION}
    (directory / _KEPT).mkdir(exist_ok=True)
    write_json(directory / _KEPT / _RECORD, {"run": record, "counts": counts(directory), **texts})


def keep_node_files(directory: Path) -> None:
    """Keep the nodes' files too, where the record of the run is kept: they are about to be cut to an earlier checkpoint."""
    kept = directory / _KEPT
    if not (kept / _RECORD).is_file() or (kept / "nodes").exists():
        return
    incomplete = kept / "nodes.incomplete"
    shutil.rmtree(incomplete, ignore_errors=True)
    for node in sorted(path for path in (directory / "nodes").glob("*") if path.is_dir()):
        home = incomplete / node.name
        home.mkdir(parents=True)
        for path in _growing(node):
            shutil.copy2(path, home / path.name)
        if (node / "checkpoints").is_dir():  # written once each, and never changed
            shutil.copytree(node / "checkpoints", home / "checkpoints", copy_function=_link)
    incomplete.rename(kept / "nodes")


def restore_outcome(directory: Path, attempt: Mapping[str, Any]) -> bool:
    """Decide between the kept record, if there is one, and that of the longer run, which ended with `attempt` (`state`, `exit_code`,
    `reason`, `ended`). Where it did no more than what is recorded, and did not end DONE, the run is again as it was, with `attempt` in
    `run.json`, and the result is True. Nothing is kept after this."""
    kept, now = read_json(directory / _KEPT / _RECORD), read_json(directory / "run.json")
    restore = attempt.get("state") != "DONE" and not surpassed(directory)
    if restore:
        before: dict[str, Any] = kept["run"]
        _restore_node_files(directory)
        for name in _CONFIGURATION:
            _replace(directory / name, kept[name])
        # The number of a segment identifies its processes: none is used twice.
        write_json(directory / "run.json", {**before, "segment": now.get("segment", before.get("segment")), ATTEMPT: dict(attempt)})
    shutil.rmtree(directory / _KEPT, ignore_errors=True)
    return restore


def surpassed(directory: Path) -> bool:
    """Whether the run has done more than the kept record; True where none is kept."""
    before, now = read_json(directory / _KEPT / _RECORD).get("counts"), counts(directory)
    return before is None or any(now[name] > before[name] for name in COUNTS)


def is_kept(directory: Path) -> bool:
    """Whether the record of a finished run is kept: a longer run of it goes on, or could not come to its end."""
    return (directory / _KEPT / _RECORD).is_file()


def _growing(node: Path) -> list[Path]:
    return sorted(path for path in node.glob("*.jsonl") if path.name not in OF_THE_MACHINE)


def _restore_node_files(directory: Path) -> None:
    for home in sorted((directory / _KEPT / "nodes").glob("*")):
        node = directory / "nodes" / home.name
        for path in _growing(node):
            path.unlink()
        for path in _growing(home):
            path.replace(node / path.name)
        shutil.rmtree(node / "checkpoints", ignore_errors=True)
        if (home / "checkpoints").is_dir():
            (home / "checkpoints").rename(node / "checkpoints")


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
