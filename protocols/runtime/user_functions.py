"""Functions that a configuration names by import path, `package.module:function`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from protocols.runtime.errors import ConfigurationError


def user_function(path: str) -> Any:
    """The callable at `package.module:attribute`, found on the import path and in the working directory. `ConfigurationError` names what
    does not exist."""
    module, colon, attribute = path.partition(":")
    if not (module and colon and attribute):
        raise ConfigurationError(f"{path!r} names no function: write package.module:function")
    place = str(Path.cwd())
    if place not in sys.path:
        sys.path.append(place)
    try:
        function = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        text = f"{path}: there is no module {error.name} on the import path or in {place}"
        raise ConfigurationError(f"{text}; install it, or start from the directory that contains it") from error
    except AttributeError as error:
        raise ConfigurationError(f"{path}: {error}; correct the name behind the colon") from error
    if not callable(function):
        raise ConfigurationError(f"{path} is a {type(function).__name__}, not a function")
    return function
