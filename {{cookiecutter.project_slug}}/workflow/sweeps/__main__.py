"""`inv sweep`: search for the best values of the config.

    python -m workflow.sweeps [options] [-- OVERRIDES]

The same command continues a sweep that was killed, and a second one at the same time helps it.
"""

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterable

from .. import git
from ..cluster import settings, submit
from ..cluster.submit import Request
from ..config.values import ConfigError
from ..errors import CommandError
from ..git import GitError
from ..paths import PREPARED_DATA, ROOT
from . import optimizing, plan, study, wandb_sweep
from .driver import Driver
from .job_driver import JobDriver
from .locks import Lock
from .plan import Options, Plan
from .progress import outcome
from .space import described

ON_GPUS = ("gpu", "cuda", "auto")  # values of `trainer.accelerator`
WITHOUT_ONE = ("", "-1")  # values of CUDA_VISIBLE_DEVICES that hide all


def main(arguments: list[str]) -> int:
    typed, overrides = _divided(arguments)
    options = _parser().parse_args(typed)
    optimizing.quiet()
    try:
        for option in ("jobs", "fail_after"):
            if (value := getattr(options, option)) is not None and value < 1:
                name = option.replace("_", "-")
                raise CommandError(f"--{name} {value}: must be a positive number")
        of_job, overrides = settings.split(overrides)
        workers = None
        if options.wandb and submit.is_asked_for(of_job):
            raise CommandError("--wandb: W&B's agents are started by hand: leave out cluster=")
        if submit.is_asked_for(of_job):
            workers = submit.prepare_workers(of_job, options.jobs)
        planned = plan.make(
            Options(
                tuple(overrides),
                options.search,
                options.name,
                options.trials,
                options.seeds,
                options.storage,
            )
        )
        if options.wandb:
            file = wandb_sweep.write(planned)
            _prepare(planned)
            print(f"{file.as_posix()} written\nnext: wandb sweep {file.as_posix()}")
            return 0
        if workers and planned.device in ("gpu", "cuda") and not workers.resources.gpus:
            raise ConfigError("resources.gpus", "0, but a trial needs a GPU: resources=gpu")
        return _run(planned, options.jobs, options.fail_after, workers)
    except (ConfigError, CommandError, GitError) as error:
        raise SystemExit(f"sweep: {error}") from None


def _run(planned: Plan, jobs: int, fail_after: int | None, workers: Request | None) -> int:
    study.require_storage(planned)
    if not (planned.has_begun and PREPARED_DATA.exists()):  # a sweep that has begun keeps its data
        _prepare(planned)
    sweep = study.create(planned)
    gpus = visible_gpus() if planned.device in ON_GPUS and workers is None else []
    if gpus and jobs > len(gpus):
        print(f"{len(gpus)} GPUs, one for each trial: {len(gpus)} trials at a time, not {jobs}")
        jobs = len(gpus)
    _introduce(sweep)
    failures = None if fail_after is None else sweep.failed + fail_after
    try:
        if workers:
            JobDriver(sweep, jobs, failures, workers).run()
        else:
            Driver(sweep, jobs, gpus, failures).run()
    except KeyboardInterrupt:
        note = "; the workers keep running: inv cluster.status" if workers else ""
        print(f"\ninterrupted{note}")
        _conclude(outcome(sweep))
        return 130
    _conclude(outcome(sweep))
    trials = sweep.trials
    finished = all(trial.state.is_finished() for trial in trials)
    if not finished and fail_after is not None:
        print(f"stopped: {fail_after} trials failed (--fail-after)", file=sys.stderr)
    return 0 if finished and any(trial.value is not None for trial in trials) else 1


def _prepare(planned: Plan) -> None:
    """Run the pipeline up to the prepared data, which all trials share.

    Raises:
        SystemExit: a stage failed; its own output says why.
    """
    git.require(ROOT)
    planned.folder.mkdir(parents=True, exist_ok=True)
    command = ("repro", "prepare")
    print(f"$ dvc {' '.join(command)}", flush=True)
    with Lock(planned.folder.parent / "prepare.lock"):
        module = "workflow.dvc_store.command"
        code = subprocess.run([sys.executable, "-m", module, *command], cwd=ROOT).returncode
    if code:
        with contextlib.suppress(OSError):  # the folder of a sweep that has begun stays
            planned.folder.rmdir()
        raise SystemExit(code)


def _introduce(sweep: study.Sweep) -> None:
    planned = sweep.plan
    ended = sum(trial.state.is_finished() for trial in sweep.trials)
    kind = "grid" if planned.grid else "search"
    seeds = f", {len(planned.seeds)} seeds each" if planned.seeds[1:] else ""
    state = f", {ended} of them have ended" if ended else ""
    print(f"sweep {planned.name}: {kind} of {planned.trials} trials{seeds}{state}")
    print(f"  {'  '.join(described(planned.distributions))}")
    print(f"  best {planned.metric} ({planned.mode}); trials: sweeps/{planned.name}/", flush=True)


def _conclude(lines: Iterable[str]) -> None:
    print()
    for line in lines:
        print(line, flush=True)


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES has them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [] if visible in WITHOUT_ONE else [part.strip() for part in visible.split(",")]
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return answer.stdout.split() if answer.returncode == 0 else []


def _divided(arguments: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in arguments:
        return arguments, []
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sweep", description="Search for the best values.")
    parser.add_argument("--search", default="", help="a file of conf/search/")
    parser.add_argument("--name", default="", help="of the sweep")
    parser.add_argument("--trials", type=int, help="how many")
    parser.add_argument("--jobs", type=int, default=1, help="trials at a time")
    parser.add_argument("--seeds", type=int, help="trainings a trial, each with its own seed")
    parser.add_argument("--fail-after", type=int, help="trials that may fail")
    parser.add_argument("--storage", default="", help="of Optuna, by URL")
    parser.add_argument("--wandb", action="store_true", help="write it for W&B, train nothing")
    return parser


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
