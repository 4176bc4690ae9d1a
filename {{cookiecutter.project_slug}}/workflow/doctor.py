"""Is everything there that the project needs? Each line: fine, or the command that fixes it."""

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import conflicts, extras, git, repository, uv
from .errors import CommandError, shortened
from .git import GitError
from .paths import ROOT, TRAIN_RUN
from .template import evident, record
from .tracking import provenance
from .tracking.transaction_log import marker, wandb_folder

ROOM = 1 << 30  # bytes free on the disk; a training with its cache needs about that
SECRETS = (".env", ".dvc/config.local")
FRAMEWORKS = {"jax": "JAX", "tensorflow": "TensorFlow", "torch": "PyTorch"}
IMAGES = Path("docker/docker-bake.hcl")  # names their Python
NEEDED = ("dvc.yaml", "dvc.lock", "params.yaml", "uv.lock", "pyproject.toml", "conf")


@dataclass(frozen=True)
class Finding:
    """What one check saw; `fix` is what to type where `fine` is false, or what may follow."""

    fine: bool
    detail: str
    fix: str = ""


def files() -> Finding | list[Finding]:
    """Is a file in conflict after a merge, and does Git know what a clone needs?"""
    findings = [Finding(False, conflict.detail, conflict.fix) for conflict in conflicts.find()]
    if ignored := (git.text(Path(), "check-ignore", *NEEDED) or "").split():
        names = " ".join(ignored)
        findings.append(
            Finding(False, f".gitignore leaves out {names}", f"git add --force {names}")
        )
    return findings or Finding(True, "none is in conflict")


def template() -> Finding:
    """Is it recorded where the project comes from, and is that still so?"""
    if not Path(record.FILE).exists():
        return Finding(True, "not known, so there are no updates", "inv template.link URL")
    recorded = record.read(Path())
    package = recorded.answers.get("package_name", "")
    if package and not Path(package).is_dir():
        actual = evident.package_of(Path()) or "NAME"
        fix = f"inv template.link {shlex.quote(recorded.template)} --answer package_name={actual}"
        return Finding(False, f"the package {package} of {record.FILE} is not here", fix)
    return Finding(True, f"version {recorded.version or recorded.commit} of {recorded.template}")


def python() -> Finding:
    """Is this the Python of the project's images, or another one that uv.lock is for?"""
    version = ".".join(str(part) for part in sys.version_info[:3])
    interpreter = f"{version} in {sys.prefix}"
    images = IMAGES.read_text(encoding="utf-8") if IMAGES.exists() else ""
    match = re.search(r'= "(?:[^"]*/)?python:(\d+\.\d+)', images)
    if match is None or version.startswith(f"{match[1]}."):
        return Finding(True, interpreter)
    allowed = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]["requires-python"]
    why = f"as good: uv.lock is for {allowed}, and each run records its own"
    detail = f"{interpreter}, {match[1]} in the images; {why}"
    if "UV_NO_SYNC" in os.environ:  # of an image on another base
        return Finding(True, detail)
    return Finding(True, detail, f"the same for all: uv python pin {match[1]}, inv setup")


def environment() -> Finding:
    """Is the lock in step with pyproject.toml, and the environment with the lock?"""
    if "UV_NO_SYNC" in os.environ:
        return Finding(True, f"of the image {os.environ.get('WANDB_DOCKER', '')}")
    if not (installed := uv.find()):
        return Finding(False, "uv is not installed", "pip install uv")
    if not Path("uv.lock").exists():
        return Finding(False, "uv.lock is missing", "uv lock")
    locked = _run(installed, "lock", "--check")
    if locked.returncode:
        if "parse" in locked.stderr.lower():
            lines = locked.stderr.strip().splitlines()
            return Finding(False, lines[0].removeprefix("error: "), "git checkout uv.lock")
        return Finding(False, "uv.lock is older than pyproject.toml", "uv lock")
    sync = _sync(extras.needed(Path()))
    if _run(installed, *sync[1:], "--check").returncode:
        return Finding(False, "the environment differs from uv.lock", shlex.join(sync))
    return Finding(True, "as uv.lock says")


