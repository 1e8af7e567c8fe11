"""A module whose import lasts until a file exists, as that of a large library does on a busy machine."""

import os
import time
from pathlib import Path
from threading import Event

_end = time.monotonic() + 60.0
while "HOLD_IMPORTS" in os.environ and not Path(os.environ["HOLD_IMPORTS"]).exists() and time.monotonic() < _end:
    Event().wait(0.05)
