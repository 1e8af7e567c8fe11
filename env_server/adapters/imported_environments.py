"""Environments by import path: PettingZoo (`package:module`), Gymnasium (`gymnasium:ID`), a user's own (`package.module:factory` or
`./file.py:factory`)."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from importlib.util import find_spec
from inspect import Parameter, signature
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from env_server.adapters.environment_wrappers import api_of, wrapping
from env_server.adapters.image_observations import is_image
from env_server.environments.environment_factory import EnvironmentProblem, OptionProblem, draw_in_memory, problem, problems_at
from env_server.settings import EnvironmentSettings
from protocols.runtime.errors import ConfigurationError
from protocols.runtime.suggestions import hint, suggestions
from protocols.runtime.user_code import located, names_file, user_function

DRAWN = "rgb_array"
"""the render mode of pictures in memory"""
_MODULE = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")
PACKAGES = {
    "mpe2": "pip install mpe2",
    "pettingzoo.butterfly": "pip install 'pettingzoo[butterfly]'",
    "pettingzoo.sisl": "pip install 'pettingzoo[sisl]'",
    "pettingzoo.classic": "pip install 'pettingzoo[classic]'",
    "pettingzoo.atari": "pip install 'murmuration-rl[atari]'",
    "gymnasium": "pip install gymnasium",
    "minigrid": "pip install minigrid",
}
"""known packages of environments, and how to install them"""
_UNEXPECTED = re.compile(r"unexpected keyword argument '(\w+)'")
_ATARI = "pettingzoo.atari"
_ROMS = "auto_rom_install_path"
"""option of the Atari games of PettingZoo: the directory with the ROM files"""
_GYMNASIUM = "gymnasium"
Maker = Callable[[], Any]
_COUNT_OPTIONS = ("N", "n_agents", "num_agents", "n_players", "num_players", "n_pistons")
"""usual names of the option that sets the number of agents"""


def maker(settings: EnvironmentSettings, known: Sequence[str] = ()) -> Maker:
    """A function that makes one environment with the Parallel API. `known`: names of vectorised environments, to suggest.

    `package:name` is the module `package.name` with `parallel_env` or `env`, as PettingZoo has them, or else the attribute `name` of the
    module `package`: a class or function that returns a Parallel, AEC or Gymnasium environment for the keyword arguments
    `environment.options`. `./file.py:name` is the same in a file. `package.module` without a colon is a module with `parallel_env` or
    `env`. `EnvironmentProblem` names what fails.
    """
    draw_in_memory()
    if names_file(settings.id):
        with problems_at("environment", "id"):
            factory = user_function(settings.id)
        return _made_by(settings, factory, factory)
    package, colon, name = settings.id.partition(":")
    if package == _GYMNASIUM:
        return _gymnasium(settings, name)
    if not _MODULE.match(package) or (colon and not _MODULE.match(name)):
        if not colon and (found := _gymnasium_id(package)):
            raise unknown(settings.id, found)
        raise unknown(settings.id, "write package:module, for example mpe2:simple_spread_v3, package.module:factory, or ./file.py:factory")
    place = str(Path.cwd())
    if place not in sys.path:
        sys.path.append(place)
    if not colon:
        module = _module(package)
        if module is None:
            text = nearest(settings.id, [*known, *PACKAGES]) or (
                f"; ids are {', '.join(known)}, package:module, gymnasium:ID, minigrid:ID, package.module:factory or ./file.py:factory"
            )
            raise unknown(settings.id, f"unknown environment{text}")
        return _from_module(settings, module)
    return _pettingzoo(settings, package, name)


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean ...?` with the nearest known names, or nothing."""
    found = hint(name, sorted(known), count=3)
    return f"; {found}" if found else ""


def unknown(identifier: str, detail: str, missing: bool = False) -> EnvironmentProblem:
    """The id names no environment, or one whose package is `missing`."""
    return EnvironmentProblem(OptionProblem(("environment", "id"), f"{identifier!r}: {detail}", missing))


def _gymnasium_id(name: str) -> str:
    """The cure where `name` is, or resembles, the name of an environment of Gymnasium without a prefix; else nothing."""
    import gymnasium

    names = [name] if name in gymnasium.registry else suggestions(name, gymnasium.registry)
    return f'unknown environment; did you mean "gymnasium:{names[0]}"?' if names else ""


