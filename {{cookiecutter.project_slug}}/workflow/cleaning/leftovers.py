"""What tools wrote for themselves, and what nothing else holds."""

from collections.abc import Iterator
from pathlib import Path

from ..dvc_store.opening import open_repo
from ..paths import SERVED, TRAIN_RUN, home
from .item import Item, delete, kept, size_of

CACHES = (".mypy_cache", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints", "__pycache__")
LEFT_ALONE = {".dvc", ".git", ".venv", "data", "models", "runs", "sweeps", "wandb"}
EXPERIMENTS = Path(".dvc/tmp/exps")


def items() -> Iterator[Item]:
    """Yield caches, copies that experiments ran in, and what stays whatever it takes."""
    caches = list(_caches(home()))
    size = sum(map(size_of, caches))
    yield Item("caches of tools", size, size, remove=lambda: _delete(caches))
    copies = [path for path in (home() / EXPERIMENTS).glob("tmp*") if path.is_dir()]
    if copies:
        size = sum(map(size_of, copies))
        if _are_running():
            yield Item("copies of experiments", size, stays="some run or were killed: inv exp.run")
        else:
            yield Item("copies of experiments", size, size, remove=lambda: _delete(copies))
    for name, paths, why in (
        ("environment", [".venv"], "everything runs in it: uv sync makes it again"),
        ("data and models", ["data", "models"], "of this revision"),
        ("unfinished training", [(TRAIN_RUN / "unfinished").as_posix()], "inv train resumes it"),
        ("what services were asked", [SERVED.as_posix()], "nothing else has it"),
        ("sweeps", ["sweeps"], "inv sweep continues them: remove those whose best you have"),
        ("runs by hand", ["outputs", "multirun"], "nothing else has them: remove what you can"),
    ):
        if existing := [home() / path for path in paths if (home() / path).exists()]:
            yield kept(name, existing, why)


def _caches(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_dir():
            continue
        if path.name in CACHES:
            yield path
        elif path.name not in LEFT_ALONE and not (path / ".git").exists():
            yield from _caches(path)


def _are_running() -> bool:
    with open_repo(home()) as repo:
        return any(True for _ in repo.experiments.celery_queue.iter_active())


def _delete(paths: list[Path]) -> None:
    for path in paths:
        delete(path)
