"""SLURM's own commands: whether SLURM is here, whether a job can start, what became of it.

Without accounting (`sacct`), SLURM forgets a job some minutes after its end: what a job left in its
own folder counts first, and `scontrol` is asked before `sacct`.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass

from ..config.job_keys import Resources
from ..errors import CommandError, one_line, shortened
from .settings import megabytes, seconds

ANSWER_SECONDS = 60
UNKNOWN = "Invalid job id"  # of a job that has ended some minutes ago
# Of the states, those of a job that waits or runs.
WAITING = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
RUNNING = {"RUNNING", "CONFIGURING", "COMPLETING", "STOPPED", "SUSPENDED", "SIGNALING", "STAGE_OUT"}
# SLURM's reasons are written for administrators; these are for the person who waits.
REASONS = {
    "Priority": "other jobs are ahead of it",
    "Resources": "the resources that it needs are in use",
    "BeginTime": "it was requeued, and starts again soon",
    "PartitionTimeLimit": "its time limit exceeds that of its partition: it never starts",
    "PartitionNodeLimit": "it needs more nodes than its partition has: it never starts",
    "ReqNodeNotAvail": "nodes that it needs are down or reserved",
}


@dataclass(frozen=True)
class State:
    """What SLURM says of a job, or of one task of an array.

    Args:
        name: as SLURM writes it, such as RUNNING or OUT_OF_MEMORY.
        reason: why it waits.
        nodes: where it runs, or ran.
        exit_code: and the signal that ended it, such as 0:9.
        restarts: how often it was requeued.
    """

    name: str
    reason: str = ""
    nodes: str = ""
    exit_code: str = ""
    restarts: int = 0

    @property
    def is_waiting(self) -> bool:
        return self.name in WAITING

    @property
    def is_running(self) -> bool:
        return self.name in RUNNING

    @property
    def has_ended(self) -> bool:
        return not self.is_waiting and not self.is_running


def require() -> None:
    """Raise CommandError where there is no SLURM, or its controller does not answer."""
    for command in ("sbatch", "srun", "scontrol"):
        if not shutil.which(command):
            raise CommandError(
                f"no SLURM here ({command} is not on the PATH): submit from a login node of the"
                " cluster, or train on this machine: cluster=local"
            )
    code, _, error = run("scontrol", "ping")
    if code:
        reason = shortened(error or "its controller is down")
        raise CommandError(f"SLURM does not answer: {reason}")


def run(*command: str, text: str = "") -> tuple[int, str, str]:
    """Run a command of SLURM's; return its exit code, what it printed, and its error in one line.

    A command that is missing, or does not answer, gets an exit code, too.
    """
    try:
        done = subprocess.run(
            command,
            input=text,
            # Else it cuts the list of an array's tasks off, and those that wait seem to be gone.
            env={**variables(), "SLURM_BITSTR_LEN": "0"},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=ANSWER_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        return 127, "", f"{command[0]} is not on the PATH"
    except subprocess.TimeoutExpired:
        return 124, "", f"{command[0]}: no answer in {ANSWER_SECONDS} seconds"
    error = re.sub(rf"^{command[0]}: (error: )?", "", done.stderr.strip(), flags=re.MULTILINE)
    return done.returncode, done.stdout, one_line(error) if error else ""


def variables() -> dict[str, str]:
    """Return the environment of a job: without what sbatch would read in place of the script.

    The variables of a job that this process runs in are left out, too.
    """

    def is_dropped(name: str) -> bool:
        return name.startswith(("SBATCH_", "SLURM_", "SLURMD_", "SRUN_", "SUBMITIT_"))

    client_names = {"SLURM_CONF", "SLURM_CLUSTERS", "SLURM_TIME_FORMAT"}
    return {
        name: v for name, v in os.environ.items() if name in client_names or not is_dropped(name)
    }


def refusal(script: str, resources: Resources) -> str:
    """Return why a job can never start; "" where it can, as far as SLURM knows."""
    partitions = _partitions()
    for partition in resources.partition.split(",") if resources.partition and partitions else ():
        if partition not in partitions:
            return f"resources.partition: no {partition}; there are: {', '.join(partitions)}"
    if problem := _beyond_partition(resources):
        return problem
    code, _, error = run("sbatch", "--test-only", text=script)
    if not code:
        return ""
    problem = re.sub("^(allocation failure|Batch job submission failed): ", "", error)
    if "configuration is not available" in problem and (largest := _largest(resources)):
        return f"{problem}: {largest}"
    return problem


def start(script: str) -> str:
    """Return when and where SLURM expects a job to start, in its own words."""
    _, _, error = run("sbatch", "--test-only", text=script)
    return re.sub(r"^Job \d+ ", "", error)


def states(job: str) -> dict[str, State]:
    """Return what SLURM knows of a job, by its id: of an array, by `ID_INDEX`.

    Raises:
        CommandError: SLURM is not here, or does not answer.
    """
    code, printed, error = run("scontrol", "--oneliner", "show", "job", job)
    if not code and (parsed := _parsed(printed)):
        return parsed
    if UNKNOWN not in error:
        reason = error or printed.strip() or "scontrol prints nothing"
        raise CommandError(f"SLURM does not answer: {shortened(reason, 80)}")
    fields = "JobID,State,ExitCode,NodeList,Reason"
    options = ("--noheader", "--allocations", "--parsable2", f"--format={fields}")
    code, printed, _ = run("sacct", f"--jobs={job}", *options)
    return {} if code else _accounted(printed, job)


def cancel(job: str) -> None:
    """End a job, or all of an array.

    Raises:
        CommandError: SLURM refused.
    """
    code, _, error = run("scancel", job)
    if code:
        raise CommandError(f"job {job}: {error}")


def _parsed(printed: str) -> dict[str, State]:
    by_job = {}
    for line in printed.splitlines():
        values: dict[str, str] = {}
        for name, value in re.findall(r"(?:^|\s)(\w+)=(\S*)", line):
            values.setdefault(name, value)
        if "JobState" not in values:
            continue
        state = State(
            values["JobState"],
            _empty(values.get("Reason", "")),
            _empty(values.get("NodeList", "")),
            values.get("ExitCode", ""),
            int(values.get("Restarts") or 0),
        )
        for job in _names(values):
            by_job[job] = state
    return by_job


def _names(values: dict[str, str]) -> list[str]:
    """Return the ids that a line of scontrol stands for: `12`, `12_3`, or `12_4`, `12_5` …"""
    if "ArrayJobId" not in values:
        return [values["JobId"]]
    return [f"{values['ArrayJobId']}_{index}" for index in indices(values["ArrayTaskId"])]


def indices(text: str) -> list[int]:
    """Return the numbers of tasks of an array: of `1,4-8:2%2` they are 1, 4, 6 and 8."""
    numbers: list[int] = []
    for part in text.partition("%")[0].split(","):
        if found := re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part):
            first, last, step = (int(number or 0) for number in found.groups())
            numbers += range(first, max(first, last) + 1, step or 1)
    return numbers


def _accounted(printed: str, job: str) -> dict[str, State]:
    by_task = {}
    for line in printed.splitlines():
        fields = line.split("|")
        if len(fields) < 3 or not fields[1] or fields[0].split("_")[0] != job.split("_")[0]:
            continue  # a cluster without accounting may answer something else
        name, state, code, nodes, reason = [*fields, "", ""][:5]
        main, _, index = name.partition("_")
        for task in [f"{main}_{i}" for i in indices(index.strip("[]"))] or [main]:
            by_task[task] = State(state.split()[0], _empty(reason), _empty(nodes), code)
    return by_task


def _empty(text: str) -> str:
    return "" if text in ("None", "(null)", "None assigned") else text


@dataclass(frozen=True)
class _Nodes:
    """Nodes of a partition that are alike."""

    partition: str
    is_default: bool
    time: str
    count: int
    cpus: int
    memory: int
    gpus: int


def _nodes() -> list[_Nodes]:
    """Return the nodes of all partitions; none where SLURM does not say."""
    code, printed, _ = run("sinfo", "--noheader", "--format=%P|%l|%D|%c|%m|%G")
    nodes = []
    for line in [] if code else printed.splitlines():
        if line.count("|") != 5:  # a banner of the site's
            continue
        partition, time, count, cpus, memory, gres = line.split("|")
        gpus = sum(int(number) for number in re.findall(r"gpu(?::[^:,(]+)?:(\d+)", gres))
        nodes.append(
            _Nodes(
                partition.rstrip("*"),
                partition.endswith("*"),
                time,
                int(count),
                int(re.sub(r"\D", "", cpus) or 0),
                int(re.sub(r"\D", "", memory) or 0),
                gpus,
            )
        )
    return nodes


def _partitions() -> list[str]:
    return sorted({nodes.partition for nodes in _nodes()})


def _of(resources: Resources) -> list[_Nodes]:
    """Return the nodes of the partitions that are asked for."""
    partitions = resources.partition.split(",") if resources.partition else None
    return [
        nodes
        for nodes in _nodes()
        if (nodes.partition in partitions if partitions is not None else nodes.is_default)
    ]


def _beyond_partition(resources: Resources) -> str:
    """Return why a job would wait forever for its time limit: SLURM accepts such a job."""
    limits = {nodes.partition: nodes.time for nodes in _of(resources)}
    known = {name: limit for name, limit in limits.items() if re.search(r"\d", limit)}
    if not known or len(known) < len(limits):
        return ""
    name = max(known, key=lambda name: _limit_seconds(known[name]))
    if seconds(resources.time) <= _limit_seconds(known[name]):
        return ""
    return f"resources.time: {resources.time}, but partition {name} allows {known[name]}"


def _limit_seconds(limit: str) -> int:
    """Return the seconds of a limit as sinfo writes it: `2-00:00:00`, `1:00:00` or `30:00`."""
    return seconds(limit if limit.count(":") == 2 else f"0:{limit}")


def _largest(resources: Resources) -> str:
    """Say what the nodes have where a job asks for more than any of them."""
    groups = _of(resources)
    if not groups:
        return ""
    for key, requested, largest in (
        ("nodes", resources.nodes, sum(group.count for group in groups)),
        ("gpus", resources.gpus, max(group.gpus for group in groups)),
        ("cpus", resources.cpus, max(group.cpus for group in groups)),
        ("memory", megabytes(resources.memory), max(group.memory for group in groups)),
    ):
        if requested > largest:
            where = f"partition {groups[0].partition}"
            if key == "nodes":
                return f"resources.nodes is {requested}, but {where} has {largest}"
            unit = "M" if key == "memory" else ""
            return (
                f"resources.{key} is {requested}{unit}, but a node of {where} has {largest}{unit}"
            )
    return ""
