"""Restoring a run into a Git worktree of its own; the files of the project stay untouched."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import OmegaConf

from ... import files, git, uv
from ...dvc_store.objects import Store
from ...errors import CommandError, enumerated
from ...paths import BUILT, MODEL, PARAMS, ROOT, home
from ...tracking import patch, provenance
from .. import worktree
from ..finding import RecordedRun
from . import environment, image

NOTE = "restored.json"  # in the worktree's own Git folder: what it was restored from


@dataclass(frozen=True)
class Part:
    """One of the things that make a run, and whether it can be restored.

    Args:
        text: what it is and where it comes from, or why it cannot be restored.
    """

    name: str
    text: str
    is_available: bool = True


def default_folder(run: RecordedRun) -> Path:
    """Return where a run is restored: beside the repository, by the project's name."""
    return worktree.top().parent / f"{ROOT.name}-restored" / run.name


def plan(run: RecordedRun) -> list[Part]:
    """Look for all parts of a run.

    Raises:
        CommandError: its commit or its data is nowhere.
    """
    if not _succeeds("cat-file", "-e", run.commit + "^{commit}"):
        raise CommandError(
            f"{run.name}: its commit {run.commit} is not in this repository:"
            " git fetch, from where it was made"
        )
    parts = [Part("code", f"commit {run.commit}")]
    if run.changes:
        files = patch.files(run.changes)
        parts.append(Part("changes", f"{len(files)} files: {enumerated(files, 5)}"))
    elif run.lost_changes:
        parts.append(Part("changes", "they were not kept with the run", is_available=False))
    if run.left_out:
        text = f"not kept with the run: {enumerated(run.left_out, 5)}"
        parts.append(Part("changes", text, is_available=False))
    parts.append(Part("config", "the run's own" if run.config else "params.yaml of the commit"))
    try:
        store = Store()
        parts += [
            Part("data", f"{path} {md5}, {store.locate(path, md5)}")
            for path, md5 in run.data.items()
        ]
    except CommandError as error:
        raise CommandError(f"{run.name}: {error}") from None
    return [*parts, *_model(run, store), _environment(run), _image(run)]


def restore(run: RecordedRun, folder: Path, parts: list[Part]) -> Path:
    """Make a worktree of a run at `folder`, and return the project in it.

    Raises:
        CommandError: the folder cannot be taken, or a part does not fit; nothing is left behind.
    """
    folder = folder.resolve()
    require_free(folder)
    available = {part.name for part in parts if part.is_available}
    with worktree.added(run.commit, folder):
        _write_note(folder, {"unfinished": run.name})
        project = folder / worktree.prefix()
        if run.changes:
            patch.apply(run.changes, folder)
        _write_config(run, project)
        store = Store()
        store.share_cache(project)
        for path, md5 in run.data.items():
            store.fetch(path, md5, project)
        if "model" in available:
            store.fetch(MODEL.as_posix(), str(run.model), project)
        worktree.copy_secrets(project)
        if "environment" in available and not environment.shared(run.provenance):
            environment.make(project, run.provenance)
        if "image" in available and run.provenance.get("image"):
            image.fetch(run.provenance["image"])
        note = {"run": run.name, "commit": run.commit, "code": _code(project)}
        _write_note(folder, note)
    return project


def reuse(run: RecordedRun, folder: Path) -> Path | None:
    """Return the project where `run` was restored already, config and data as they were then.

    Raises:
        CommandError: what lies there is another run, or its code was changed since.
    """
    folder = folder.resolve()
    note = _read_note(folder)
    if note is None or "unfinished" in note:
        return None
    project = folder / worktree.prefix()
    if note != {"run": run.name, "commit": run.commit, "code": _code(project)}:
        raise CommandError(
            f"{folder} holds another run, or was changed since it was restored:"
            f" --into another folder, or: git worktree remove --force {folder}"
        )
    _write_config(run, project)
    store = Store()
    for path, md5 in run.data.items():
        store.fetch(path, md5, project)
    return project


@dataclass(frozen=True)
class Restored:
    """A worktree that a run was restored into.

    Args:
        folder: the worktree.
        project: in it, where the project is not the whole repository.
        note: what was noted of it.
    """

    folder: Path
    project: Path
    note: dict[str, Any]

    @property
    def run(self) -> str:
        return str(self.note.get("run") or self.note.get("unfinished"))

    @property
    def is_unfinished(self) -> bool:
        return "unfinished" in self.note

    def is_unchanged(self) -> bool:
        """Whether the code there is that of the run: no edit, no commit since."""
        commit, code = self.note.get("commit"), self.note.get("code")
        return git.head(self.folder) == commit and _code(self.project) == code


