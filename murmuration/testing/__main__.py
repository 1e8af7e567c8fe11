"""`python -m murmuration.testing REQUEST FILE [SECONDS]`: the process in which `orchestrate check-env` plays an environment.

REQUEST is a JSON object with the arguments of `try_environment`; its result is written into FILE as JSON. A call of the environment that
does not return within SECONDS (60 unless given) is a broken rule: it is written into FILE, the stacks of all threads to standard error, and
the process ends.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from murmuration.testing.contract import Contract
from murmuration.testing.environment_trial import EnvironmentTrial, try_environment

_LONGEST_CALL = 60.0
_PERIOD = 0.2


def _watch(request: dict[str, Any], file: Path, seconds: float, over: threading.Event) -> None:
    while not over.wait(_PERIOD):
        call, since = Contract.current_call
        if time.monotonic() - since < seconds:
            continue
        faulthandler.dump_traceback(all_threads=True)
        rule, cure = f"{call} has not returned for {seconds:g} s", "the stack above shows where it is; correct the environment there"
        file.write_text(json.dumps(EnvironmentTrial(request["id"], rule=rule, cure=cure).to_dict()), encoding="utf-8")
        os._exit(0)


def main(request: str, file: str, seconds: str = str(_LONGEST_CALL)) -> None:
    """Play the environment."""
    given, over = json.loads(request), threading.Event()
    Contract.current_call = (Contract.CONSTRUCTOR, time.monotonic())
    threading.Thread(target=_watch, args=(given, Path(file), float(seconds), over), daemon=True).start()
    trial = try_environment(**given)
    over.set()
    Path(file).write_text(json.dumps(trial.to_dict()), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
