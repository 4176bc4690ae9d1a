"""The study of a sweep, in Optuna's storage: all its trials are there before the first one runs.

Any number of processes takes them, each under a lock of its own (worker.py): so a killed process
loses no trial, and none is run twice.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend, JournalRedisBackend
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from .. import credentials
from ..errors import CommandError, shortened
from ..paths import home
from . import plan as plans
from .locks import Lock
from .plan import SWEEPS, Plan, begin
from .space import combinations

ID = "sweep"  # the user attribute of a study that names its plan by id
JOURNAL = "study.journal"
SQLITE = "sqlite:///"
WAIT_SECONDS = 60  # for another process that writes to SQLite


@dataclass(frozen=True)
class Sweep:
    """A sweep that has begun."""

    plan: Plan
    study: Study

    @property
    def folder(self) -> Path:
        """Where plan, storage and trials are."""
        return self.plan.folder

    @property
    def trials(self) -> list[FrozenTrial]:
        """The trials as they are now, by number."""
        return self.study.get_trials(deepcopy=False)

    @property
    def unfinished(self) -> list[FrozenTrial]:
        """The trials that wait or run."""
        return [trial for trial in self.trials if not trial.state.is_finished()]

    @property
    def failed(self) -> int:
        """How many trials have failed."""
        return sum(trial.state == TrialState.FAIL for trial in self.trials)

    def trial_folder(self, number: int) -> Path:
        """Return the folder of a trial: its overrides, and the run folder of each seed."""
        return self.folder / str(number)


def names() -> list[str]:
    """Return the names of the sweeps that have begun, the newest last."""
    files = (home() / SWEEPS).glob(f"*/{plans.FILE}")
    return [path.parent.name for path in sorted(files, key=lambda path: path.stat().st_mtime)]


def open(name: str) -> Sweep:  # noqa: A001 (study.open)
    """Open a sweep that has begun.

    Raises:
        CommandError: there is none of this name, or its storage is gone.
    """
    plan = plans.read(name)
    if plan is None:
        known = ", ".join(names()) or "none so far"
        raise CommandError(f"no sweep {name!r}: {known}")
    with Lock(plan.folder / "plan.lock"):  # two processes must not create tables at once
        return _opened(plan)


def require_storage(plan: Plan) -> None:
    """Raise CommandError if the storage of a plan cannot be opened, or is gone."""
    if plan.storage is None and not plan.has_begun:
        return  # a file that will be there
    with Lock(plan.folder.parent / "storage.lock"), _storage_errors(plan):
        _storage(plan)


def create(plan: Plan) -> Sweep:
    """Open the sweep of a plan; create its study and its trials where they are missing.

    Raises:
        CommandError: its storage is gone or another sweep's, or code or data have changed.
    """
    with Lock(plan.folder / "plan.lock"):
        plan = begin(plan)
        if (plan.folder / "0").exists():  # a trial has begun
            sweep = _opened(plan)
        else:
            with _storage_errors(plan):
                study = optuna.create_study(
                    study_name=plan.name,
                    storage=_storage(plan),
                    direction="minimize" if plan.mode == "min" else "maximize",
                    load_if_exists=True,
                )
                if not study.trials and ID not in study.user_attrs:
                    study.set_user_attr(ID, plan.id)
            sweep = Sweep(plan, _require_own(study, plan))
        with _storage_errors(plan):
            _add_trials(sweep)
        return sweep


def _add_trials(sweep: Sweep) -> None:
    plan, study = sweep.plan, sweep.study
    for key, value in (
        ("space", plan.space),
        ("overrides", [*plan.fixed]),
        ("metric", plan.metric),
        ("seeds", [*plan.seeds]),
    ):
        if study.user_attrs.get(key) != value:
            study.set_user_attr(key, value)
    points = combinations(plan.distributions) if plan.grid else None
    for number in range(len(study.trials), plan.trials):
        study.enqueue_trial(points[number] if points else {})


def _opened(plan: Plan) -> Sweep:
    gone = CommandError(
        f"the trials of sweep {plan.name} are gone: no study {plan.name} in {place(plan)}: restore"
        f" it, or start another sweep: --name NEW"
    )
    if (file := _file(plan)) and not file.exists():
        raise gone
    with _storage_errors(plan):
        try:
            study = optuna.load_study(study_name=plan.name, storage=_storage(plan))
        except KeyError:
            raise gone from None
    return Sweep(plan, _require_own(study, plan))


def _require_own(study: Study, plan: Plan) -> Study:
    if study.user_attrs.get(ID) != plan.id:
        raise CommandError(
            f"{place(plan)} has a study {plan.name} of another sweep: --name NEW, or another"
            " --storage"
        )
    return study


@contextmanager
def _storage_errors(plan: Plan) -> Iterator[None]:
    """Say in one line what is wrong with a storage, whichever library raises it."""
    try:
        yield
    except (CommandError, KeyError, KeyboardInterrupt):
        raise
    except Exception as error:
        problem = credentials.masked(shortened(error))
        raise CommandError(f"the storage {place(plan)} cannot be used: {problem}") from None


def place(plan: Plan) -> str:
    """Return where the trials are stored, without a password."""
    if plan.storage:
        head, at, tail = plan.storage.rpartition("@")
        return f"{head.partition('://')[0]}://…@{tail}" if at else plan.storage
    return f"{SWEEPS}/{plan.name}/{JOURNAL}"


def _file(plan: Plan) -> Path | None:
    """Return the file that holds the trials; None where a server does."""
    if plan.storage is None:
        return plan.folder / JOURNAL
    if plan.storage.startswith(SQLITE):
        return home() / plan.storage.removeprefix(SQLITE).partition("?")[0]
    return None


def _storage(plan: Plan) -> BaseStorage:
    file = _file(plan)
    if plan.storage is None:
        assert file is not None
        return JournalStorage(JournalFileBackend(str(file), lock_obj=_JournalLock(file)))
    if file is not None:
        arguments = {"connect_args": {"timeout": WAIT_SECONDS}}
        return RDBStorage(f"{SQLITE}{file}", engine_kwargs=arguments)
    if plan.storage.startswith("redis://"):
        return JournalStorage(JournalRedisBackend(plan.storage))
    return get_storage(plan.storage)


class _JournalLock(BaseJournalFileLock):
    """A lock that ends with its process: Optuna's own ones have to time out after a kill."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._lock = Lock(journal.with_suffix(".lock"))

    def acquire(self) -> bool:
        self._lock.take(wait=True)
        self._repair()
        return True

    def release(self) -> None:
        self._lock.release()

    def _repair(self) -> None:
        """Cut off a line that was left unfinished when the machine went down."""
        if not self._journal.exists():
            return
        with self._journal.open("rb+") as file:
            end = file.seek(0, os.SEEK_END)
            if end and file.seek(end - 1) >= 0 and file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
