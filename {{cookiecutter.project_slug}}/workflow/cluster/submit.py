"""Submitting a training as a job: checked, its code copied, then handed to submitit."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from ..config.compose import experiments
from ..config.job_keys import Cluster, Resources
from ..config.schema import plain
from ..config.values import ConfigError
from ..errors import CommandError, one_line
from ..paths import ROOT, home
from ..pipeline import params
from ..ranks import CONTAINER, IMAGE
from . import scheduler, settings, snapshot
from .records import FOLDER, Job
from .request import parameters, python, script, tasks_per_node

NOBODY = "python"  # in the script of a check, which runs nothing


@dataclass(frozen=True)
class Request:
    """A training that was checked against its resources.

    Args:
        training: overrides of its config.
        tasks: processes of each node.
    """

    cluster: Cluster
    resources: Resources
    training: list[str]
    tasks: int


def prepare(overrides: list[str]) -> Request:
    """Check the overrides of a training as a job, and what they ask of the cluster.

    Raises:
        CommandError: there is no SLURM here, or the job could never start.
        ConfigError: a value is wrong, or two do not go together.
    """
    of_job, training = settings.split(overrides)
    composed = settings.compose(of_job)
    if composed.cluster is None:
        raise ConfigError("cluster", "is this machine, which has no jobs: cluster=slurm")
    params.check(training)
    (config,) = experiments(training)
    if plain(config).get("train", {}).get("resume") == "never":
        problem = "never: a job starts in a folder of its own, and resumes only there"
        raise ConfigError("train.resume", problem)
    tasks = tasks_per_node(plain(config), composed.resources)
    scheduler.require()
    options = parameters(composed.cluster, composed.resources, "check", ROOT, tasks)
    text = script(options, home() / FOLDER / "%j", NOBODY)
    if problem := scheduler.refusal(text, composed.resources):
        raise CommandError(f"it can never start: {problem}")
    return Request(composed.cluster, composed.resources, training, tasks)


def expected_start(request: Request) -> str:
    """Return when and where SLURM expects such a job to start."""
    options = parameters(request.cluster, request.resources, "check", ROOT, request.tasks)
    return scheduler.start(script(options, home() / FOLDER / "%j", NOBODY))


def train(overrides: list[str]) -> Job:
    """Submit a training as a job.

    Raises:
        CommandError: see `prepare`; or SLURM refuses it. Nothing is left behind.
        ConfigError: see `prepare`.
    """
    from .job import pipeline

    request = prepare(overrides)
    name = snapshot.new_name()
    project = snapshot.make(name, request.training)
    try:
        variables = image_variables(request.cluster, request.resources)
        work = pipeline(home(), name, request.cluster.signal_seconds, variables)
        options = parameters(request.cluster, request.resources, name, project, request.tasks)
        (number,) = hand_over([work], options, request.cluster.max_requeues)
    except BaseException:
        snapshot.remove(project)
        raise
    job = Job(number, name, "train", overrides, snapshot=str(project))
    job.write()
    return job


def prepare_workers(overrides: list[str], count: int) -> Request:
    """Check what is asked for workers: processes of one node each, as tasks of a job array.

    Args:
        overrides: of `cluster` and `resources`.

    Raises:
        CommandError: see `prepare`.
        ConfigError: see `prepare`.
    """
    composed = settings.compose(overrides)
    assert composed.cluster
    if composed.resources.nodes != 1:
        raise ConfigError(
            "resources.nodes", f"{composed.resources.nodes}: a trial runs on one node"
        )
    scheduler.require()
    options = parameters(composed.cluster, composed.resources, "check", ROOT)
    text = script(options, home() / FOLDER / "%A", NOBODY, count)
    if problem := scheduler.refusal(text, composed.resources):
        raise CommandError(f"it can never start: {problem}")
    return Request(composed.cluster, composed.resources, [], 1)


def is_asked_for(overrides: list[str]) -> bool:
    """Whether overrides of `cluster` and `resources` ask for a job.

    Raises:
        ConfigError: they are wrong.
    """
    return bool(overrides) and settings.compose(overrides).cluster is not None


def workers(request: Request, name: str, commands: Sequence[Sequence[str]]) -> Job:
    """Submit workers, each a module with its arguments, in a snapshot that they share.

    Args:
        name: of what they work on.

    Raises:
        CommandError: SLURM refuses them. Nothing is left behind.
    """
    from .job import Command

    project = snapshot.make(f"{name}-{int(time.time())}", None)
    try:
        snapshot.fetch_data(project)
        variables = {"DVC_ROOT": str(home()), **image_variables(request.cluster, request.resources)}
        seconds = request.cluster.signal_seconds
        shown = f"a worker of {name}"
        works = [Command(home(), seconds, variables, tuple(one), shown) for one in commands]
        options = parameters(request.cluster, request.resources, name, project)
        ids = hand_over(works, options, request.cluster.max_requeues)
    except BaseException:
        snapshot.remove(project)
        raise
    number, _, index = ids[0].partition("_")
    job = Job(number, name, "sweep", [], snapshot=str(project), tasks=len(ids) if index else 0)
    job.write()
    return job


def image_variables(cluster: Cluster, resources: Resources) -> dict[str, str]:
    """Return the variables that say which container a training runs in, for `workflow.ranks`."""
    if resources.image is None:
        return {}
    return {IMAGE: resources.image, CONTAINER: cluster.container}


def hand_over(
    works: Sequence[Callable[[], Any]], options: dict[str, Any], max_requeues: int
) -> list[str]:
    """Submit works, several of them as a job array, and return the id of each.

    Raises:
        CommandError: SLURM refuses them.
    """
    import submitit
    from submitit.core import utils

    folder = home() / FOLDER
    executor = submitit.SlurmExecutor(
        folder / ("%A" if len(works) > 1 else "%j"),
        max_num_timeout=max_requeues,
        python=python(sys.executable),
    )
    with _environment():
        try:
            executor.update_parameters(**options)
            jobs = executor.submit_array(works) if len(works) > 1 else [executor.submit(works[0])]
        except (utils.FailedJobError, utils.FailedSubmissionError) as error:
            raise CommandError(f"SLURM refuses the job: {one_line(error)}") from None
    for link in folder.glob(".submission_file_*.sh"):
        with suppress(OSError):
            link.unlink()
    return [job.job_id for job in jobs]


@contextmanager
def _environment() -> Iterator[None]:
    """Give sbatch the environment that a job gets."""
    before = dict(os.environ)
    environment = scheduler.variables()
    for name in [name for name in os.environ if name not in environment]:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(before)
