"""One training in a pod: code from Git, data from the DVC remote, the result back to both.

    python -m workflow.pipeline.pod OVERRIDE …

The result is a DVC experiment of the commit. Everything is on a volume: a pod that replaces a
killed one finds there what is done already, and resumes an unfinished training.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .. import git
from ..errors import CommandError
from ..git import GitError

EXPERIMENTS = "refs/exps"
# Git asks this helper for user and password, which are in no file and no command's arguments.
HELPER = '!f() { echo "username=$GIT_USERNAME"; echo "password=$GIT_PASSWORD"; }; f'
ACCESS = ("-c", "credential.helper=", "-c", f"credential.helper={HELPER}")
OF_GIT = ("GIT_USERNAME", "GIT_PASSWORD")
# What a killed process leaves: in a later pod, other processes have the same ids.
LEFT = (".dvc/tmp/rwlock", ".dvc/tmp/exps", ".git/index.lock")


@dataclass(frozen=True)
class Job:
    """What a pod has to do, as variables say.

    Args:
        name: of the experiment.
        repository: the URL of the Git remote.
        commit: of the code.
        prefix: the project's folder in the repository; "" for its top.
        folder: on the volume, where the repository is cloned to.
    """

    name: str
    repository: str
    commit: str
    prefix: str
    folder: Path

    @property
    def project(self) -> Path:
        """The project in the clone."""
        return self.folder / self.prefix


def read_job() -> Job:
    """Read the job from the environment variables.

    Raises:
        CommandError: one is missing.
    """
    names = ("JOB_NAME", "JOB_REPOSITORY", "JOB_COMMIT", "JOB_FOLDER")
    if missing := [name for name in names if not os.environ.get(name)]:
        raise CommandError(f"{missing[0]} is not set: inv deploy.train writes the pod that has it")
    name, repository, commit, folder = (os.environ[name] for name in names)
    return Job(name, repository, commit, os.environ.get("JOB_PREFIX", ""), Path(folder))


def run(job: Job, overrides: list[str]) -> None:
    """Train, unless an earlier pod has, and push the result.

    Raises:
        CommandError, GitError: a step failed; the lines above say why.
    """
    clone(job)
    in_project(job, "workflow.storage", "pull", "--needed")
    if reference(job) is None:
        train(job, overrides)
    # Before the experiment itself: whoever sees it must be able to pull what it names.
    in_project(job, "workflow.storage", "push")
    push(job)


def clone(job: Job) -> None:
    """Check out the commit alone, unless an earlier pod has."""
    if job.folder.exists():
        for name in LEFT:
            path = job.project / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        return
    unfinished = job.folder.with_name(f"{job.folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    print(f"$ git fetch --depth=1 {job.repository} {job.commit}", flush=True)
    git.run(unfinished, "init", "--quiet")
    git.run(unfinished, "remote", "add", "origin", job.repository)
    git.run(unfinished, *ACCESS, "fetch", "--quiet", "--depth=1", "origin", job.commit)
    git.run(unfinished, "checkout", "--quiet", "--detach", job.commit)
    unfinished.rename(job.folder)


def train(job: Job, overrides: list[str]) -> None:
    """Run the pipeline as an experiment.

    Raises:
        CommandError: it failed.
    """
    in_project(job, "workflow.pipeline.params", "--check", *overrides)
    values = [f"--set-param={override}" for override in overrides]
    command = ("exp", "run", f"--name={job.name}", *values)
    in_project(job, "workflow.dvc_store.command", *command)
    if reference(job) is None:
        raise CommandError(f"DVC recorded no experiment {job.name}: the lines above say why")


def reference(job: Job) -> str | None:
    """Return the Git reference of the experiment; None before there is one."""
    listed = git.text(job.folder, "for-each-ref", "--format=%(refname)", EXPERIMENTS) or ""
    references = (name for name in listed.splitlines() if name.rpartition("/")[2] == job.name)
    return next(references, None)


def push(job: Job) -> None:
    """Push the experiment to the Git remote."""
    name = reference(job)
    print(f"$ git push origin {name}", flush=True)
    git.run(job.folder, *ACCESS, "push", "--quiet", "origin", f"{name}:{name}")


def in_project(job: Job, module: str, *arguments: str) -> None:
    """Run a module of the project's own workflow, which is that of the commit.

    Raises:
        CommandError: its exit code is not 0.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in OF_GIT}
    command = [sys.executable, "-m", module, *arguments]
    print(f"$ python -m {module} {' '.join(arguments)}", flush=True)
    code = subprocess.run(command, cwd=job.project, env=inherited, check=False).returncode
    if code:
        raise CommandError(f"{module} ended with {code}: the lines above say why")


def main() -> None:
    try:
        job = read_job()
        run(job, sys.argv[1:])
    except (CommandError, GitError) as error:
        raise SystemExit(f"pod: {error}") from None
    if "WANDB_API_KEY" not in os.environ:
        print("the W&B run is only on the volume, and is lost with it: there is no secret `wandb`")
    print(f"pushed: experiment {job.name} of {job.commit[:7]}")
    print(f"next, on your machine: inv exp.pull {job.name}")


if __name__ == "__main__":
    main()
