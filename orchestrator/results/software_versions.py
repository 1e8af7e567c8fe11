"""What a run was made with: interpreter, packages, platform, and the code by its git commit."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("torch", "numpy", "pyzmq", "msgspec", "pydantic", "gymnasium", "pettingzoo", "mpe2", "networkx", "scipy", "safetensors")
_GIT_TIMEOUT = 30.0
_ROOT = Path(__file__).resolve().parents[2]
_FOLDERS = ("agent_node", "env_server", "murmuration", "orchestrator", "protocols")
"""of the package; other folders of a checkout (experiments, runs) are no code"""
_CODE = (".py", ".yaml", ".yml")


def _git(*arguments: str) -> bytes | None:
    try:
        done = subprocess.run(["git", "-C", str(_ROOT), *arguments], capture_output=True, timeout=_GIT_TIMEOUT, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def code_version() -> str:
    """The version of the package; in a checkout with the commit, and `+dirty.HASH` of what differs from it when anything does: the
    difference of tracked files, and the contents of new files of code. Where git doesn't answer, `unknown+files.HASH` of all code: equal
    to no commit, and to itself only while no file changes."""
    version = _version("murmuration-rl") or "unknown"
    if not (_ROOT / ".git").exists():
        return version
    commit, difference = _git("rev-parse", "--short=12", "HEAD"), _git("diff", "HEAD")
    new = _git("ls-files", "--others", "--exclude-standard", "-z", "--", *_FOLDERS)
    if commit is None or difference is None or new is None:
        files = sorted(path for folder in _FOLDERS for path in (_ROOT / folder).rglob("*") if path.suffix in _CODE)
        return f"{version} unknown+files.{_hash(b'', files)}"
    files = sorted(path for name in new.split(b"\0") if (path := _ROOT / os.fsdecode(name)).suffix in _CODE)
    dirty = f"+dirty.{_hash(difference, files)}" if difference or files else ""
    return f"{version} {commit.decode().strip()}{dirty}"


def _hash(start: bytes, files: Sequence[Path]) -> str:
    digest = hashlib.sha256(start)
    for path in files:
        with suppress(OSError):  # it went while it was looked at, or is a link to nothing
            name, contents = os.fsencode(path.relative_to(_ROOT)), path.read_bytes()
            digest.update(b"%d %s %d " % (len(name), name, len(contents)) + contents)
    return digest.hexdigest()[:8]


def versions() -> dict[str, Any]:
    """The contents of `versions.json`."""
    return {
        "murmuration": _version("murmuration-rl"),
        "code": code_version(),
        "python": sys.version.split()[0],
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name)) is not None},
    }
