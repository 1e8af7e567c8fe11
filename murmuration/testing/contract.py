"""What all checks have in common: the error, and rules that hold for components of every kind."""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from operator import eq
from typing import Any, ClassVar, NoReturn, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Component
from agent_node.settings.builtin_components import register_builtin_components
from protocols.runtime import component_registry
from protocols.runtime.errors import ConfigurationError
from protocols.runtime.settings_types import Settings

Made = TypeVar("Made", bound=Component)
Drawn = TypeVar("Drawn")


class ContractError(AssertionError):
    """A component breaks a rule of its contract. The text names the component, the rule and the cure."""

    def __init__(self, component: str, rule: str, cure: str) -> None:
        super().__init__(f"{component}: {rule}; {cure}")
        self.component, self.rule, self.cure = component, rule, cure


class Contract:
    """Rules of one component, by the name that errors begin with."""

    CONSTRUCTOR = "the constructor"
    current_call: ClassVar[tuple[str, float]] = (CONSTRUCTOR, time.monotonic())
    """the call that is being made, and since when; between two calls the constructor may be"""

    def __init__(self, component: str) -> None:
        self.component = component

    def broken(self, rule: str, cure: str, cause: Exception | None = None) -> NoReturn:
        """`ContractError`: this rule does not hold."""
        raise ContractError(self.component, rule, cure) from cause

    def refused(self, error: Exception, cure: str = "") -> NoReturn:
        """`ContractError` by an error whose text is `rule; cure`; `cure` where it names none."""
        rule, _, named = str(error).rpartition("; ")
        self.broken(rule or named, named if rule else cure, error)

    def require(self, holds: object, rule: str, cure: str) -> None:
        """`ContractError` where a rule does not hold."""
        if not holds:
            self.broken(rule, cure)

    @contextmanager
    def calling(self, call: str, cure: str = "it must accept these arguments", global_draws: bool = False) -> Iterator[None]:
        """`ContractError` where a call raises anything, or, without `global_draws`, draws from global random generators."""
        before = _global_random()
        Contract.current_call = (call, time.monotonic())
        try:
            yield
        except ContractError:
            raise
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            self.broken(f"{call} raised {type(error).__name__}: {error} ({frame.filename}:{frame.lineno})", cure, error)
        finally:
            Contract.current_call = (self.CONSTRUCTOR, time.monotonic())
        for name, state in () if global_draws else _global_random().items():
            text = f"{call} draws from the global random generator of {name}, and runs do not repeat"
            self.require(state == before[name], text, "draw from generators made of the seeds that the component receives")

    def repeats(self, call: str, draw: Callable[[np.random.Generator], Drawn], same: Callable[[Drawn, Drawn], bool] = eq) -> Drawn:
        """The result of a call that takes a generator; two equal generators give the same result."""
        with self.calling(f"{call}(random)"):
            one, other = draw(np.random.default_rng(0)), draw(np.random.default_rng(0))
        self.require(same(one, other), f"{call} differs for two equal generators", "draw from `random` only")
        return one

    @contextmanager
    def unchanged(self, rule: str, *arrays: NDArray[Any]) -> Iterator[None]:
        """What is done within leaves these arrays as they are."""
        kept = [array.copy() for array in arrays]
        yield
        self.require(all(map(np.array_equal, arrays, kept)), rule, "copy arrays before changing them")

    def refuses(self, rule: str, cure: str, call: Callable[[], object]) -> None:
        """A call raises `ValueError`; where it does not, `rule` is what it accepts."""
        try:
            call()
        except ValueError:
            return
        self.broken(rule, cure)

    def array(self, array: Any, what: str, shape: tuple[int, ...], dtype: str | np.dtype[Any], lowest: float = -np.inf) -> None:
        """`array` has this shape, this dtype or a dtype of these kinds ("f": float), finite values and none below `lowest`."""
        self.require(isinstance(array, np.ndarray), f"{what} is a {type(array).__name__}", "return a NumPy array")
        self.require(
            array.shape == shape, f"{what} has shape {list(array.shape)} instead of {list(shape)}", "return one row for each input"
        )
        fits = array.dtype.kind in dtype if isinstance(dtype, str) else array.dtype == dtype
        self.require(fits, f"{what} has dtype {array.dtype}", f"return {_KINDS[dtype] if isinstance(dtype, str) else dtype}")
        if array.dtype.kind == "f":
            self.require(np.isfinite(array).all(), f"{what} contains values that are not finite", "clamp them")
        self.require(array.size == 0 or array.min() >= lowest, f"{what} contains values below {lowest:g}", "correct the computation")

    def metrics(self, metrics: Any, call: str) -> None:
        """Metrics are a dict of names to finite floats."""
        self.require(isinstance(metrics, Mapping), f"{call} returned a {type(metrics).__name__}", "return a dict of names to floats")
        for name, value in metrics.items():
            fits = isinstance(name, str) and isinstance(value, float | int) and np.isfinite(value)
            self.require(fits, f"{call} returned {name!r}: {value!r}", "return a dict of names to finite floats")


