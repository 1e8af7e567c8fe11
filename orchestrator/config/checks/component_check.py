"""Components of third parties that a configuration uses, compared with their contracts before any process of the run starts.

Implementations import torch, which takes seconds and memory. A separate process imports them, so that the orchestrator stays without it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

from orchestrator.config.configuration import Configuration
from protocols.runtime.component_registry import component, kinds, load_plugins, rooms
from protocols.runtime.errors import ConfigurationError, ExitCode

TIMEOUT = 300.0
"""seconds"""


def check_components(configuration: Configuration) -> None:
    """`ConfigurationError` with the module, the rule and the cure where a component of a third party does not fulfil its contract."""
    used = {configuration.environment.id.partition(":")[0], *_kinds(configuration.model_dump(mode="json"))}
    if configuration.exchange.consensus is not None:
        used.add(configuration.exchange.consensus.mode)
    chosen = [(room, kind) for room in rooms() for kind in kinds(room) if kind in used and component(room, kind).third_party]
    if chosen:
        _check(tuple(configuration.plugins), tuple(chosen))


def _kinds(value: Any) -> Iterator[str]:
    """All values of `kind`."""
    if isinstance(value, dict):
        if isinstance(kind := value.get("kind"), str):
            yield kind
        for item in value.values():
            yield from _kinds(item)
    elif isinstance(value, list):
        for item in value:
            yield from _kinds(item)


@cache
def _check(plugins: tuple[str, ...], chosen: tuple[tuple[str, str], ...]) -> None:
    """Check these components (room, kind) in a separate process, once."""
    command = [sys.executable, "-m", __name__, json.dumps([plugins, chosen])]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        names = ", ".join(f"{room} {kind!r}" for room, kind in chosen)
        text = f"importing {names} takes more than {TIMEOUT:g} s; move what takes long out of the module"
        raise ConfigurationError(text) from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"the check of plugins ended with code {done.returncode}"]
        raise ConfigurationError(done.stdout.strip() or lines[-1])


def main(argument: str) -> int:
    """Check the components named by `argument`, JSON of the plugins and of [room, kind] pairs, and print what is wrong."""
    from agent_node.settings.builtin_components import register_builtin_components

    plugins, chosen = json.loads(argument)
    register_builtin_components()
    load_plugins(plugins)
    found = []
    for room, kind in chosen:
        try:
            component(room, kind).check()
        except ConfigurationError as error:
            found.append(str(error))
    sys.stdout.write("\n".join(found))
    return int(ExitCode.CONFIG if found else ExitCode.OK)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
