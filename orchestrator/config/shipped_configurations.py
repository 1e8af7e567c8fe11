"""The configurations that come with the system, found by name from any working directory."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from protocols.runtime.errors import ResourceError, UsageError

_PACKAGE = Path(__file__).resolve().parents[1]
_SUFFIXES = (".yaml", ".yml")
_MAIN = "4agents_ring.yaml"


def shipped_folder() -> Path:
    """The folder of shipped configurations: `configs` of the checkout, or the copy inside the installed package. `ResourceError` where
    neither exists."""
    for folder in (_PACKAGE.parent / "configs", _PACKAGE / "shipped_configs"):
        if (folder / _MAIN).is_file():
            return folder
    raise ResourceError(f"this installation has no shipped configurations: {_PACKAGE / 'shipped_configs'} is missing; install it again")


def shipped_configurations() -> dict[str, Path]:
    """Name (`4agents_ring`, `odmar/far`, `experiments/smoke`) to file, sorted by name."""
    folder = shipped_folder()
    return {str(path.relative_to(folder).with_suffix("")): path for path in sorted(folder.rglob("*.yaml"))}


def find_shipped(name: str) -> Path | None:
    """The shipped configuration called `odmar/far`, `odmar/far.yaml` or `configs/odmar/far.yaml`; None for other names."""
    return shipped_configurations().get(name.removesuffix(".yaml").removeprefix("configs/"))


def locate(path: Path) -> Path:
    """The file that a user means by `path`: the file itself where it exists, else the shipped configuration of that name.

    A path with the suffix of a YAML file that names neither is returned as it is: its reader reports it with its place. Any other name is
    a `UsageError` with the nearest shipped name.
    """
    if path.exists() and not path.is_dir():
        return path
    shipped = find_shipped(str(path))
    if shipped is not None or path.is_dir() or path.suffix in _SUFFIXES:
        return shipped or path
    names = list(shipped_configurations())
    near = get_close_matches(str(path), names, 1, 0.4) or [name for name in names if str(path) in name][:1]
    cure = f'did you mean "{near[0]}"?' if near else "orchestrate init --help explains how to write one"
    raise UsageError(f'there is no file and no shipped configuration "{path}"; {cure}')
