"""Wrappers of a configuration (`environment.wrappers`) around environments with the API of Gymnasium or PettingZoo."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any, Literal

from pettingzoo import ParallelEnv
from pettingzoo.utils import BaseParallelWrapper, BaseWrapper

from env_server.environments.environment_factory import EnvironmentProblem, OptionProblem, problem, problems_at
from env_server.settings import EnvironmentSettings, WrapperSettings
from protocols.runtime.suggestions import hint
from protocols.runtime.user_code import located, user_function

Api = Literal["AEC", "Parallel", "Gymnasium"]
_NAMES: dict[Api, str] = {
    "AEC": "a PettingZoo environment (AEC)",
    "Parallel": "a PettingZoo environment (Parallel)",
    "Gymnasium": "a Gymnasium environment",
}
_PLACE = ("environment", "wrappers")


def api_of(environment: Any) -> Api | None:
    """The API that an object has; None where it is no environment, or several in one (`num_envs`)."""
    if not (callable(getattr(environment, "reset", None)) and callable(getattr(environment, "step", None))):
        return None
    if hasattr(environment, "num_envs"):
        return None
    if hasattr(environment, "agent_iter") and not isinstance(environment, ParallelEnv):  # its wrappers forward attributes
        return "AEC"
    if hasattr(environment, "possible_agents"):
        return "Parallel"
    return "Gymnasium" if hasattr(environment, "action_space") else None


def wrapping(settings: EnvironmentSettings) -> Callable[[Any], Any]:
    """A function that applies all wrappers in order, the first one innermost. `EnvironmentProblem` names the wrapper that does not exist,
    refuses its arguments or the environment, or returns no environment."""
    functions = []
    for index, wrapper in enumerate(settings.wrappers):
        with problems_at(*_PLACE, index):
            functions.append(user_function(wrapper.of))

    def wrapped(environment: Any) -> Any:
        for index, (wrapper, function) in enumerate(zip(settings.wrappers, functions, strict=True)):
            environment = _applied(index, wrapper, function, environment)
        return environment

    return wrapped


def _applied(index: int, wrapper: WrapperSettings, function: Callable[..., Any], environment: Any) -> Any:
    given = api_of(environment)
    try:
        made = function(environment, **wrapper.arguments)
    except EnvironmentProblem:
        raise
    except Exception as error:
        if strange := _unknown_arguments(index, wrapper, function):
            raise EnvironmentProblem(*strange) from error
        inside = error.__traceback__ is not None and error.__traceback__.tb_next is not None
        raised = located(error) if inside else f"{type(error).__name__}: {error}"
        text = f"{wrapper.of} cannot wrap {type(environment).__name__ if given is None else _NAMES[given]}"
        if wrapper.of.startswith("gymnasium.") and given != "Gymnasium":
            cure = "wrappers of gymnasium need a Gymnasium environment; use one for PettingZoo, for example of supersuit"
        else:
            cure = "correct its arguments, or leave it out"
        raise problem(f"{text}: {raised}; {cure}", *_PLACE, index) from error
    if text := _refusal(wrapper.of, environment, made):
        raise problem(text, *_PLACE, index)
    return made


def _refusal(name: str, environment: Any, made: Any) -> str:
    """Why `made` cannot take the place of the environment that the wrapper `name` was given; "" where it can."""
    if api_of(made) is None:
        if hasattr(made, "num_envs"):
            return f"{name} makes a vectorised environment, {type(made).__name__}: leave it out, and set environment.copies"
        return f"{name} returns a {type(made).__name__}, which is no environment: return the wrapped environment"
    if getattr(made, "env", None) is not environment:
        return ""
    given = api_of(environment)
    if given == "AEC" and isinstance(made, BaseParallelWrapper):
        cure = "derive it from pettingzoo.utils.BaseWrapper, or write pettingzoo.utils.conversions:aec_to_parallel before it"
        return f"{name} wraps environments with the Parallel API, and this one has the AEC API: {cure}"
    if given == "Parallel" and isinstance(made, BaseWrapper):
        cure = "derive it from pettingzoo.utils.BaseParallelWrapper"
        return f"{name} wraps environments with the AEC API, and this one has the Parallel API: {cure}"
    return ""


def _unknown_arguments(index: int, wrapper: WrapperSettings, function: Callable[..., Any]) -> list[OptionProblem]:
    """A problem for each argument that the wrapper does not have."""
    try:
        parameters = signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    if any(parameter.kind == Parameter.VAR_KEYWORD for parameter in parameters):
        return []
    names = [parameter.name for parameter in parameters if parameter.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)]
    return [
        OptionProblem((*_PLACE, index, "arguments", name), f"{wrapper.of} has no such argument; {_known(name, names[1:])}")
        for name in wrapper.arguments
        if name not in names[1:]
    ]


def _known(name: str, names: list[str]) -> str:
    return hint(name, names) or (f"it has {', '.join(names)}" if names else "it has none besides the environment")