def restored() -> Iterator[Restored]:
    """Yield the worktrees that runs were restored into."""
    inside = os.fsdecode(git.run(home(), "rev-parse", "--show-prefix")).strip()
    for line in os.fsdecode(git.run(home(), "worktree", "list", "--porcelain")).splitlines():
        folder = Path(line.removeprefix("worktree "))
        if line.startswith("worktree ") and folder.is_dir() and (note := _read_note(folder)):
            yield Restored(folder, folder / inside, note)


def remove(folder: Path) -> None:
    """Remove a worktree that a run was restored into, with all that is in it."""
    worktree.remove(folder, home())


def require_free(folder: Path) -> None:
    """Raise CommandError unless `folder` is new or empty, and outside of the project."""
    if folder.is_relative_to(worktree.top()):
        raise CommandError(f"{folder} is in the project: choose a folder outside of it")
    if "unfinished" in (_read_note(folder) or {}):
        raise CommandError(
            f"{folder} is not finished: if no restore is at work there, one was killed:"
            f" git worktree remove --force {folder}"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CommandError(f"{folder} exists: remove it, or choose another one with --into")


def _model(run: RecordedRun, store: Store) -> list[Part]:
    if not run.model:
        return []
    try:
        place = store.locate(MODEL.as_posix(), run.model)
        return [Part("model", f"{MODEL.as_posix()} {run.model}, {place}")]
    except CommandError as error:
        return [Part("model", str(error), is_available=False)]


def _environment(run: RecordedRun) -> Part:
    lock, version = run.provenance.get("lock"), run.provenance.get("python")
    committed = _git("show", f"{run.commit}:./uv.lock")
    changed = run.changes and f"{worktree.prefix()}uv.lock" in patch.files(run.changes)
    if lock and provenance.sha256(committed) != lock and not changed:
        return Part("environment", f"uv.lock {lock[:12]} is not in its commit", is_available=False)
    name = f"uv.lock {(lock or provenance.sha256(committed))[:12]}"
    if environment.shared(run.provenance):
        return Part("environment", f"{name}, Python {version}, which is this environment")
    if not uv.find():
        return Part("environment", "uv is not installed: pip install uv", is_available=False)
    request = environment.python(version)
    if version and request != version:
        return Part("environment", f"{name}; Python {version} is not here: {request or 'another'}")
    return Part("environment", f"{name}, Python {version or 'of the project'}")


def _image(run: RecordedRun) -> Part:
    reference = run.provenance.get("image")
    if not reference:
        return Part("image", "none: it was made outside of a container")
    try:
        return Part("image", f"{reference}, {image.locate(reference)}")
    except CommandError as error:
        return Part("image", f"{reference}: {error}", is_available=False)


def _write_config(run: RecordedRun, project: Path) -> None:
    """Write params.yaml, unless it holds the run's config already: then it stays, byte for byte."""
    if run.config is None:
        return
    file = project / PARAMS
    if file.exists():
        present = yaml.safe_load(file.read_text(encoding="utf-8"))
        if provenance.config_sha256(present) == run.provenance["config"]:
            return
    files.replace(file, OmegaConf.to_yaml(OmegaConf.create(run.config)))


def _code(project: Path) -> str | None:
    """Return a hash of what the code of a restored project has beyond its commit."""
    return patch.take(project, without=BUILT).sha256


def _note(folder: Path) -> Path:
    return Path(_git("rev-parse", "--absolute-git-dir", folder=folder).decode().strip()) / NOTE


def _read_note(folder: Path) -> dict[str, Any] | None:
    """Return what was restored into a folder; None where nothing was."""
    if not (folder / ".git").is_file() or not _note(folder).exists():
        return None
    return cast("dict[str, Any]", json.loads(_note(folder).read_text(encoding="utf-8")))


def _write_note(folder: Path, note: dict[str, Any]) -> None:
    files.replace(_note(folder), json.dumps(note))


def _git(*arguments: str, folder: Path = ROOT) -> bytes:
    return git.run(folder, *arguments)


def _succeeds(*arguments: str, folder: Path = ROOT) -> bool:
    return git.ask(folder, *arguments) is not None
