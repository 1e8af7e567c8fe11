"""The arrows of the house: who may import whom, and what must stay free of torch.

agent_node -> protocols, env_server -> protocols, orchestrator -> protocols. agent_node and env_server never import each other;
protocols imports none of them; orchestrator imports from agent_node and env_server only what a configuration must check.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from orchestrator.run_server.metrics.sinks.settings import ROOM, SinkSettings
from protocols.runtime.component_registry import component, kinds

ROOT = Path(__file__).parent.parent
PACKAGES = ("protocols", "env_server", "agent_node", "orchestrator", "murmuration")

ALLOWED = {
    "protocols": set(),
    "env_server": {"protocols"},
    "agent_node": {"protocols"},
    "orchestrator": {"protocols"},
    "murmuration": {"protocols", "orchestrator", "env_server"},
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


def checked_by_the_configuration(name: str) -> bool:
    """What the orchestrator may import of the other rooms: settings and registries, torch-free."""
    return not {"settings", "registry"}.isdisjoint(name.split("."))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), path.name)


@cache
def imported(path: Path, *, at_top: bool = False) -> set[str]:
    """Modules that a file imports, wherever in it; `at_top`: only those imported with the module itself."""
    tree = parsed(path)
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If)
        and isinstance(node.test, (ast.Name, ast.Attribute))
        and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    inside = {inner for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) for inner in ast.walk(node)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if at_top and (node in typing_only or node in inside):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = path.parent.relative_to(ROOT).parts[: -(node.level - 1) or None] if node.level else ()
            source = ".".join([*base, *([node.module] if node.module else [])])
            found |= {source, *(name for alias in node.names if (name := f"{source}.{alias.name}") in MODULES)}
    return found


def ours(names: set[str]) -> set[str]:
    return {name for name in names if name.split(".")[0] in PACKAGES}


@pytest.mark.parametrize("module", MODULES)
def test_arrows(module: str) -> None:
    package = module.split(".")[0]
    for name in ours(imported(MODULES[module])):
        other = name.split(".")[0]
        if other == package or other in ALLOWED[package]:
            continue
        allowed = package == "orchestrator" and (checked_by_the_configuration(name) or name in PACKAGES)
        allowed = allowed or module.startswith(COMPONENT_CHECKS)
        assert allowed, f"{module} imports {name}: {package} imports only {', '.join(ALLOWED[package]) or 'itself'}"


def test_settings_that_the_orchestrator_may_import_exist() -> None:
    assert MODULES.keys() >= {"agent_node.settings", "env_server.settings"}


@pytest.mark.parametrize("module", [name for name in MODULES if name.split(".")[0] == "protocols"])
def test_protocols_know_no_torch(module: str) -> None:
    assert not {name for name in imported(MODULES[module]) if name.split(".")[0] in {"torch", "gpytorch", "pettingzoo", "gymnasium"}}


CONVERSATIONS = [name for name in MODULES if name.startswith(("protocols.conversations", "protocols.averaging", "protocols.statistics"))]


@pytest.mark.parametrize("module", CONVERSATIONS)
def test_conversations_have_no_socket_clock_thread_or_sleep(module: str) -> None:
    forbidden = {"socket", "zmq", "time", "datetime", "threading", "asyncio", "queue", "random", "multiprocessing", "subprocess"}
    assert not {name.split(".")[0] for name in imported(MODULES[module])} & forbidden


COMPONENT_CHECKS = "murmuration.testing"
"""runs components of agents, so it imports their contracts, and torch with them"""
TORCH_FREE = sorted(
    name
    for name in MODULES
    if not name.startswith((COMPONENT_CHECKS, "agent_node.")) or (name.startswith("agent_node.") and checked_by_the_configuration(name))
)


def test_what_is_torch_free_really_is() -> None:
    """A configuration is checked, and a command line answers, without the seconds that torch takes to import."""
    script = f"""
import importlib, sys
for name in {TORCH_FREE!r}:
    importlib.import_module(name)
    assert "torch" not in sys.modules, name
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)
    assert done.returncode == 0, f"imports torch: {done.stderr.strip().splitlines()[-1]}"


@pytest.mark.parametrize("module", TORCH_FREE)
def test_torch_free_modules_do_not_import_torch_at_the_top(module: str) -> None:
    assert "torch" not in {name.split(".")[0] for name in imported(MODULES[module], at_top=True)}


def test_third_parties_that_we_import_are_declared() -> None:
    """A package that comes along with another today may not tomorrow."""
    declared = {
        re.split(r"[^A-Za-z0-9_.-]", requirement)[0].lower().replace("_", "-")
        for requirement in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    }
    declared.add("pydantic-core")  # the compiled half of pydantic, of the same project and version
    sinks = [component(ROOM, kind).settings for kind in kinds(ROOM)]
    checked_before_use = {package for settings in sinks if issubclass(settings, SinkSettings) for package in settings.packages}
    distributions = packages_distributions()
    for module, path in MODULES.items():
        for name in {name.split(".")[0] for name in imported(path)} - set(PACKAGES) - set(sys.stdlib_module_names) - checked_before_use:
            owners = {owner.lower().replace("_", "-") for owner in distributions.get(name, [])}
            assert owners & declared, f"{module} imports {name}: declare {', '.join(owners) or name} in pyproject.toml"


def test_files_of_tests_may_have_the_same_name_in_two_rooms() -> None:
    """Only within packages: else pytest imports both under one name, and collects nothing."""
    folders = {path.parent for path in (ROOT / "tests").rglob("*.py")}
    assert not [str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").exists()]