def commits() -> Finding:
    try:
        if not git.head(ROOT):
            return Finding(False, "no Git repository with a commit", "inv setup")
        if not git.text(ROOT, "config", "user.email"):
            return Finding(False, "Git knows no author", "git config user.email you@example.com")
        if hidden := git.hidden(ROOT):
            return Finding(
                False,
                f"Git's settings outside of the project ignore {', '.join(hidden)}",
                f"git add --force {shlex.join(hidden)}",
            )
        return Finding(True, f"{git.text(ROOT, 'rev-list', '--count', 'HEAD')} commits")
    except GitError as error:
        return Finding(False, error.reason, error.fix)


def hooks() -> Finding:
    try:
        own, used = repository.hook_folders(ROOT)
    except GitError as error:
        return Finding(False, error.reason, error.fix)
    if own != used:
        return Finding(True, f"not the project's: Git looks in {used} (core.hooksPath)")
    if not (own / "pre-commit").exists():
        return Finding(False, "the pre-commit hooks are not installed", "inv setup")
    if "UV_NO_SYNC" not in os.environ and repository.lacks_python(own / "pre-commit"):
        return Finding(False, "the hooks' environment was moved or removed", "inv setup")
    return Finding(True, "installed")


def secrets() -> Finding:
    """Does Git know a file that holds credentials?"""
    if tracked := (git.text(Path(), "ls-files", "--", *SECRETS) or "").split():
        names = " ".join(tracked)
        fix = f"git rm --cached {names}, commit, and change the keys if it was pushed"
        return Finding(False, f"Git tracks {names}", fix)
    return Finding(True, "no file that holds them is in Git")


def remote() -> Finding:
    """Does the DVC remote answer, with the credentials that are there?"""
    from .dvc_store.objects import absent
    from .dvc_store.remote import problem
    from .storage import open_repo

    repo = open_repo()
    if issue := problem(repo, needed=bool(absent(repo))):
        return Finding(False, issue.detail, issue.fix)
    store = repo.cloud.get_remote_odb()
    kind = "folder" if store.fs.protocol == "local" else f"{store.fs.protocol}:"
    return Finding(True, f"{kind} {store.path}")


def data() -> Finding:
    """Is what dvc.lock and the .dvc files name in the cache?"""
    from .dvc_store.objects import absent
    from .storage import open_repo, some

    if lacking := absent(open_repo()):
        return Finding(False, f"{some(lacking)} not here", "inv data.pull")
    return Finding(True, "all that this revision names is here")


def pipeline() -> Finding:
    """Is dvc.lock in step with code, config and data, and do the results lie here?"""
    from .dvc_store import recorded
    from .storage import open_repo

    repo = open_repo()
    if not Path("dvc.lock").exists():
        return Finding(True, "nothing was trained so far", "inv train")
    changed = repo.status()
    if changed:
        stale = recorded.stale(repo)
        if stale and not provenance.git_state()["dirty"]:  # so this is what was committed
            detail = f"the commit's results are of other code or config: {', '.join(stale)}"
            return Finding(False, detail, "inv train, git add --all && git commit")
        return Finding(True, f"changed since the last training: {', '.join(changed)}", "inv train")
    return Finding(True, "nothing changed since the last training")


def registry() -> Finding:
    """Do the registry's tags here say the same as those of Git's remote?"""
    from .registry import sharing

    own, name = sharing.here(), sharing.remote()
    if not own or not name:
        return Finding(True, f"{len(own)} tags" if own else "nothing was promoted so far")
    try:
        clashes = sharing.clashes(own, sharing.there(name))
    except sharing.NoAnswerError as error:
        return Finding(True, f"{len(own)} tags, not compared: {shortened(error)}")
    if clashes:
        return Finding(False, f"{'; '.join(map(str, clashes))}, in {name}", "inv model.reconcile")
    return Finding(True, f"{len(own)} tags, none clashes with {name}")


def training() -> Finding:
    """Was a training interrupted?"""
    state = TRAIN_RUN / "unfinished" / "state.json"
    if not state.exists():
        return Finding(True, "none was interrupted")
    with contextlib.suppress(ValueError, KeyError):
        content = json.loads(state.read_text(encoding="utf-8"))
        run = f"run {content['run_id']}"
        if content.get("complete"):
            return Finding(True, f"{run} ended, and DVC has not recorded it", "inv train does")
        if reason := content.get("diverged"):
            return Finding(True, f"{run} diverged: {reason}", "inv train -- optimizer.lr=LESS")
        return Finding(True, f"{run} was interrupted", "inv train resumes it")
    fix = "inv train -- train.resume=never"
    return Finding(False, f"{state.as_posix()} cannot be read", fix)


