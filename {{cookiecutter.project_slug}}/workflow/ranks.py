"""The processes of a training: over the nodes of a SLURM job, and in a container.

A training of several nodes is started once. It starts itself again by `srun`, as one process for
each task of the job, and waits for them. On one node Lightning starts its processes itself.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .config.values import ConfigError
from .serving import starter

IMAGE = "TRAINING_IMAGE"  # that a job's training runs in
CONTAINER = "TRAINING_CONTAINER"  # what runs it: apptainer, or enroot


def command(
    config: Mapping[str, Any], run_dir: Path, variables: Mapping[str, str] = os.environ
) -> list[str] | None:
    """Return how this training is started again; None where this process is to train.

    Args:
        config: as plain types.
        run_dir: of the training, which its processes share.

    Raises:
        ConfigError: it is of several nodes, and nothing here starts processes on them.
    """
    nodes = config["trainer"].get("num_nodes", 1)
    starts = nodes > 1 and not is_rank(variables)
    if starts and ("SLURM_JOB_ID" not in variables or not shutil.which("srun")):
        fix = f"inv train -- cluster=slurm resources.nodes={nodes} …"
        raise ConfigError("trainer.num_nodes", f"{nodes} needs a job of SLURM: {fix}")
    image = variables.get(IMAGE, "")
    if not starts and not image:
        return None
    container = variables.get(CONTAINER, "")
    by_srun = starts or (bool(image) and container == "enroot")
    return [
        *(_srun(variables, starts) if by_srun else []),
        *(_container(container, image) if image else []),
        *(["python"] if image else [sys.executable]),
        *sys.orig_argv[1:],
        *([] if _names_its_folder() else [f"hydra.run.dir={run_dir.as_posix()}"]),
    ]


def is_rank(variables: Mapping[str, str] = os.environ) -> bool:
    """Whether this is a process that srun or torchrun started, and no batch script or shell."""
    step = variables.get("SLURM_STEP_ID", "")
    # What SLURM itself starts, such as the shell of salloc, has a number from the very end.
    in_step = step.isdecimal() and int(step) < 2**31
    return in_step or "TORCHELASTIC_RUN_ID" in variables


def run(started: list[str]) -> None:
    """Run the processes of a training, and end this one if they fail.

    Ctrl-C, or the signal of a job, is for each of them: they stop at the last checkpoint.

    Raises:
        SystemExit: they failed, or were interrupted; their own output says why.
    """
    left_out = (IMAGE, CONTAINER, starter.VARIABLE)  # SLURM ends its own steps
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    if "@sha256:" in (image := os.environ.get(IMAGE, "")):
        environment["WANDB_DOCKER"] = image.partition("://")[2] or image
    signal.signal(signal.SIGINT, signal.default_int_handler)  # `interrupts` leaves none
    process = subprocess.Popen(started, env=environment, start_new_session=True)
    while True:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            if started[0] == "srun":  # it takes a Ctrl-C as a question about its state
                job = os.environ["SLURM_JOB_ID"]
                subprocess.run(["scancel", "--signal=INT", job], check=False)
            else:
                os.killpg(process.pid, signal.SIGINT)
            continue
        if code:
            raise SystemExit(code if code > 0 else 128 - code)
        return


def _srun(variables: Mapping[str, str], all_tasks: bool) -> list[str]:
    """Return srun, for all tasks of the job or for one."""
    options = ["--kill-on-bad-exit=1", "--unbuffered"]
    if not all_tasks:
        options.append("--ntasks=1")
    if cpus := variables.get("SLURM_CPUS_PER_TASK"):  # which srun itself does not read any more
        options.append(f"--cpus-per-task={cpus}")
    return ["srun", *options]


def _container(kind: str, image: str) -> list[str]:
    """Return what runs a command in a container, which sees the folders of this process."""
    cwd = Path.cwd()
    folders = {str(cwd), os.environ.get("DVC_ROOT", str(cwd))}
    if kind == "enroot":
        mounts = ",".join(f"{folder}:{folder}" for folder in sorted(folders))
        workdir = f"--container-workdir={cwd}"
        return [f"--container-image={image}", f"--container-mounts={mounts}", workdir]
    binds = [f"--bind={folder}" for folder in sorted(folders)]
    return ["apptainer", "exec", "--nv", *binds, f"--pwd={cwd}", image]


def _names_its_folder() -> bool:
    return any(argument.startswith("hydra.run.dir=") for argument in sys.orig_argv)
