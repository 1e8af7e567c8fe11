"""Decentralized multi-agent reinforcement learning from Python: start runs, read their results, use what their agents have learnt.

```python
import murmuration

run = murmuration.run("4agents_ring", until__time="20s")      # blocks until the run ends
run.metrics                                                    # pandas: node, name, time, step, episode, value
policy = run.policy("agent-0")
action = policy.act(observation, goal=2)
```

Every agent of a run is a process of its own, exactly as with `orchestrate up`: a run that was started here can be watched, paused and
resumed by `orchestrate`, and `load` reads runs that were started there.
"""

from __future__ import annotations

from murmuration.callbacks import Callback, Progress
from murmuration.policy import Policy
from murmuration.recorded import Run, load
from murmuration.running import RunFailedError, configurations, run
from orchestrator import __version__
from protocols.runtime.errors import ConfigurationError, MurmurationError, ResourceError, UsageError

__all__ = [
    "Callback",
    "ConfigurationError",
    "MurmurationError",
    "Policy",
    "Progress",
    "ResourceError",
    "Run",
    "RunFailedError",
    "UsageError",
    "__version__",
    "configurations",
    "load",
    "run",
]
