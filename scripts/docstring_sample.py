"""Print a random sample of the public docstrings, to be scored by a reader.

    python scripts/docstring_sample.py                       60 docstrings, seed 0
    python scripts/docstring_sample.py --number 30 --seed 4  another sample

The population: all classes, functions, methods and properties of the five packages whose names, and whose classes' names, have no leading
underscore, sorted by file and line. Overloads and setters are left out. A reader scores each docstring:

    0  empty, or repeats the name
    1  thin: states what, but not the shapes, units, errors, formula or source that a caller needs
    2  complete for its purpose; one short line where nothing else is needed, such as for a simple property
"""

from __future__ import annotations

import argparse
import ast
import inspect
import random
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("protocols", "env_server", "agent_node", "orchestrator", "murmuration")
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def public_definitions(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[int, str, str]]:
    """Line, qualified name and docstring (empty where it is missing) of each public definition in a body; functions are not entered."""
    for node in body:
        if not isinstance(node, Definition) or node.name.startswith("_"):
            continue
        if not any(ast.unparse(decorator).split(".")[-1] in ("overload", "setter") for decorator in node.decorator_list):
            yield node.lineno, prefix + node.name, inspect.cleandoc(ast.get_docstring(node) or "")
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node.body, f"{prefix}{node.name}.")


def population() -> list[tuple[str, int, str, str]]:
    """File, line, qualified name and docstring of all public definitions, sorted by file and line."""
    files = (file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    return sorted(
        (file.relative_to(ROOT).as_posix(), *definition)
        for file in files
        for definition in public_definitions(ast.parse(file.read_text(encoding="utf-8")).body)
    )


def main() -> None:
    """Print the sample."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for number, (file, line, name, docstring) in enumerate(random.Random(options.seed).sample(population(), options.number), 1):
        print(f"{number:3} {file}:{line} {name}\n{docstring or '(none)'}\n")


if __name__ == "__main__":
    main()
