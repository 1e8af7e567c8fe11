"""Components by their YAML name: settings class and implementation, ours and those of third parties.

A room ("learner", "world_model", "averaging_rule", ...) holds components of one contract. A component has a name, its `kind`; a settings
class without torch, so that a configuration is checked in milliseconds; and the place of its implementation, which is imported only in
the process that runs it. Third parties register theirs by the same `register`: in a module that the configuration names (`plugins`, see
`load_plugins`), or in an installed package by an entry point of the group `murmuration.components`, which is called with `register`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, get_args

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from protocols.runtime.errors import ConfigurationError
from protocols.runtime.settings_types import Settings, settings_classes
from protocols.runtime.user_code import located

GROUP = "murmuration.components"
OWN_PACKAGES = ("protocols", "env_server", "agent_node", "orchestrator", "murmuration")
"""packages of this distribution; components of others are checked before a run starts (`Component.check`)"""


@dataclass(frozen=True)
class Component:
    """One entry of the registry; `implementation` is `module:attribute`."""

    room: str
    kind: str
    settings: type[Settings]
    implementation: str

    @property
    def third_party(self) -> bool:
        """Whether another distribution implements it."""
        return self.implementation.partition(":")[0].partition(".")[0] not in OWN_PACKAGES

    def check(self) -> None:
        """Import the implementation and compare it with the contract of its room. `ConfigurationError` where the import fails, where a
        class is not derived from the contract or lacks methods of it, and where an implementation cannot be called."""
        place = f"{self.room} {self.kind!r} ({self.implementation})"
        try:
            found = self.load()
        except ConfigurationError:
            raise
        except Exception as error:
            raise ConfigurationError(f"{place}: importing it failed: {located(error)}; correct the module") from error
        contract = self._contract()
        if not callable(found):
            raise ConfigurationError(f"{place}: {found!r} is not callable; register a class or a function")
        if contract is None or not isinstance(found, type):
            return
        if not issubclass(found, contract):
            text = f"{found.__name__} is not derived from {contract.__module__}.{contract.__name__}, the contract of its room"
            raise ConfigurationError(f"{place}: {text}; write class {found.__name__}({contract.__name__})")
        if missing := sorted(getattr(found, "__abstractmethods__", ())):
            text = f"{found.__name__} does not implement {', '.join(missing)} of {contract.__module__}.{contract.__name__}"
            raise ConfigurationError(f"{place}: {text}; add {'these methods' if len(missing) > 1 else 'this method'}")

    def _contract(self) -> type | None:
        capabilities = getattr(self.settings, "capabilities", ())
        for capability, place in _contracts.get(self.room, ()):
            if not capability or capability in capabilities:
                module, _, name = place.partition(":")
                contract: type = getattr(importlib.import_module(module), name)
                return contract
        return None

    def load(self) -> Any:
        """Import and return the implementation (a class or a factory). `ConfigurationError` where it does not exist."""
        module, _, attribute = self.implementation.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ModuleNotFoundError, AttributeError) as error:
            text = f"{self.room} {self.kind!r}: the implementation {self.implementation} cannot be imported ({error})"
            raise ConfigurationError(f"{text}; register it as module:attribute") from error


_components: dict[tuple[str, str], Component] = {}
_contracts: dict[str, list[tuple[str, str]]] = {}
_entry_points_loaded = False


def declare_contract(room: str, contract: str, capability: str = "") -> None:
    """Classes that implement components of a room derive from `contract`, a `module:class`. With `capability` this holds for components
    that declare it; contracts with a capability are declared before the one without."""
    if (capability, contract) not in _contracts.setdefault(room, []):
        _contracts[room].append((capability, contract))


def register(room: str, kind: str, settings: type[Any], implementation: str) -> None:
    """Add a component. `ConfigurationError` where the settings class has no field `kind: Literal[kind]`, where `implementation` is not
    `module:attribute`, or where another component of the room has this name."""
    component = Component(room, kind, settings, implementation)
    known = _components.get((room, kind))
    if known == component:
        return
    place = f"{room} {kind!r} ({implementation})"
    if known is not None:
        raise ConfigurationError(f"{place}: this name is registered already, by {known.implementation}; choose another kind")
    if not (isinstance(settings, type) and issubclass(settings, Settings)):
        text = "derive it from the settings class of its room, or from protocols.runtime.settings_types.Settings"
        raise ConfigurationError(f"{place}: {settings!r} is not a settings class; {text}")
    field = settings.model_fields.get("kind")
    if field is None or get_args(field.annotation) != (kind,):
        raise ConfigurationError(f'{place}: {settings.__name__} has no field kind; add kind: Literal["{kind}"] = "{kind}"')
    if len(implementation.split(":")) != 2 or not all(implementation.split(":")):
        raise ConfigurationError(f"{place}: the implementation is not written as module:attribute")
    _components[(room, kind)] = component


# --- third parties ------------------------------------------------------------------------------------------------------------------


def load_entry_points() -> None:
    """Let installed packages register their components, once. Settings classes built earlier are built again.

    An entry point imports our settings classes, and building those calls this function again: the inner call does nothing.
    """
    global _entry_points_loaded
    if _entry_points_loaded:
        return
    _entry_points_loaded = True
    before = dict(_components)
    for entry_point in sorted(entry_points(group=GROUP), key=lambda entry_point: (entry_point.name, entry_point.value)):
        try:
            entry_point.load()(register)
        except Exception as error:
            _entry_points_loaded = False
            text = f"the entry point {entry_point.name} = {entry_point.value} ({GROUP}) failed: {located(error)}"
            raise ConfigurationError(text) from error
    if _components != before:
        _rebuild_settings()


def load_plugins(modules: Iterable[str], directory: Path | None = None) -> None:
    """Import these modules, each once; importing registers their components and conversations. They are found on the import path and in
    `directory` (None: the working directory). `ConfigurationError` names the module, what is wrong, and the cure.

    Every process of a run calls this before it validates settings or decodes messages. Settings classes built earlier are built again.
    """
    modules = list(modules)
    place = str(directory or Path.cwd())
    if modules and place not in sys.path:
        sys.path.append(place)
    before = dict(_components)
    for module in modules:
        try:
            importlib.import_module(module)
        except ConfigurationError as error:
            raise ConfigurationError(f"plugin {module}: {error}") from error
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                text = f"plugin {module}: {located(error)}; install this package in every environment of the run"
                raise ConfigurationError(text) from error
            text = f"there is no module {module} on the import path or in {place}"
            raise ConfigurationError(f"plugin {module}: {text}; install it, or start from the directory that contains it") from error
        except Exception as error:
            raise ConfigurationError(f"plugin {module}: importing it failed: {located(error)}; correct the module") from error
    if _components != before:
        _rebuild_settings()


def _rebuild_settings() -> None:
    """Build the settings classes again whose fields take components, and those that contain them. The order is that of definition."""
    rebuilt: set[Any] = set()
    for settings in settings_classes():
        if any(_takes_components(field.annotation, field.metadata, rebuilt) for field in settings.model_fields.values()):
            settings.model_rebuild(force=True)
            rebuilt.add(settings)


def _takes_components(annotation: Any, metadata: Iterable[Any], rebuilt: set[Any]) -> bool:
    if isinstance(annotation, type) and annotation in rebuilt:
        return True
    parts = (*metadata, *get_args(annotation))
    return any(isinstance(part, Registered | RegisteredKind) or _takes_components(part, (), rebuilt) for part in parts)


# --- reading --------------------------------------------------------------------------------------------------------------------------


def component(room: str, kind: str) -> Component:
    """The component of that name; `KeyError` for an unknown one."""
    load_entry_points()
    return _components[(room, kind)]


def kinds(room: str) -> list[str]:
    """Names of the components of a room, sorted."""
    load_entry_points()
    return sorted(kind for there, kind in _components if there == room)


def rooms() -> Mapping[str, list[str]]:
    """All rooms and the names of their components, sorted."""
    load_entry_points()
    return {room: kinds(room) for room in sorted({room for room, _ in _components})}


def create(room: str, settings: Any) -> Callable[..., Any]:
    """The implementation for given settings: `create("learner", s)(s, ...)`."""
    implementation: Callable[..., Any] = component(room, settings.kind).load()
    return implementation


@dataclass(frozen=True)
class Registered:
    """Annotation of a settings field that takes any component of a room: `Annotated[Settings, Registered("learner")]`.

    With `by_name` the name of a kind alone stands for that component with its defaults. With `by_name_in_files` that holds in files, where
    the loader writes it out.
    """

    room: str
    by_name: bool = False
    by_name_in_files: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {kind: handler.generate_schema(component(self.room, kind).settings) for kind in kinds(self.room)}
        if not choices:
            return core_schema.no_info_after_validator_function(self._refuse, handler(source))
        union = core_schema.tagged_union_schema(choices, discriminator="kind")
        if not self.by_name:
            return union
        return core_schema.no_info_before_validator_function(lambda given: {"kind": given} if isinstance(given, str) else given, union)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        written = handler(schema)
        if self.by_name_in_files:
            return {"if": {"type": "string"}, "then": {"enum": kinds(self.room)}, "else": written}
        return {"anyOf": [{"enum": kinds(self.room)}, written]} if self.by_name else written

    def _refuse(self, settings: Any) -> Any:
        raise ValueError(f"no {self.room} of kind {settings.kind} is known: no package registers any; list its module under plugins")


@dataclass(frozen=True)
class RegisteredKind:
    """Annotation of a settings field that takes the name of any component of a room: `Annotated[str, RegisteredKind("averaging_rule")]`."""

    room: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.literal_schema(list(kinds(self.room)))
