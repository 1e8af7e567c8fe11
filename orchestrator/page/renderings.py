"""Films and reports, made on request by processes of their own: one at a time, with low priority, a deadline, and a bound of their size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from protocols.runtime.errors import ResourceError

_DEADLINE = 180.0
"""seconds that a film or a report may take, and that a request waits for its turn"""
_LARGEST = 16 * 2**20
"""bytes of a film or a report"""
_KEPT = 8
"""films that are kept"""
_AS_MODULE = "import os, runpy, sys; os.nice(5); runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
"""as `python -m`, with low priority"""


@dataclass(frozen=True)
class Film:
    """An animated picture (GIF), and what is known of the episode."""

    content: bytes
    facts: dict[str, Any]


class Renderings:
    """Makes films and reports. Films are kept until the agents have newer checkpoints."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._films: OrderedDict[str, Film] = OrderedDict()

    def film(self, directory: Path, agent: str) -> tuple[str, Film]:
        """An episode with `agent`, played from the newest checkpoints of the run; and the key under which `kept` has it. `ResourceError`
        names what is missing."""
        names = sorted(f"{path.parent.parent.name}/{path.name}" for path in directory.glob("nodes/agent-*/checkpoints/*.json"))
        key = blake2b("\n".join([str(directory.resolve()), agent, *names]).encode(), digest_size=12).hexdigest()
        with _Turn(self._turn):
            film = self._films.get(key)
            if film is None:
                module = "orchestrator.page.episode_film"
                content, output = _made(lambda out: [module, str(directory), agent, str(out)], "film.gif")
                film = self._films[key] = Film(content, json.loads(output.splitlines()[-1]))
                while len(self._films) > _KEPT:
                    self._films.popitem(last=False)
        return key, film

    def kept(self, key: str) -> Film | None:
        """The film of that key, while it is kept."""
        return self._films.get(key)

    def report(self, directory: Path) -> bytes:
        """The report of a run or an experiment as HTML, made anew by `orchestrate report`; nothing is written into `directory`."""
        with _Turn(self._turn):
            path = str(directory.resolve())
            content, _ = _made(lambda out: ["orchestrator", "--json", "report", path, "-o", str(out.parent)], "report.html")
        return content


class _Turn:
    """The lock of `Renderings`, with a deadline."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        if not self._lock.acquire(timeout=_DEADLINE):
            raise ResourceError("another film or report is being made; try again later")

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _made(command: Callable[[Path], Sequence[str]], name: str) -> tuple[bytes, str]:
    """The file `name` that a Python process writes, and its standard output."""
    with tempfile.TemporaryDirectory(prefix="murmuration-page-") as folder:
        out = Path(folder) / name
        threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
        try:
            process = subprocess.run(
                [sys.executable, "-c", _AS_MODULE, *command(out)],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_DEADLINE, check=False, env={**os.environ, **threads},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise ResourceError(f"it was not made within {_DEADLINE:g} s") from None
        if process.returncode or not out.is_file():
            lines = (process.stderr.strip() or process.stdout.strip()).splitlines()
            raise ResourceError(lines[-1][:500] if lines else f"exit {process.returncode}")
        if out.stat().st_size > _LARGEST:
            raise ResourceError(f"it is larger than {_LARGEST // 2**20} MiB")
        return out.read_bytes(), process.stdout
