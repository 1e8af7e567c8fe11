"""Digests of what a run ended with, independent of names, and their comparison with recorded ones.

A recording lists, node by node and kind by kind, the digest of every item with the name that the item had: final tensors, states of random
generators, metrics, traces of faults. Two items with equal contents are listed twice. Only digests are compared, so an item may be renamed;
new items may be added; no recorded item may change or vanish.

This file reads the files of a run directory itself. Where a file or one of its keys is renamed, it is renamed here, and the digests stay.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from tests.behaviour.numerics import PINNED
from tests.runs.system import REPOSITORY, command, environment

HERE = Path(__file__).parent
CONFIGS = HERE / "configs"
RECORDED = HERE / "recorded"
FINGERPRINT = RECORDED / "fingerprint.json"
RUNS = ("main", "dec_imsap", "odmar_far", "amigo", "push_sum", "choco", "byzantine", "resumed")

Digests = dict[str, dict[str, dict[str, list[str]]]]
"""node, kind of item, digest: names of the items that have it"""


def pinned_environment(runs: Path) -> dict[str, str]:
    """Environment variables of a recorded run; its processes inherit them."""
    return {**environment(runs), **PINNED}


def play(runs: Path, name: str) -> Path:
    """The run of a configuration, from its start to its end: its directory."""
    runs.mkdir(parents=True, exist_ok=True)
    finish(up(runs, str(CONFIGS / f"{name}.yaml"), "--name", name))
    return runs / name


def up(runs: Path, *words: str) -> subprocess.Popen[str]:
    """`orchestrate up WORDS` with pinned kernels."""
    return subprocess.Popen(
        command("up", *words, "--plain"), cwd=runs.parent, env=pinned_environment(runs), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str], seconds: float = 280.0) -> None:
    """Wait for the end of a run, which must be a success."""
    output, _ = process.communicate(timeout=seconds)
    if process.returncode:
        raise AssertionError(f"exit code {process.returncode}:\n{output}")


def fingerprint_here() -> dict[str, str]:
    """Versions and kernels of this machine."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.behaviour.numerics"], cwd=REPOSITORY, env=pinned_environment(HERE), text=True,
        capture_output=True, timeout=110, check=True,
    )  # fmt: skip
    return dict(json.loads(done.stdout))


def differences(recorded: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """What differs between two fingerprints, in words."""
    return [f"{name}: {recorded.get(name)} recorded, {here.get(name)} here" for name in recorded if recorded[name] != here.get(name)]


def digests(directory: Path) -> Digests:
    """Digests of a finished run."""
    found: Digests = {}
    for home in sorted(path for path in directory.glob("nodes/*") if (path / "checkpoints").is_dir()):
        kinds = {"tensors": _tensors(home), "random": _random(home), "metrics": _metrics(home), "faults": _faults(home)}
        found[home.name] = {kind: dict(sorted(_by_digest(items).items())) for kind, items in kinds.items()}
    return found


def changed(recorded: Digests, now: Digests) -> list[str]:
    """One line for each kind of item of a node of which something recorded is not there any more; none where the behaviour is the same."""
    lines = []
    for node, kinds in recorded.items():
        for kind, items in kinds.items():
            present = now.get(node, {}).get(kind, {})
            gone = sorted(name for digest, names in items.items() for name in _beyond(names, present.get(digest, [])))
            if gone:
                unknown = {name for digest, names in present.items() for name in _beyond(names, items.get(digest, []))}
                new = ", ".join(sorted(unknown - set(gone))) or "none"
                count = sum(map(len, items.values()))
                lines.append(f"{node}, {kind}: {len(gone)} of {count} differ: {', '.join(gone)}; names that were not recorded: {new}")
    return lines


def _beyond(names: list[str], others: list[str]) -> list[str]:
    """Of the names of items with one digest, those without a counterpart among others that have it too: other names before equal ones."""
    ordered = sorted(names, key=lambda name: name in others)
    return ordered[: max(0, len(names) - len(others))]


def _by_digest(items: Iterable[tuple[str, bytes]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name, content in sorted(items):
        found[sha256(content).hexdigest()[:24]].append(name)
    return found


def _newest(home: Path, suffix: str) -> Path | None:
    return max((home / "checkpoints").glob(f"*.{suffix}"), default=None)


def _tensors(home: Path) -> Iterable[tuple[str, bytes]]:
    """Type, shape and bytes of the tensors of the last checkpoint, but for identities, which are digests of names."""
    path = _newest(home, "safetensors")
    if path is None:
        return
    for name, array in load_file(path).items():
        if not name.endswith("basis_id"):
            yield name, f"{array.dtype} {array.shape} ".encode() + array.tobytes()


def _random(home: Path) -> Iterable[tuple[str, bytes]]:
    """States of NumPy's generators, in the form in which NumPy gives them."""
    path = _newest(home, "json")
    if path is not None:
        for name, state in json.loads(path.read_text()).get("random", {}).items():
            yield name, json.dumps(state, sort_keys=True).encode()


def _metrics(home: Path) -> Iterable[tuple[str, bytes]]:
    """Environment steps and values of each metric in the order of writing, but for sizes of messages, which depend on names of fields."""
    columns: dict[str, bytearray] = defaultdict(bytearray)
    for line in map(json.loads, (home / "metrics.jsonl").read_text().splitlines()):
        columns[line["name"]] += struct.pack("<dd", line["step"], line["value"])
    return ((name, bytes(column)) for name, column in columns.items() if "bytes" not in name)


def _faults(home: Path) -> Iterable[tuple[str, bytes]]:
    """What became of the messages of each link, with their sequence numbers; and where faults began and ended. Sizes are left out."""
    traces: dict[str, list[Any]] = defaultdict(list)
    path = home / "faults.jsonl"
    for line in map(json.loads, path.read_text().splitlines() if path.exists() else []):
        match line["what"]:
            case "message":
                receiver = line["link"].split()[-1]
                traces[f"messages to {receiver}"].append([line["seq"], line["copies"], line["corrupt"] is not None])
            case "links":
                for link, counts in line["links"].items():
                    numbers = [counts[key] for key in ("sent", "delivered", "lost", "duplicated", "reordered", "corrupted", "queued")]
                    delays = sorted(counts.get("delay", {}).values())
                    traces[f"counts to {link.split()[-1]}"].append([line["period"], numbers, delays])
            case _:
                reached = [line.get(key) for key in ("incarnation", "time", "step", "episode", "round")]
                seqs = sorted((link.split()[-1], seq) for link, seq in line.get("seqs", {}).items())
                until = line.get("until")
                traces[f"fault {line.get('id', '')}"].append([reached, until and until["value"], seqs])
    return ((name, json.dumps(trace).encode()) for name, trace in traces.items())
