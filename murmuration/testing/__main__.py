"""`python -m murmuration.testing REQUEST FILE`: the process in which `orchestrate check-env` plays an environment.

REQUEST is a JSON object with the arguments of `try_environment`; its result is written into FILE as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from murmuration.testing.environment_trial import try_environment

if __name__ == "__main__":
    request, file = sys.argv[1:]
    Path(file).write_text(json.dumps(try_environment(**json.loads(request)).to_dict()), encoding="utf-8")