class ComponentContract(Contract):
    """Rules of a registered component, `what` in words, whose settings derive from `base`."""

    def __init__(self, what: str, room: str, settings: Any, base: type[Settings]) -> None:
        super().__init__(f"{what} {type(settings).__name__}")
        self.settings = settings
        self.entry = self._registered(room, getattr(settings, "kind", None))
        cure = "derive them from it, or from a class of its room that does"
        self.require(isinstance(settings, base), f"the settings do not derive from {base.__name__}", cure)

    def _registered(self, room: str, kind: object) -> component_registry.Component:
        """The registry entry of the settings, compared with the contract of its room."""
        register_builtin_components()
        try:
            entry = component_registry.component(room, str(kind))
        except KeyError:
            cure = f'call register("{room}", "{kind}", {type(self.settings).__name__}, "module:attribute")'
            self.broken(f"nothing of kind {kind!r} is registered in the room {room}", cure)
        try:
            entry.check()
        except ConfigurationError as error:
            self.refused(error)
        return entry

    def make(self, *arguments: Any) -> Any:
        """The registered implementation, constructed with the settings and `arguments`."""
        settings = self.settings
        cure = f"it takes (settings, {', '.join(type(one).__name__ for one in arguments)})"
        with self.calling("the constructor", cure, global_draws=True):  # layers of torch draw values that are replaced
            made = self.entry.load()(settings, *arguments)
        cure = "write self.settings = settings in the constructor"
        self.require(getattr(made, "settings", None) == settings, "the attribute `settings` is not the settings object", cure)
        return made

    def checkpoint(self, trained: Made, fresh: Made) -> None:
        """`fresh.load_state_dict(trained.state_dict())` restores the state."""
        with self.calling("state_dict()"):
            state = trained.state_dict()
        for name, tensor in state.items():
            text = f"state_dict()[{name!r}] is a {type(tensor).__name__}"
            self.require(isinstance(name, str) and isinstance(tensor, torch.Tensor), text, "return flat names to tensors")
        copied = {name: tensor.detach().clone() for name, tensor in state.items()}
        with self.calling("load_state_dict(state_dict())"):
            fresh.load_state_dict(copied)
            again = fresh.state_dict()
        differing = different(copied, again)
        cure = "restore every entry that state_dict returns"
        self.require(not differing, f"load_state_dict does not restore {', '.join(differing)}", cure)
        if any(tensor.dim() for tensor in copied.values()):
            self._other_shape(fresh, copied)

    def _other_shape(self, component: Component, state: dict[str, torch.Tensor]) -> None:
        name = max((name for name in state if state[name].dim()), key=lambda name: state[name].numel())
        what, cure = f"{name!r} in another shape", "raise ValueError with the name of what does not fit"
        try:
            component.load_state_dict({**state, name: torch.zeros((*state[name].shape, 2), dtype=state[name].dtype)})
        except (ValueError, KeyError):
            return
        except Exception as error:
            self.broken(f"load_state_dict raises {type(error).__name__} for {what}", cure, error)
        self.broken(f"load_state_dict accepts {what}", cure)

    def groups(self, component: Component, declared: Collection[str]) -> dict[str, list[torch.Tensor]]:
        """`parameter_groups()` contains the declared groups as live tensors."""
        with self.calling("parameter_groups()"):
            groups = {name: list(tensors) for name, tensors in component.parameter_groups().items()}
        unknown = sorted(set(groups) - set(declared))
        self.require(
            not unknown, f"parameter_groups() contains {unknown}, which `groups` of the settings lacks", "declare them in `groups`"
        )
        missing = sorted(set(declared) - set(groups))
        text = f"`groups` of the settings declares {missing}, which parameter_groups() lacks"
        self.require(not missing, text, "return these groups, or declare groups = ()")
        again = component.parameter_groups()
        for name, tensors in groups.items():
            same = [tensor.data_ptr() for tensor in tensors] == [tensor.data_ptr() for tensor in again[name]]
            text = f"parameter_groups()[{name!r}] are copies, and averaging would not change the component"
            self.require(same, text, "return the live tensors")
        return groups


_KINDS = {"f": "floating-point numbers", "i": "integers", "fiu": "numbers", "fib": "numbers", "b": "booleans"}


def different(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> list[str]:
    """Names of the tensors that are missing on one side or differ in value, sorted as in `one`."""
    return sorted(name for name in one.keys() | other.keys() if name not in one or name not in other or not _equal(one[name], other[name]))


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and bool(torch.equal(torch.nan_to_num(one.detach()), torch.nan_to_num(other.detach())))


def _global_random() -> dict[str, Any]:
    legacy: Any = np.random.get_state()
    return {"Python": random.getstate(), "NumPy": (legacy[1].tobytes(), legacy[2:]), "torch": torch.get_rng_state().numpy().tobytes()}
