"""Record the behaviour anew: `python -m tests.behaviour.record [NAME ...]`; without names, all runs of `configs/`.

That is right after a change of behaviour that is wanted and written down in CHANGELOG.md, or after an update of a library; never to make a
failing test pass.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.behaviour.recording import FINGERPRINT, RECORDED, RUNS, differences, digests, fingerprint_here, play


def main(names: list[str]) -> None:
    if unknown := set(names) - set(RUNS):
        sys.exit(f"no such run: {', '.join(sorted(unknown))}; there are {', '.join(RUNS)}")
    here = fingerprint_here()
    if names and (found := differences(json.loads(FINGERPRINT.read_text()), here)):
        sys.exit("\n".join(["the others were recorded elsewhere, so record all:", *found]))
    RECORDED.mkdir(exist_ok=True)
    _write(FINGERPRINT, here)
    with tempfile.TemporaryDirectory() as runs:
        for name in names or RUNS:
            found_now = digests(play(Path(runs) / "runs", name))
            _write(RECORDED / f"{name}.json", found_now)
            count = sum(len(items) for kinds in found_now.values() for by_digest in kinds.values() for items in by_digest.values())
            print(f"{name}: {count} items of {len(found_now)} nodes")


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
