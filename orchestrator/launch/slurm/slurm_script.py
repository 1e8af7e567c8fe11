"""The job that a run submits to Slurm: what is asked for, and the script that holds the nodes and does nothing else.

The run server stays where it is and starts its hosts in the job as steps. A run server that was killed can't give the nodes back, so the
script watches: when no step of the run was there for `IDLE`, it ends, and the job with it. (Hosts end by themselves when they have not
had a message of their run server for `supervision.orphan`.) Some time before the job's end Slurm sends the script SIGTERM, and it calls
`orchestrate down`: every agent writes its checkpoint, and `orchestrate up --resume` goes on in another job.
"""

from __future__ import annotations

import math
import shutil
import sys
from pathlib import Path
from shlex import quote

from orchestrator.config.configuration import Configuration
from orchestrator.launch.slurm.slurm_commands import PATIENCE

LOOK = 15
"""seconds between two looks at the steps of the job"""
IDLE = 60
"""seconds without a step of the run after which the job ends"""
WARNING = 60
"""seconds before the end of the job's time at which the run is stopped; Slurm may do it a minute earlier"""
_STOP = WARNING - 10
_MIB = 2**20


def needs(configuration: Configuration) -> tuple[int, int, str]:
    """Processor cores, MiB of memory and generic resources of each node of the job.

    Cores are the sum over all nodes of the run, divided among the hosts. Memory is enough for an equal share of the agents and the
    environment server, and where the nodes of a lost host may go to the others, for a share of theirs too. So are GPUs, where agents have
    one each to themselves.
    """
    launch, agents = configuration.launch, configuration.agents.count
    of = launch.resources
    cores = math.ceil((agents * of.agent.cores + of.env.cores) / launch.hosts)
    moves = launch.hosts > 1 and launch.placement.relocate and configuration.clock == "wall"
    share = math.ceil(agents / (launch.hosts - 1 if moves else launch.hosts))
    memory = share * of.agent.memory + of.env.memory if launch.slurm.memory is None else launch.slurm.memory
    gres = launch.slurm.gres or (f"gpu:{share * of.agent.gpus}" if of.agent.gpus else "")
    return max(1, cores) if launch.slurm.cores is None else launch.slurm.cores, math.ceil(memory / _MIB), gres


def submission(configuration: Configuration, name: str) -> list[str]:
    """The command that submits the job; the script goes to its standard input."""
    launch = configuration.launch
    cores, memory, gres = needs(configuration)
    wanted = launch.slurm
    options = {"partition": wanted.partition, "account": wanted.account, "gres": gres}
    if wanted.time is not None:
        options["time"] = str(math.ceil(wanted.time / 60))
    return [
        "sbatch",
        "--parsable",
        # One node that fails is not the end of the others, and a job without its run server must not begin again.
        "--no-kill",
        "--no-requeue",
        f"--job-name={name}",
        f"--nodes={launch.hosts}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={cores}",
        f"--mem={memory}M",
        f"--signal=B:TERM@{WARNING}",
        "--output=/dev/null",
        *(f"--{option}={value}" for option, value in options.items() if value),
        *wanted.extra,
    ]


def script(directory: Path, name: str, note: str) -> str:
    """What the job of that name runs on its first node; the file `note` shows whether it still is the run's. Its words go to
    `hosts/job.log` where that node sees the run's directory."""
    log = directory / "hosts" / "job.log"
    stop = [sys.executable, "-m", "orchestrator", "down", str(directory), "--grace", f"{_STOP}s"]
    return f"""#!/bin/sh
# Holds the nodes of the run {directory.name}, whose processes are started from elsewhere.
[ -d {quote(str(log.parent))} ] && exec >>{quote(str(log))} 2>&1
squeue={quote(shutil.which("squeue") or "squeue")}
command -v "$squeue" || exit 1
time_is_over() {{
    trap '' TERM
    echo "job $SLURM_JOB_ID is requested to end: its time is nearly over, or it is cancelled"
    # Not a run that goes on in another job.
    grep -q {quote(name)} {quote(str(directory / note))} || exit 0
    {" ".join(map(quote, stop))}
    exit 0
}}
trap time_is_over TERM
idle=0
while [ "$idle" -lt {IDLE} ]; do
    sleep {LOOK} & wait $!
    # No answer decides nothing: slurmctld may be down for a while.
    if steps=$("$squeue" --steps --noheader --jobs="$SLURM_JOB_ID" --format=%j); then
        case $steps in
            *{quote(name)}*) idle=0 ;;
            *) idle=$((idle + {LOOK})) ;;
        esac
    fi
done
echo "nothing of the run was here for {IDLE} s: job $SLURM_JOB_ID ends"
"""


def cure(words: str) -> str:
    """What to do about a submission that was refused with these words."""
    said = words.lower()
    if "partition" in said and "limit" not in said:
        return "set launch.slurm.partition to one that `sinfo -s` lists"
    if "account" in said or "association" in said:
        return "set launch.slurm.account to an account of yours (`sacctmgr show associations user=$USER`)"
    if "generic resource" in said or "gres" in said:
        return "set launch.slurm.gres to what `sinfo -o '%N %G'` lists"
    if "time limit" in said or "partitiontimelimit" in said:
        return "set launch.slurm.time to less than the partition's limit (`sinfo -o '%P %l'`)"
    if "no answer" in said or "unable to contact" in said:
        return f"slurmctld must answer within {PATIENCE:g} s: try `scontrol ping`"
    return "fewer launch.hosts, or less in launch.slurm.cores, memory, gres and extra; what there is: `sinfo -N -o '%N %c %m %G %T'`"
