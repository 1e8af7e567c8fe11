"""Whether a silent process of this machine is dead, or waits for a processor.

On a crowded machine a running process sends nothing for seconds, since the kernel does not let it run. The kernel counts for every
thread the time on a processor and the time that it was ready and waited for one (`/proc/PID/task/*/schedstat`, Linux). A process that
waited for a considerable part of its silence is starved: it is not declared dead before `STARVED_LIMIT` times the usual silence. One
that sleeps, hangs or is stopped waits for no processor, and one that is gone has no counts: for these nothing changes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

STARVED_LIMIT = 6.0
"""longest silence of a starved process, in units of the silence after which others are dead"""
SHARE = 0.25
"""least part of the silence that a starved process has waited for a processor, all its threads together"""
_PROC = Path("/proc")
_STOPPED = frozenset("TtZX")


@dataclass(frozen=True)
class ProcessorTime:
    """What one process has had of the processors since its start, in seconds, over all its threads."""

    used: float
    waited: float
    """ready to run, without a processor"""
    stopped: bool = False
    """by a signal or a debugger; or it has ended and was not collected"""


def processor_time(pid: int, proc: Path = _PROC) -> ProcessorTime | None:
    """The counts of that process; None where it does not exist, or the system has no such counts."""
    used = waited = 0.0
    counted = False
    try:
        state = (proc / str(pid) / "stat").read_text().rpartition(") ")[2][:1]
        threads = list((proc / str(pid) / "task").iterdir())
    except OSError:
        return None
    for thread in threads:
        with contextlib.suppress(OSError, ValueError):  # a thread may end meanwhile
            run, wait, _ = (thread / "schedstat").read_text().split()
            used, waited, counted = used + int(run) / 1e9, waited + int(wait) / 1e9, True
    return ProcessorTime(used, waited, state in _STOPPED) if counted else None


def is_starved(before: ProcessorTime | None, after: ProcessorTime | None, seconds: float) -> bool:
    """Whether a process that was silent for these `seconds`, with the counts `before` and `after`, is there and lacked a processor."""
    if before is None or after is None or after.stopped or seconds <= 0:
        return False
    return after.waited - before.waited >= SHARE * seconds


@dataclass
class _Silence:
    since: float
    begun: float
    before: ProcessorTime | None
    starved: bool = False


class StarvationWatch:
    """Examines silent processes. `pid_of` gives the process of a name on this machine, None for one elsewhere or not known."""

    def __init__(self, pid_of: Callable[[str], int | None], read: Callable[[int], ProcessorTime | None] = processor_time) -> None:
        self._pid_of, self._read = pid_of, read
        self._silences: dict[str, _Silence] = {}
        self.starved: list[tuple[str, str]] = []
        """(name, reason in words) of each process newly found to be starved; the caller empties it"""

    def spares(self, name: str, since: float, now: float, limit: float) -> bool:
        """Whether a process that is silent since `since` is not to be declared dead at `now`. Call it from the time on when the silence
        is suspicious: the first call begins the measurement. `limit`: seconds of silence after which others are dead."""
        silence = self._silences.get(name)
        if silence is None or silence.since != since:
            pid = self._pid_of(name)
            self._silences[name] = _Silence(since, now, None if pid is None else self._read(pid))
            return False
        if now - since < limit or silence.before is None or now - since >= STARVED_LIMIT * limit:
            return False
        pid = self._pid_of(name)
        after = None if pid is None else self._read(pid)
        starved = is_starved(silence.before, after, now - silence.begun)
        if starved and after is not None and not silence.starved:
            silence.starved = True
            waited, seconds = after.waited - silence.before.waited, now - silence.begun
            text = f"{name} is silent for {now - since:.1f} s and is not dead: in {seconds:.1f} s it waited {waited:.1f} s for a processor"
            self.starved.append((name, f"{text}. It is declared dead after {STARVED_LIMIT * limit:g} s; give this machine less to do"))
        return starved
