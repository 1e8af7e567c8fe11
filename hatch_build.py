"""Build hook of the wheel: compile the kernels of averaging where there is a C compiler; without one the wheel has the numpy forms only."""

from __future__ import annotations

import importlib.util
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

KERNELS = "protocols/kernels"


class KernelBuildHook(BuildHookInterface):  # type: ignore[type-arg,misc]
    """Adds the compiled library to the wheel, whose name then has the platform; any Python 3 can load it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the files are collected; for an editable installation too."""
        specification = importlib.util.spec_from_file_location("kernels_build", Path(self.root) / KERNELS / "build.py")
        if specification is None or specification.loader is None:
            return
        build = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(build)
        if problem := build.compile_kernels():
            self.app.display_warning(f"averaging uses numpy, since its kernels can't be compiled: {problem}")
            return
        build_data["artifacts"].append(f"{KERNELS}/{build.LIBRARY.name}")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
