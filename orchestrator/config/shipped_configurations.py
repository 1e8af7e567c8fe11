"""The configurations that come with the system, found by name from any working directory, and new ones that begin as copies of them."""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from pathlib import Path

from protocols.runtime.errors import ConfigurationError, ResourceError, UsageError
from protocols.runtime.suggestions import hint

_PACKAGE = Path(__file__).resolve().parents[1]
_SUFFIXES = (".yaml", ".yml")
_MAIN = "4agents_ring.yaml"
_SCHEMA = re.compile(r"^# yaml-language-server: \$schema=.*\n", re.MULTILINE)
_NAME = re.compile(r"^name:[ \t]*[^\s#]+", re.MULTILINE)
_CALLED = re.compile(r"^(name:.*# runs are called )[a-z0-9_-]+?-(?=<)", re.MULTILINE)
"""the comment beside it"""
_EXTENDS = re.compile(r"^extends:", re.MULTILINE)
_RUN_NAME = r"[a-z0-9][a-z0-9_-]{0,40}"


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


def base_of(like: str) -> Path:
    """The configuration of that name (`odmar/far`) or path. `UsageError` names the nearest."""
    given = Path(like)
    if given.suffix in _SUFFIXES and given.is_file():
        return given
    names = {name: path for name, path in shipped_configurations().items() if not name.startswith("experiments/")}
    name = like.removesuffix(".yaml").removeprefix("configs/")
    if name in names:
        return names[name]
    raise UsageError(f'--like: there is no configuration "{like}"; ' + hint(name, names, f"there are {', '.join(names)}"))


def target_of(name: str) -> Path:
    """The file that `init NAME` writes: NAME.yaml, or the path as given. `UsageError` where a run could not be called after it."""
    path = Path(name if name.endswith(_SUFFIXES) else f"{name}.yaml")
    if re.fullmatch(_RUN_NAME, run_name(path)) is None:
        raise UsageError(f'"{path.stem}" can\'t be the name of runs: small letters, digits, _ and -, at most 41; for example ring-of-six')
    return path


def run_name(path: Path) -> str:
    """What runs of that file are called."""
    return path.stem.lower()


def starter_text(base: Path, target: Path) -> str:
    """The text of the new file: that of `base` with its comments, under the new name; where `base` extends another file, the whole of
    the joined configuration, each key with its meaning. The path of the schema is relative to `target`."""
    text = base.read_text(encoding="utf-8")
    if _EXTENDS.search(text):
        from orchestrator.config.loader import load
        from orchestrator.config.resolved_configuration import resolved_yaml

        header = [line for line in text.split("\n\n")[0].splitlines() if line.startswith("#")]
        text = "\n".join([*header, resolved_yaml(load(base).configuration)])
    text = _SCHEMA.sub("", text)
    text, found = _NAME.subn(f"name: {run_name(target)}", text, count=1)
    text = _CALLED.sub(rf"\g<1>{run_name(target)}-", text, count=1)
    if not found:
        text = re.sub(r"^(version:.*\n)", rf"\1name: {run_name(target)}\n", text, count=1, flags=re.MULTILINE)
    return _schema_line(base, target) + text


def _schema_line(base: Path, target: Path) -> str:
    for folder in (*base.resolve().parents, shipped_folder()):
        if (folder / "schema.json").is_file():
            return f"# yaml-language-server: $schema={os.path.relpath(folder / 'schema.json', target.resolve().parent)}\n"
    return ""


def write_starter(name: str, like: str) -> Path:
    """Write the file and check what was written; its path. Never over another one. `ConfigurationError` where there is one already,
    `ResourceError` where it can't be written."""
    from orchestrator.config.loader import load

    base, target = base_of(like), target_of(name)
    text = starter_text(base, target)
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigurationError(f"{target} exists already, and is not overwritten; take another name, or remove it") from None
    except OSError as error:
        raise ResourceError(f"{target} can't be written: {error.strerror}; make its folder, or take another name") from None
    load(target)
    return target