def _module(name: str) -> ModuleType | None:
    """The module of that name, or None."""
    try:
        return import_module(name) if find_spec(name) is not None else None
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            return None
        raise unknown(name, f"it needs the package {error.name}, which is missing: install it", True) from error


def _gymnasium(settings: EnvironmentSettings, name: str) -> Maker:
    import gymnasium

    wrapped = wrapping(settings)
    if name not in gymnasium.registry and ":" not in name:
        cure = f"; write minigrid:{name}" if name.startswith(("MiniGrid-", "BabyAI-")) else nearest(name, gymnasium.registry)
        where = cure or f"; if a package registers it, name that too: gymnasium:PACKAGE:{name}"
        raise unknown(settings.id, f"Gymnasium has no environment {name}{where}")

    def make() -> Any:
        try:
            made = gymnasium.make(name, disable_env_checker=True, **settings.options)
        except (gymnasium.error.Error, ImportError) as error:
            missing = isinstance(error, (gymnasium.error.DependencyNotInstalled, ModuleNotFoundError))
            raise unknown(settings.id, str(error), missing) from error
        except Exception as error:
            raise _not_made(settings, error, None) from error
        return _parallel(settings, wrapped(made))

    return make


def _pettingzoo(settings: EnvironmentSettings, package: str, name: str) -> Maker:
    cure = PACKAGES.get(package, "install the package that provides it, or start from the directory that contains it")
    try:
        found = find_spec(package)
    except ModuleNotFoundError:
        found = None
    if found is None:
        text = f"there is no package {package} here: {cure}{'' if package in PACKAGES else nearest(package, PACKAGES)}"
        raise unknown(settings.id, text, package in PACKAGES)
    if package == _ATARI:
        settings = _with_roms(settings)
    known = [entry.name for entry in iter_modules(found.submodule_search_locations or []) if "_v" in entry.name]
    try:
        return _from_module(settings, import_module(f"{package}.{name}"))
    except ModuleNotFoundError as error:
        if error.name not in (f"{package}.{name}", package):
            raise unknown(settings.id, f"it needs the package {error.name}, which is missing: {cure}", True) from error
        factory = getattr(import_module(package), name, None)
        if not callable(factory):
            kind = "environment" if known else "environment or factory"
            raise unknown(settings.id, f"{package} has no {kind} {name}{nearest(name, known)}") from error
        return _made_by(settings, factory, factory)
    except EnvironmentProblem:
        raise
    except (ImportError, AttributeError) as error:
        # Deprecated versions name their successor in an error of their own.
        raise unknown(settings.id, f"{error}{nearest(name, known)}") from error


def _with_roms(settings: EnvironmentSettings) -> EnvironmentSettings:
    """With the ROM files of the package ale-py, where the options name no others: PettingZoo's own package contains none."""
    if _ROMS in settings.options:
        return settings
    found = find_spec("ale_py")  # it is not imported, since only its files are needed
    if found is None or not found.submodule_search_locations:
        text = f"the ROM files of the games are those of the package ale-py, which is missing: {PACKAGES[_ATARI]}"
        raise unknown(settings.id, f"{text}, or name their directory in environment.options.{_ROMS}", True)
    return settings.model_copy(update={"options": {**settings.options, _ROMS: found.submodule_search_locations[0]}})


def _from_module(settings: EnvironmentSettings, module: ModuleType) -> Maker:
    factory = getattr(module, "parallel_env", None) or getattr(module, "env", None)
    if factory is None:
        raise unknown(settings.id, f"{module.__name__} has neither parallel_env nor env: it is no PettingZoo environment")
    return _made_by(settings, factory, getattr(module, "raw_env", None) or factory)


def _made_by(settings: EnvironmentSettings, factory: Callable[..., Any], signed: Any) -> Maker:
    """`signed` has the signature with the accepted options."""
    wrapped, drawing = wrapping(settings), False

    def made() -> Any:
        nonlocal drawing
        if drawing:
            return factory(**settings.options, render_mode=DRAWN)
        found = factory(**settings.options)
        if not (drawing := _draws_observations(settings, found, signed)):
            return found
        found.close()
        return factory(**settings.options, render_mode=DRAWN)

    def make() -> Any:
        try:
            return _parallel(settings, wrapped(made()))
        except EnvironmentProblem:
            raise
        except ConfigurationError as error:
            raise unknown(settings.id, str(error)) from error
        except ModuleNotFoundError as error:
            raise unknown(settings.id, f"it needs the package {error.name}, which is missing: install it", True) from error
        except Exception as error:
            raise _not_made(settings, error, signed) from error

    return make


