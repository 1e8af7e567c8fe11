"""The host program as the child of an actor: `python -m orchestrator.launch.ray.ray_host`, invitation on standard input."""

from __future__ import annotations

import signal
import sys

from orchestrator.launch.host import host_process as host
from orchestrator.launch.process_control import die_with_parent

if __name__ == "__main__":
    # Ray ends an actor without a word when its driver or its node is gone. Its host and the nodes must not outlive it.
    die_with_parent()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # Ray's threads block SIGINT, and children inherit that
    sys.exit(host.main())