def disk() -> Finding:
    free = shutil.disk_usage(".").free
    if free < ROOM:
        return Finding(False, f"{free >> 20} MiB free", "inv clean")
    return Finding(True, f"{free >> 30} GiB free")


def account() -> Finding:
    """Are runs online, and is anything left to upload?"""
    import wandb

    settings = wandb.setup(wandb.Settings(silent=True)).settings
    if settings.mode != "online":
        return Finding(True, f"runs are {settings.mode}, by WANDB_MODE or `wandb offline`")
    try:
        has_key = wandb.login(prompt=False, verify=False)
    except (wandb.errors.AuthenticationError, ValueError) as error:
        return Finding(False, shortened(error), "inv wandb.login")
    if not has_key:
        return Finding(True, "no API key: runs stay offline (`inv wandb.login` changes that)")
    waiting = [log for log in wandb_folder().glob("offline-run-*") if not marker(log).exists()]
    if waiting:
        return Finding(True, f"{len(waiting)} parts of runs are not uploaded", "inv wandb.sync")
    return Finding(True, "an API key is there: runs are online")


def gpu() -> Finding:
    """Does PyTorch, or the backend of Keras, compute on a GPU?"""
    backend = extras.backend(extras.CONFIG)
    framework = FRAMEWORKS.get(backend or "torch", backend)
    if find_spec(backend or "torch") is None:
        return Finding(True, f"not used: {framework} is not installed")
    if name := _gpu_name(backend):
        return Finding(True, f"{name}: inv train -- trainer=gpu")
    if shutil.which("nvidia-smi"):
        detail = f"a driver is there, but {framework} sees no GPU"
        with_cuda = extras.needed(Path(), cuda=True)
        if with_cuda == extras.needed(Path()):
            return Finding(False, detail, "nvidia-smi")
        if sys.platform == "linux":  # the only one for which CUDA is packaged
            return Finding(False, detail, f"{shlex.join(_sync(with_cuda))}, then nvidia-smi")
    return Finding(True, "none: training runs on the processor")


def _gpu_name(backend: str) -> str | None:
    if not backend:
        from .lightning.devices import gpu_name

        return gpu_name()
    os.environ |= {
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # the memory is a training's
    }
    from .keras.devices import device_name

    return device_name("gpu")


CHECKS: dict[str, Callable[[], Finding | list[Finding]]] = {
    "files": files,
    "template": template,
    "Python": python,
    "environment": environment,
    "Git": commits,
    "hooks": hooks,
    "secrets": secrets,
    "DVC remote": remote,
    "data": data,
    "pipeline": pipeline,
    "registry": registry,
    "training": training,
    "disk": disk,
    "W&B": account,
    "GPU": gpu,
}


def look(name: str) -> list[Finding]:
    """Return what one check saw; one that cannot look is a finding, too."""
    try:
        outcome = CHECKS[name]()
    except CommandError as error:
        text, _, fix = str(error).rpartition(": ")
        return [Finding(False, text, fix)]
    except Exception as error:  # one broken part must not hide the others
        return [Finding(False, f"cannot be checked: {shortened(error)}", "git diff")]
    return outcome if isinstance(outcome, list) else [outcome]


def main() -> None:
    table = Table.grid(padding=(0, 2))
    wrong = 0
    for name in CHECKS:
        for finding in look(name):
            wrong += not finding.fine
            verdict = Text("ok") if finding.fine else Text("fix", style="red")
            fix = f"→ {finding.fix}" if finding.fix else ""
            table.add_row(verdict, name, Text(finding.detail), Text(fix))
    Console().print(table)
    if wrong:
        print(f"{wrong} to fix: run what is after each arrow, then inv doctor again")
        raise SystemExit(1)
    print("all is well: inv train")


def _sync(names: list[str]) -> list[str]:
    """Return the command for an environment with these extras."""
    return ["uv", "sync", "--inexact", *extras.options(names)]


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, 127, "", f"{command[0]} is not installed")


if __name__ == "__main__":
    main()
