"""The first and last instructions of every node: runs in the process that the warm parent forked, around the node's own `main`."""

from __future__ import annotations

import faulthandler
import importlib
import logging
import os
import random
import signal
import sys
from typing import Any

import numpy as np

from orchestrator.launch.host import host_resources as gpus
from orchestrator.launch.host import warm_parent as preload
from orchestrator.launch.process_control import die_with_parent
from protocols.runtime import logs
from protocols.runtime.component_registry import load_plugins
from protocols.runtime.errors import ExitCode, MurmurationError
from protocols.runtime.node_start import NodeStart
from protocols.runtime.seeds import Stream, integer

logger = logging.getLogger(__name__)


def run(entry: str, start: NodeStart) -> None:
    """Prepare this process, call `entry` (`module:function`) with `start`, and end with the exit code that its outcome deserves.

    0 or what the function returns; the code of a `MurmurationError`; 10 (crash) with the traceback in the log for anything else.
    Never returns: the process ends without waiting for threads that a node has left behind.
    """
    os.setpgid(0, 0)
    die_with_parent(preload.parent_pid or None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    code = int(ExitCode.CRASH)
    try:
        _redirect(start)
        code = _call(entry, start)
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _redirect(start: NodeStart) -> None:
    """Standard output and error and all log records to the node's `log.txt`, line by line; stacks on SIGQUIT."""
    directory = start.node_directory
    directory.mkdir(parents=True, exist_ok=True)
    # A node appends to the log of its earlier incarnations. It writes by descriptor, as libraries in C do, so the file is not rotated.
    descriptor = os.open(directory / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    logs.configure(stream=sys.stderr)
    faulthandler.enable(sys.stderr)
    if hasattr(signal, "SIGQUIT"):
        faulthandler.register(signal.SIGQUIT, file=sys.stderr, all_threads=True)


def _call(entry: str, start: NodeStart) -> int:
    if start.gpu:  # CUDA reads this when it is used for the first time, which is after this
        os.environ[gpus.VARIABLE] = start.gpu
    means = f"{start.threads} threads" + (f", GPU {start.gpu}" if start.gpu else "")
    logger.info("%s incarnation %d, pid %d, %s", start.node, start.incarnation, os.getpid(), means)
    if start.cold and (kept := start.set_aside()) is not None:
        logger.info("it begins anew; its checkpoints are kept in %s", kept)
    try:
        _limit_threads(start.threads)
        _seed_globals(start)
        load_plugins(start.plugins)
        module, _, function = entry.partition(":")
        result = getattr(importlib.import_module(module), function)(start)
        return int(result or ExitCode.OK)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else (ExitCode.OK if stop.code is None else ExitCode.CRASH)
    except MurmurationError as error:
        logger.error("%s", error)
        return int(error.exit_code)
    except BaseException:
        logger.exception("uncaught, this is a crash")
        return int(ExitCode.CRASH)


def _limit_threads(threads: int) -> None:
    torch: Any = sys.modules.get("torch")
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)  # for what this node may start itself
    if torch is not None:
        torch.set_num_threads(threads)


def _seed_globals(start: NodeStart) -> None:
    """Children of one parent would share the state of the global generators. Ours are explicit; libraries may use the global ones."""
    seed = integer(start.seed, start.node, Stream.TRANSPORT) + start.incarnation
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)
