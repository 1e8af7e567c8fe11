"""Kernels that do not depend on the CPU, and what they compute here: `python -m tests.behaviour.numerics` prints it as JSON.

Numerical libraries choose their kernels by the CPU, and kernels round differently. `PINNED` makes them choose the same ones on every x86
processor; the samples show whether that has worked: where they differ, recorded runs cannot be compared.
"""

from __future__ import annotations

import json
import math
import platform
import sys
from collections.abc import Mapping
from hashlib import sha256
from importlib.metadata import version
from typing import Any

PINNED: Mapping[str, str] = {
    "ATEN_CPU_CAPABILITY": "default",  # torch: kernels without AVX
    "MKL_CBWR": "COMPATIBLE",  # torch's BLAS, LAPACK and vector functions
    "ONEDNN_MAX_CPU_ISA": "SSE41",  # torch's convolutions
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",  # numpy: the instructions that every build of it needs
    "OPENBLAS_CORETYPE": "Nehalem",  # BLAS of numpy and scipy
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4",  # exp, log, sin of the C library
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""environment variables of every process of a recorded run"""
LIBRARIES = ("torch", "numpy", "scipy", "gpytorch", "linear_operator", "gymnasium", "minigrid")


def samples() -> dict[str, str]:
    """Digests of what the kernels that runs use compute from fixed numbers."""
    import numpy as np
    import torch
    from scipy import linalg

    torch.set_num_threads(1)
    rng = np.random.Generator(np.random.PCG64(5))
    a, b = rng.standard_normal((97, 65)), rng.standard_normal((65, 33))
    wide = rng.standard_normal(4099)
    spd = a.T @ a + np.eye(65)
    found: dict[str, Any] = {
        "random": (a, rng.integers(0, 1000, 999), rng.random(999, dtype=np.float32), rng.lognormal(size=99)),
        "numpy.matmul": (a @ b, a.astype(np.float32) @ b.astype(np.float32), a.T @ a, a @ b[:, 0], wide @ wide),
        "numpy.functions": [f(np.abs(wide) + 0.1) for f in (np.exp, np.log, np.sqrt, np.sin, np.cos, np.tanh, np.log1p, np.arctan)],
        "numpy.functions32": [f(np.abs(wide.astype(np.float32)) + 0.1) for f in (np.exp, np.log, np.sin, np.cos, np.tanh)],
        "numpy.power": (np.abs(wide) ** 1.7, np.hypot(wide, 2.0), np.arctan2(wide, 2.0)),
        "numpy.reductions": (wide.sum(), wide.mean(), wide.std(), wide.cumsum(), np.linalg.norm(a, axis=1)),
        "numpy.linalg": (np.linalg.cholesky(spd), np.linalg.solve(spd, a.T), np.linalg.eigvalsh(spd), np.linalg.inv(spd)),
        "scipy.linalg": (linalg.cho_solve(linalg.cho_factor(spd), a.T), linalg.solve_triangular(np.tril(spd), a.T, lower=True)),
        "math": [[f(abs(x) + 0.1) for f in (math.exp, math.log, math.sin, math.cos, math.tanh, math.atan)] for x in wide[:200]],
    }
    for kind in (torch.float32, torch.float64):
        x, y, w = (torch.tensor(value, dtype=kind) for value in (a, b, wide))
        p, s = w.abs() + 0.1, torch.tensor(spd, dtype=kind)
        name = str(kind).removeprefix("torch.")
        found[f"{name}.matmul"] = (x @ y, x.T @ x, x @ y[:, 0], torch.baddbmm(x[None], x[None], s[None]), w @ w)
        found[f"{name}.functions"] = [
            f(p) for f in (torch.exp, torch.log, torch.sqrt, torch.rsqrt, torch.sin, torch.cos, torch.tanh, torch.sigmoid, torch.erf,
                           torch.log1p, torch.expm1, torch.lgamma, torch.nn.functional.softplus, torch.nn.functional.gelu,
                           torch.nn.functional.elu, torch.nn.functional.silu)
        ]  # fmt: skip
        found[f"{name}.reductions"] = (w.sum(), w.mean(), w.std(), x.sum(0), x.softmax(1), x.logsumexp(0), x.log_softmax(-1), w.cumsum(0))
        found[f"{name}.linalg"] = (
            torch.linalg.cholesky(s),
            torch.linalg.solve(s, x.T),
            torch.linalg.eigvalsh(s),
            torch.cholesky_inverse(s),
        )
        found[f"{name}.learning"] = _learning(x, kind)
        images = torch.tensor(rng.standard_normal((6, 3, 9, 9)), dtype=kind)
        found[f"{name}.convolution"] = _convolution(images, torch.tensor(rng.standard_normal((16, 3, 3, 3)), dtype=kind))
    torch.manual_seed(3)
    found["torch.random"] = (
        torch.randn(99),
        torch.rand(99),
        torch.randperm(99),
        torch.multinomial(torch.ones(9), 5),
        torch.randn(9, dtype=torch.float64),
    )
    return {name: _digest(value) for name, value in found.items()}


def _learning(x: Any, kind: Any) -> list[Any]:
    """A layered network with a recurrent one, after three steps of Adam."""
    import torch

    torch.manual_seed(4)
    net = torch.nn.Sequential(torch.nn.Linear(65, 32), torch.nn.Tanh(), torch.nn.Linear(32, 17), torch.nn.ReLU()).to(kind)
    lstm = torch.nn.LSTM(17, 8).to(kind)
    parameters = [*net.parameters(), *lstm.parameters()]
    adam = torch.optim.Adam(parameters, lr=1e-2)
    for _ in range(3):
        adam.zero_grad()
        torch.nn.functional.smooth_l1_loss(lstm(net(x))[0], torch.zeros((), dtype=kind).expand(97, 8)).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 0.1)
        adam.step()
    return [parameter.detach() for parameter in parameters]


def _convolution(images: Any, weight: Any) -> list[Any]:
    import torch

    weight.requires_grad_(True)
    result = torch.nn.functional.conv2d(images, weight, padding=1)
    result.square().mean().backward()
    return [result.detach(), weight.grad]


def _digest(value: Any) -> str:
    import numpy as np

    parts = [np.ascontiguousarray(part) for part in (value if isinstance(value, list | tuple) else [value])]
    return sha256(b"".join(part.tobytes() for part in parts)).hexdigest()[:16]


def fingerprint() -> dict[str, str]:
    """What must be equal where a recording is to be compared: versions, the instruction set in effect, samples of the kernels."""
    import torch

    return {
        "machine": platform.machine(),
        "python": ".".join(platform.python_version_tuple()[:2]),
        "libc": "-".join(platform.libc_ver()),
        **{library: version(library) for library in LIBRARIES},
        "torch.capability": torch.backends.cpu.get_cpu_capability(),
        **{f"sample {name}": digest for name, digest in samples().items()},
    }


if __name__ == "__main__":
    json.dump(fingerprint(), sys.stdout, indent=1)