def _draws_observations(settings: EnvironmentSettings, made: Any, signed: Any) -> bool:
    """Whether a PettingZoo environment observes images, which some draw only with a render mode, and none is given."""
    if "render_mode" in settings.options or DRAWN not in (getattr(made, "metadata", None) or {}).get("render_modes", ()):
        return False
    parameters = signature(signed).parameters.values()
    if not any(one.name == "render_mode" or one.kind == Parameter.VAR_KEYWORD for one in parameters):
        return False
    return any(is_image(made.observation_space(agent)) for agent in getattr(made, "possible_agents", []))


def _parallel(settings: EnvironmentSettings, made: Any) -> Any:
    """The same with the Parallel API."""
    from env_server.adapters.parallel_conversions import SingleAgentParallel, parallel_from_aec

    api = api_of(made)
    if api == "AEC":
        return parallel_from_aec(made)
    if api == "Parallel":
        return made
    if api == "Gymnasium":
        return SingleAgentParallel(made)
    text = f"it makes a {type(made).__name__}, which is neither a PettingZoo environment (Parallel or AEC) nor a Gymnasium one"
    text += ": name a class with the API of one of them, or a function that returns such an environment"
    raise unknown(settings.id, text)


def agent_count_option(settings: EnvironmentSettings) -> str | None:
    """The keyword argument that sets the number of agents of a PettingZoo environment, where it has one of the usual names."""
    if names_file(settings.id):
        try:
            accepted = _accepted(user_function(settings.id))
        except ConfigurationError:
            return None
        return next((key for key in _COUNT_OPTIONS if key in accepted), None)
    package, _, name = settings.id.partition(":")
    if not name or package == "gymnasium":
        return None
    try:
        module = import_module(f"{package}.{name}")
    except ImportError:
        return None
    factory = getattr(module, "raw_env", None) or getattr(module, "parallel_env", None) or getattr(module, "env", None)
    return next((key for key in _COUNT_OPTIONS if factory is not None and key in _accepted(factory)), None)


def _accepted(factory: Any) -> list[str]:
    """Names of a factory's keyword arguments."""
    kinds = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    return [parameter.name for parameter in signature(factory).parameters.values() if parameter.kind in kinds]


def _not_made(settings: EnvironmentSettings, error: Exception, signed: Any) -> EnvironmentProblem:
    """What the constructor raised, with its line; a call that the options do not fit is about them."""
    if isinstance(error.__context__, TypeError):  # Gymnasium raises errors of the call again, at a line of its own
        error = error.__context__
    called = isinstance(error, TypeError) and "argument" in str(error)
    if called and settings.options:
        return _wrong_options(settings, error, signed)
    cure = "write it in environment.options" if called and "missing" in str(error) else "correct the error there"
    raised = located(error)
    if f"({__file__}:" in raised:  # a line of this module is not the cause
        raised = f"{type(error).__name__}: {error}"
    text = f"{settings.id} cannot be made: {raised}; {cure}"
    return problem(text, "environment", "options" if settings.options else "id")


def _wrong_options(settings: EnvironmentSettings, error: Exception, signed: Any) -> EnvironmentProblem:
    accepted = [] if signed is None else _accepted(signed)
    strange = [name for name in settings.options if accepted and name not in accepted]
    if accepted and any(parameter.kind == Parameter.VAR_KEYWORD for parameter in signature(signed).parameters.values()):
        named = _UNEXPECTED.search(str(error))  # the others may be options of what the factory calls
        strange = [name for name in strange if named and name == named[1]]
    if strange:
        texts = {name: f"{settings.id} has no such option{nearest(name, accepted)}; it has {', '.join(accepted)}" for name in strange}
        return EnvironmentProblem(*(OptionProblem(("environment", "options", name), text) for name, text in texts.items()))
    return problem(f"{settings.id} refuses its options: {error}", "environment", "options")
