"""How the kernels are compiled: by the build of the wheel (`hatch_build.py`), for the checkout and for installations alike.

    python protocols/kernels/build.py

The library has the SHA-256 of its source in it, and is used with that source only. Standard library only.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("averaging_kernels.c")
LIBRARY = SOURCE.with_name("averaging_kernels.so")
FLAGS = ("-O3", "-std=c11", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-shared")


def digest() -> str:
    """SHA-256 of the source, in hexadecimal."""
    return hashlib.sha256(SOURCE.read_bytes()).hexdigest()


def compile_kernels() -> str:
    """Compile the library beside its source; "" or why that is not possible."""
    if sys.platform not in ("linux", "darwin"):
        return f"no kernels for {sys.platform}"
    compiler = _compiler()
    try:
        with tempfile.TemporaryDirectory(dir=SOURCE.parent) as folder:
            made = Path(folder) / LIBRARY.name
            words = [*compiler, *FLAGS, f'-DSOURCE_DIGEST="{digest()}"', str(SOURCE), "-o", str(made)]
            try:
                ended = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
            except (OSError, subprocess.TimeoutExpired) as error:
                return f"no C compiler: {error}"
            if ended.returncode:
                return f"{compiler[0]}: {ended.stderr.strip()[:500]}"
            made.replace(LIBRARY)
    except OSError as error:
        return f"can't write to {SOURCE.parent}: {error.strerror}"
    return ""


def _compiler() -> list[str]:
    """The words of `CC`; else the compiler that Python was built with, which another machine may lack; else `cc`."""
    if wanted := shlex.split(os.environ.get("CC", "")):
        return wanted
    built_with = shlex.split(sysconfig.get_config_var("CC") or "")[:1]
    return built_with if built_with and shutil.which(built_with[0]) else ["cc"]


if __name__ == "__main__":
    raise SystemExit(compile_kernels() or None)
