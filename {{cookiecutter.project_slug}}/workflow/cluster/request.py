"""What a training requests from SLURM: checked against its config, as options of sbatch."""

import math
from pathlib import Path
from typing import Any

from ..config.job_keys import Cluster, Resources
from ..config.values import ConfigError
from .settings import seconds

SIGNAL = "USR2"  # submitit's own; NCCL uses the other one
GPUS = ("gpu", "cuda")


def tasks_per_node(config: dict[str, Any], resources: Resources) -> int:
    """Return how many processes SLURM starts on each node.

    On one node it is one: Lightning starts the others from it, as it does anywhere.

    Args:
        config: the composed config of the training.

    Raises:
        ConfigError: resources and config do not fit together.
    """
    trainer = config["trainer"]
    nodes = trainer.get("num_nodes", 1)
    if nodes != resources.nodes:
        problem = f"{resources.nodes}, but the training uses {nodes}"
        if "devices" not in trainer:
            raise ConfigError("resources.nodes", f"{problem}: such a training has one process")
        raise ConfigError("resources.nodes", f"{problem}: trainer.num_nodes={resources.nodes}")
    if trainer.get("accelerator") in GPUS and not resources.gpus:
        raise ConfigError("resources.gpus", "0, but the training needs a GPU: resources=gpu")
    devices = trainer.get("devices", 1)
    if isinstance(devices, list):
        devices = len(devices)
    if not isinstance(devices, int) or devices < 0:  # all available ones
        devices = max(resources.gpus, 1)
    if 0 < resources.gpus < devices:
        raise ConfigError("resources.gpus", f"{resources.gpus}, but trainer.devices is {devices}")
    tasks = int(devices) if nodes > 1 else 1
    if resources.cpus % tasks:
        problem = f"{resources.cpus} cannot be divided among {tasks} processes"
        raise ConfigError("resources.cpus", problem)
    return tasks


def parameters(
    cluster: Cluster, resources: Resources, name: str, project: Path, tasks: int = 1
) -> dict[str, Any]:
    """Return the parameters of a job, as submitit names them.

    Args:
        name: of the job.
        project: where it runs.
        tasks: on each node.
    """
    placement = {
        key: getattr(resources, key)
        for key in ("partition", "account", "qos", "constraint")
        if getattr(resources, key) is not None
    }
    verbatim = {  # as it was typed, where submitit has other units or another form
        "mem": resources.memory,
        "time": resources.time,
        "signal": f"B:{SIGNAL}@{cluster.signal_seconds}",
        "chdir": str(project),
        "requeue": True,
    }
    return {
        "job_name": name,
        "nodes": resources.nodes,
        "ntasks_per_node": tasks,
        "cpus_per_task": resources.cpus // tasks,
        **({"gpus_per_node": resources.gpus} if resources.gpus else {}),
        **placement,
        "time": math.ceil(seconds(resources.time) / 60),
        "signal_delay_s": cluster.signal_seconds,
        "setup": cluster.setup or None,
        "stderr_to_stdout": True,
        "use_srun": False,  # the job runs the pipeline once; a training starts its own processes
        "wckey": None,
        "additional_parameters": {**verbatim, **cluster.options},
    }


def python(interpreter: str) -> str:
    """Return how a script starts Python: in place of the shell, which gets SLURM's signal."""
    import shlex

    return f"exec {shlex.quote(interpreter)}"


def script(options: dict[str, Any], folder: Path, command: str, tasks: int | None = None) -> str:
    """Return the script that submitit gives to sbatch.

    Args:
        options: as `parameters` returns them.
        folder: of the job's files.
        tasks: of a job array; None if it is not one.
    """
    from submitit.slurm.slurm import _make_sbatch_string

    return _make_sbatch_string(command=command, folder=folder, map_count=tasks, **options)
