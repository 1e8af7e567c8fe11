"""What a run was made with: interpreter, packages, platform, and the code by its git commit."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("torch", "numpy", "pyzmq", "msgspec", "pydantic", "gymnasium", "pettingzoo", "mpe2", "networkx", "scipy", "safetensors")
_GIT_TIMEOUT = 5.0


def _git(*arguments: str) -> bytes | None:
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, timeout=_GIT_TIMEOUT, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def code_version() -> str:
    """The version of the package; in a checkout with the commit, and `+dirty.HASH` of the difference when there is one."""
    version = _version("murmuration") or "unknown"
    commit = _git("rev-parse", "--short=12", "HEAD")
    if commit is None:
        return version
    difference = _git("diff", "HEAD")
    dirty = f"+dirty.{hashlib.sha256(difference).hexdigest()[:8]}" if difference else ""
    return f"{version} {commit.decode().strip()}{dirty}"


def versions() -> dict[str, Any]:
    """The contents of `versions.json`."""
    return {
        "murmuration": _version("murmuration"),
        "code": code_version(),
        "python": sys.version.split()[0],
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name)) is not None},
    }
