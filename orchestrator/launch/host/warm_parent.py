"""Imported once by the warm parent of a host's nodes: loads what nodes need, and ends the parent with the host.

The names come from the environment variable `MURMURATION_PRELOAD`, separated by commas. A module that can't be imported is named in the
host's log and otherwise left out: the node that needs it will fail with its own error, in its own log.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import time

from orchestrator.launch.process_control import die_with_parent
from protocols.runtime import logs

logger = logging.getLogger(__name__)

VARIABLE = "MURMURATION_PRELOAD"

parent_pid = 0
"""number of the warm parent, once `warm_up` has run in it; its children inherit the value"""


def warm_up() -> None:
    """Import the modules, once; does nothing where the variable is not set."""
    global parent_pid
    names = os.environ.get(VARIABLE)
    if names is None or parent_pid:
        return
    parent_pid = os.getpid()
    die_with_parent()
    logs.configure()
    begin = time.monotonic()
    for name in filter(None, names.split(",")):
        try:
            importlib.import_module(name)
        except Exception as error:
            logger.warning("not preloaded: %s (%s: %s)", name, type(error).__name__, error)
    # What is here now stays as long as this process: out of the collector's sight its pages stay shared with all children.
    gc.collect()
    gc.freeze()
    logger.info("warm after %.2f s", time.monotonic() - begin)


warm_up()
