"""Ways to stand still: each is the body of a function of its own, whose name is in the stack, and ends when its file is removed."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from pathlib import Path

VARIABLE = "PLANTED_HANGS"
"""folder with a file PLACE.NODE for each hang that is wanted; its text is the name of the hang"""


def sleep_long(path: Path) -> None:
    """Wait without using the processor."""
    while path.exists():
        time.sleep(0.02)


def spin_forever(path: Path) -> None:
    """Use the processor, in Python."""
    while path.exists():
        sum(i * i for i in range(10_000))


def take_two_locks(path: Path) -> None:
    """Wait for a lock that another thread holds."""
    lock, held = threading.Lock(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            sleep_long(path)

    threading.Thread(target=hold, daemon=True).start()
    held.wait()
    with lock:
        pass


def compute_natively(path: Path) -> None:
    """Use the processor in native code that does not release the interpreter: no other thread runs, so no heartbeat is sent."""
    while path.exists():
        sum(range(300_000_000))


HANGS = {hang.__name__: hang for hang in (sleep_long, spin_forever, take_two_locks, compute_natively)}


def plant(place: str) -> None:
    """Stand still here, if that is wanted of this node."""
    if folder := os.environ.get(VARIABLE):
        path = Path(folder) / f"{place}.{multiprocessing.current_process().name}"
        if path.exists():
            HANGS[path.read_text()](path)
