"""Functions and classes of users, which a configuration names as `package.module:name` or `./file.py:name`."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from protocols.runtime.errors import ConfigurationError, ExitCode
from protocols.runtime.suggestions import hint


def names_file(path: str) -> bool:
    """Whether `path` is `./file.py:name` or `./file.py` rather than the path of a module."""
    return _split(path)[0].endswith(".py")


def user_function(path: str) -> Any:
    """The callable at `package.module:attribute` or `./file.py:attribute`; modules are found on the import path and in the working
    directory, files relative to the working directory. `ConfigurationError` names what does not exist, with its cure."""
    place, attribute = _split(path)
    if not place or (not attribute and not place.endswith(".py")):
        raise ConfigurationError(f"{path!r} names no function: write package.module:function or ./file.py:function")
    module = _from_file(place) if place.endswith(".py") else _from_import_path(path, place)
    if not attribute:
        known = ", ".join(f"{path}:{name}" for name in _callables(module)) or f"{path}:NAME"
        raise ConfigurationError(f"{path} names a file; add the name of the class or function behind a colon: {known}")
    try:
        function = getattr(module, attribute)
    except AttributeError as error:
        names = _callables(module)
        found = hint(attribute, names) or (f"it has {', '.join(names)}" if names else "it has no class or function of its own")
        raise ConfigurationError(f"{path}: {place} has no {attribute}; {found}; correct the name behind the colon") from error
    except ImportError as error:  # a deprecated name, for example
        raise ConfigurationError(f"{path}: {error}; correct the name behind the colon") from error
    if not callable(function):
        raise ConfigurationError(f"{path} is a {type(function).__name__}, not a function or class")
    return function


def located(error: BaseException) -> str:
    """An error with the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames and not isinstance(error, SyntaxError) else ""
    return f"{type(error).__name__}: {error}{place}"


def _split(path: str) -> tuple[str, str]:
    """(module or file, name); no name without a colon."""
    place, colon, attribute = path.rpartition(":")
    return (place, attribute) if colon else (path, "")


def _from_import_path(path: str, name: str) -> ModuleType:
    place = str(Path.cwd())
    if place not in sys.path:
        sys.path.append(place)
    with _imported(path, "correct the module"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
            text = f"{path}: there is no module {error.name} on the import path or in {place}"
            raise ConfigurationError(f"{text}; install it, or start from the directory that contains it") from error


def _from_file(text: str) -> ModuleType:
    """The module in a file. Its directory is added to the import path, so that the file finds those beside it. Where the import of its name
    finds this file, it is that module; else its name has a suffix."""
    file = Path(text).expanduser().resolve()
    if not file.is_file():
        found = hint(file.name, sorted(other.name for other in file.parent.glob("*.py"))) if file.parent.is_dir() else ""
        found = f"; {found}" if found else ""
        raise ConfigurationError(f"there is no file {file}{found}; correct the path, which is relative to the working directory")
    directory = str(file.parent)
    if directory not in sys.path:
        sys.path.append(directory)
    name = file.stem
    if not _is_import_of(name, file):
        name = f"{name}_{blake2b(str(file).encode(), digest_size=4).hexdigest()}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"{file} cannot be imported: it is not a Python file")
    module = sys.modules[name] = module_from_spec(spec)
    try:
        with _imported(str(file), "correct the file"):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _is_import_of(name: str, file: Path) -> bool:
    if "." in name:
        return False
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == file


@contextmanager
def _imported(subject: str, cure: str) -> Iterator[None]:
    """What the import of a user's code raises becomes a `ConfigurationError`."""
    try:
        yield
    except ConfigurationError:
        raise
    except ModuleNotFoundError as error:
        missing = ConfigurationError(f"{subject} needs the package {error.name}, which is missing: install it")
        missing.exit_code = ExitCode.RESOURCES
        raise missing from error
    except Exception as error:
        raise ConfigurationError(f"importing {subject} failed: {located(error)}; {cure}") from error


def _callables(module: ModuleType) -> list[str]:
    """Public classes and functions that are defined in a module."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and callable(value) and getattr(value, "__module__", None) == module.__name__
    ]
