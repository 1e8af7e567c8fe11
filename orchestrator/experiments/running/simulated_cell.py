"""The process of one simulated cell: `python -m orchestrator.experiments.running.simulated_cell DIRECTORY PARENT`.

Reads `simulation.json`, simulates, and writes `summary.json` whole: what `orchestrate simulate --json` prints, with the processor time and
memory that it took, and the version of its code. It ends when its parent does.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

from orchestrator.experiments.running.experiment_store import SUMMARY
from orchestrator.launch.process_control import die_with_parent
from orchestrator.results.run_directories import SIMULATION
from orchestrator.results.run_files import read_json, write_json
from orchestrator.terminal.line_views import finite
from protocols.runtime.errors import ConfigurationError, ExitCode, MurmurationError


def main(directory: Path, parent: int) -> None:
    """Simulate the cell in `directory`. `ConfigurationError` when its configuration was changed since it was planned."""
    from orchestrator.experiments.design.experiment_design import SimulationSettings
    from orchestrator.experiments.running.array_simulation import simulation_of
    from orchestrator.experiments.running.averaging_simulation import loaded
    from orchestrator.results.software_versions import code_version

    die_with_parent(parent)
    task, code = read_json(directory / SIMULATION), code_version()
    seed = task["request"].pop("seed")
    settings = SimulationSettings(**task["request"])
    found = loaded(Path(task["base"]), task["overrides"], settings, seed)
    if found.digest != task["digest"]:
        raise ConfigurationError(f"{task['base']} was changed since the experiment was started; start it again")
    outcome = simulation_of(found.configuration, settings).run()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    facts = {"cpu_seconds": time.process_time(), "memory": memory, "code_version": code}
    write_json(directory / SUMMARY, finite({**outcome.to_dict(), **facts}))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]))
    except MurmurationError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(int(error.exit_code))
    sys.exit(int(ExitCode.OK))
