"""The code of a job: a worktree of the project as it is now, which later edits do not change.

DVC's cache and the environment are the project's own; W&B's runs are written to the project, too.
What the job makes is committed as an experiment of DVC's: a ref, as `dvc exp run` writes one.
"""

import os
from pathlib import Path

from omegaconf import OmegaConf

from .. import files, git
from ..config.compose import compose
from ..dvc_store.objects import Store
from ..errors import CommandError, enumerated
from ..paths import CONF, LOCK, PARAMS, PREPARED_DATA, ROOT, home
from ..runs import worktree
from ..tracking import patch, provenance
from ..training.start import pin_start

NAMESPACE = "refs/exps"


def make(name: str, overrides: list[str] | None) -> Path:
    """Copy the project's code, uncommitted changes included, and compose its config there.

    Args:
        overrides: of the config; None leaves params.yaml as it is.

    Returns:
        The project in its worktree, beside the repository.

    Raises:
        CommandError: there is no commit yet, or a file cannot be part of it. Nothing is left.
    """
    commit = git.head(ROOT)
    if commit is None:
        raise CommandError("no commit yet: git add --all && git commit -m 'Start'")
    changes = patch.take(ROOT)
    if changes.left_out:
        reasons = [f"{path} ({why})" for path, why in changes.left_out.items()]
        raise CommandError(
            f"a job would lack {enumerated(reasons, 3)}: commit, ignore or remove it"
        )
    folder = worktree.top().parent / f"{ROOT.name}-jobs" / name
    with worktree.added(commit, folder):
        project = folder / worktree.prefix()
        if changes.patch:
            patch.apply(changes.patch, folder)
        Store().share_cache(project)
        worktree.copy_secrets(project)
        if overrides is not None:
            config = compose(overrides, project / CONF)
            pin_start(config)
            files.replace(project / PARAMS, OmegaConf.to_yaml(config))
    return project


def fetch_data(project: Path) -> None:
    """Fetch the prepared data of dvc.lock into a snapshot, through DVC's cache."""
    recorded = provenance.outs_in({LOCK.name: (project / LOCK).read_text(encoding="utf-8")})
    path = PREPARED_DATA.as_posix()
    Store().fetch(path, recorded[path], project)


def new_name() -> str:
    """Return a name that no experiment has: two words, as DVC gives them."""
    from dvc.repo.experiments.utils import gen_random_name

    while True:
        name = gen_random_name()
        taken = git.text(home(), "for-each-ref", "--format=%(refname)", f"{NAMESPACE}/*/*/{name}")
        if not taken and not (worktree.top().parent / f"{ROOT.name}-jobs" / name).exists():
            return str(name)


def keep(project: Path, name: str) -> None:
    """Commit what a job has made in its snapshot as an experiment; no branch or index changes.

    Args:
        project: in the snapshot.

    Raises:
        GitError: Git failed.
    """
    baseline = git.run(project, "rev-parse", "HEAD").decode().strip()
    git.run(project, "add", "--all")
    tree = git.run(project, "write-tree").decode().strip()
    message = f"dvc: commit experiment {name}"
    commit = git.run(project, "commit-tree", tree, "-p", baseline, "-m", message).decode().strip()
    reference = f"{NAMESPACE}/{baseline[:2]}/{baseline[2:]}/{name}"
    git.run(project, "update-ref", reference, commit)


def remove(project: Path, repository: Path | None = None) -> None:
    """Remove a snapshot with all that is in it, if it is there.

    Args:
        repository: the project that it belongs to; None: this one.
    """
    if project.is_dir():
        top = git.run(project, "rev-parse", "--show-toplevel", elsewhere=True)
        worktree.remove(Path(os.fsdecode(top).rstrip("\r\n")), repository or home())
