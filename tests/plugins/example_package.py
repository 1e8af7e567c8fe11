"""The example package, as an installed distribution and as a module in the working directory."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "examples" / "plugins"
PACKAGE = EXAMPLES / "swarm_extras"
CONFIGS = sorted((EXAMPLES / "configs").glob("*.yaml"))
PROJECT = tomllib.loads((EXAMPLES / "pyproject.toml").read_text())["project"]


def copied(directory: Path) -> None:
    """The package in the working directory."""
    shutil.copytree(PACKAGE, directory / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))


def installed(directory: Path) -> None:
    """Install the package into a directory of the import path: its files, and the metadata that an installer writes."""
    copied(directory)
    metadata = directory / f"swarm_extras-{PROJECT['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PROJECT['name']}\nVersion: {PROJECT['version']}\n")
    lines = [f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
             for group, entries in PROJECT["entry-points"].items()]  # fmt: skip
    (metadata / "entry_points.txt").write_text("\n".join(lines))
