"""Runs as they were recorded: by W&B, online or offline, by DVC as experiments, or by Git."""

import json
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import formats, git
from ..errors import CommandError, one_line
from ..formats import LaterFormatError
from ..paths import METRICS, MODEL, home
from ..registry import versions
from ..results import numbers
from ..tracking import artifacts, log_reader, patch, provenance
from ..tracking.run import WEIGHTS
from ..tracking.server import log_in
from ..tracking.transaction_log import run_folders, run_id
from .experiments import METRICS_FILES

WANDB, EXPERIMENT, GIT, REGISTERED = (  # kinds of runs
    "W&B run",
    "DVC experiment",
    "Git revision",
    "registered version",
)
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
TIMED = ("_", "throughput/")  # start the names of metrics that differ in each run


@dataclass(frozen=True)
class RecordedRun:
    """What a run was made from, and what came out.

    Args:
        name: its id, the experiment's name, the version, or the commit's short hash.
        kind: `WANDB`, `EXPERIMENT`, `REGISTERED` or `GIT`.
        changes: the patch against the commit; None where it was made from the commit itself, or
            where the patch is lost, which `provenance` distinguishes.
        config: None where the commit's params.yaml is the config.
        data: path to DVC hash.
        metrics: scalars by W&B's names of them.
        model: DVC hash of the exported model, where the commit has one; a W&B run names none.
        weights: SHA-256 of the exported model's weights, where one was exported.
        provenance: as `provenance.collect` returns it; a Git revision without a
            model has but `lock`.
    """

    name: str
    kind: str
    commit: str
    data: dict[str, str]
    metrics: dict[str, float]
    changes: bytes | None = None
    config: dict[str, Any] | None = None
    model: str | None = None
    weights: str | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def lost_changes(self) -> bool:
        """Whether it had uncommitted changes that were not kept, and nothing says which."""
        if self.kind != WANDB or self.changes:
            return False
        git = self.provenance["git"]
        return bool(git["patch"] or (git["dirty"] and not self.left_out))

    @property
    def left_out(self) -> list[str]:
        """The changed files that its patch lacks, and why."""
        return self.provenance.get("git", {}).get("left_out", [])


def find(run: str) -> RecordedRun:
    """Read a run.

    Args:
        run: the folder or id of a run in wandb/, the name of a DVC experiment, a version or stage
            of the registry, a Git revision, or `entity/project/id` of a run that W&B has.

    Raises:
        CommandError: there is none, or what it recorded cannot be read.
    """
    if folders := run_folders(run):
        return offline(folders)
    if reference := _experiment(run):
        return revision(reference, run, EXPERIMENT)
    if version := versions.named(run):
        return revision(version.commit, str(version), REGISTERED)
    if commit := _revision(run):
        return revision(commit, commit[:12], GIT)
    if run.count("/") == 2:
        return online(run)
    raise unknown(run)


def commit_of(run: str) -> str | None:
    """Return the commit of a DVC experiment, registered version or Git revision, or None.

    Raises:
        CommandError: the registry has no such version.
    """
    if commit := _experiment(run):
        return commit
    version = versions.named(run)
    return version.commit if version else _revision(run)


def unknown(run: str) -> CommandError:
    """Return the error that says where a run was looked for."""
    return CommandError(
        f"no run {run!r}: it is no folder or id in wandb/, no DVC experiment, no Git revision"
        " (git fetch?), and no entity/project/id of W&B"
    )


def offline(folders: list[Path]) -> RecordedRun:
    """Read a run from its folders."""
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    for folder in folders:
        logged = log_reader.read(folder)
        config = logged.config or config
        summary |= logged.summary
    patches = [folder / "files" / patch.FILE for folder in folders]
    contents = [path.read_bytes() for path in patches if path.exists()]
    return _tracked(run_id(folders), config, summary, contents)


def online(path: str) -> RecordedRun:
    """Read a run, `entity/project/id`, from W&B."""
    import wandb

    try:
        run = _of_wandb(path)
        with tempfile.TemporaryDirectory() as folder:
            for file in run.files([patch.FILE]):
                file.download(root=folder)
            contents = [file.read_bytes() for file in Path(folder).glob(patch.FILE)]
        return _tracked(run.id, dict(run.config), dict(run.summary), contents)
    except (wandb.Error, ValueError) as error:
        reason = one_line(error)
        raise CommandError(f"W&B has no run {path}, or does not show it: {reason}") from None


def logged_models(run: str) -> set[str]:
    """Return the DVC hashes of the models that a W&B run logged, by its folder, id or path."""
    if not (folders := run_folders(run)):
        return {md5 for _, md5 in artifacts.models(_of_wandb(run))}
    return {
        artifacts.md5(entry.digest)
        for folder in folders
        for artifact in log_reader.read(folder).named("model")
        for entry in artifact.manifest.contents
        if entry.path == MODEL.name
    }


def revision(commit: str, name: str, kind: str) -> RecordedRun:
    """Read what a commit has of the last training before it."""
    outs = provenance.outs_at(commit)
    lock = _git("show", f"{commit}:./uv.lock")
    origin, weights = _model(commit)
    return RecordedRun(
        name=name,
        kind=kind,
        commit=commit,
        data=provenance.data_in(outs),
        metrics=file_metrics({path: _at(commit, path.as_posix()) for path in METRICS_FILES}),
        model=outs.get(MODEL.as_posix()),
        weights=weights,
        provenance={**origin, "lock": provenance.sha256(lock) if lock else None},
    )


def main_worktree() -> Path | None:
    """Return where this project lies in Git's main worktree, to which others are added."""
    folders = _git_text("rev-parse", "--path-format=absolute", "--git-common-dir")
    prefix = _git_text("rev-parse", "--show-prefix")
    if folders is None or prefix is None:
        return None
    return Path(folders.rstrip("\r\n")).parent / prefix.rstrip("\r\n")


def file_metrics(texts: dict[Path, str | None]) -> dict[str, float]:
    """Return the metrics in the texts of metrics files, by their names in W&B."""
    metrics: dict[str, float] = {}
    for path, text in texts.items():
        prefix = "test/" if path == METRICS else ""
        values = json.loads(text) if text else {}
        metrics |= {f"{prefix}{name}": value for name, value in values.items()}
    return scalars(metrics)


def scalars(summary: dict[str, Any]) -> dict[str, float]:
    """Return the metrics of a summary that the same training gives again."""
    return {name: value for name, value in numbers(summary).items() if not name.startswith(TIMED)}


def _tracked(
    name: str, config: dict[str, Any], summary: dict[str, Any], patches: list[bytes]
) -> RecordedRun:
    """Return a run of W&B; of the patches, that which its provenance names."""
    origin = config.pop("provenance", None)
    if origin is None:
        raise CommandError(f"{name}: it has no provenance, so no `train` of this project made it")
    formats.require(origin, provenance.FORMAT, name)
    git = {"patch": None, **origin["git"]}
    if not git["commit"] or not COMMIT.fullmatch(git["commit"]):
        raise CommandError(f"{name}: it was made outside of Git, so nothing says what its code was")
    return RecordedRun(
        name=name,
        kind=WANDB,
        commit=git["commit"],
        data=origin["data"],
        metrics=scalars(summary),
        changes=next((p for p in patches if provenance.sha256(p) == git["patch"]), None),
        config=config,
        weights=summary.get(WEIGHTS),
        provenance={**origin, "git": git},
    )


def _of_wandb(path: str) -> Any:
    import wandb

    if problem := log_in():
        raise CommandError(problem)
    return wandb.Api().run(path)


def _experiment(name: str) -> str | None:
    """Return the commit of the newest DVC experiment of that name."""
    if not re.fullmatch(r"[\w.-]+", name):
        return None
    form = ("--sort=-committerdate", "--format=%(objectname)")
    commits = _git_text("for-each-ref", *form, f"refs/exps/??/*/{name}")
    return commits.splitlines()[0] if commits else None


def _revision(name: str) -> str | None:
    """Return the commit that Git knows by that name; `name@COMMIT` names it."""
    pinned = name.rpartition("@")[2]
    name = pinned if COMMIT.fullmatch(pinned) else name
    commit = _git_text("rev-parse", "--verify", "--quiet", "--end-of-options", name + "^{commit}")
    return commit.strip() if commit else None


def _model(commit: str) -> tuple[dict[str, Any], str | None]:
    """Return provenance and weights of the model that DVC has for a commit, if it has it."""
    from ..dvc_store import opening, revision_file
    from ..onnx_file import read_provenance, weights_sha256

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / MODEL.name
        try:
            with opening.open_revision(commit) as repo, copy.open("wb") as file:
                file.writelines(revision_file.read(repo, MODEL))
            return read_provenance(copy), weights_sha256(copy)
        except LaterFormatError:
            raise
        # Each kind of remote has exceptions of its own; without the model, the metrics count.
        except Exception:
            return {}, None


def _at(commit: str, path: str) -> str | None:
    content = _git("show", f"{commit}:./{path}")
    return None if content is None else content.decode()


def _git(*arguments: str) -> bytes | None:
    return git.ask(home(), *arguments)


def _git_text(*arguments: str) -> str | None:
    content = _git(*arguments)
    return content.decode() if content else None
