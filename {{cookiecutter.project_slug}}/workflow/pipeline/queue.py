"""The queue of experiments, run to its end: DVC's own queue and workers.

    python -m workflow.pipeline.queue --jobs 2

DVC's `exp run --run-all` holds the project's lock while it follows, ends with 0 where an
experiment failed, and waits for ever for one whose worker was killed. This starts the same workers
without the lock (`dvc queue start`), queues again what a killed worker left, and says what failed.
"""

import argparse
import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from dvc.exceptions import DvcException
from dvc.repo.experiments.queue.base import QueueEntry
from dvc.repo.experiments.queue.celery import LocalCeleryQueue
from dvc.repo.experiments.queue.tasks import run_exp

from ..dvc_store.opening import open_repo
from ..errors import CommandError, failure, one_line

NOTHING = "nothing is queued: inv exp.queue -- 'seed=0,1,2'"
LOOK_SECONDS = 0.5
QUIET_SECONDS = 30  # after which a worker that prints nothing is asked whether it is alive
ANSWER_SECONDS = 5  # for a worker that is busy


def run(jobs: int, queue: LocalCeleryQueue) -> list[QueueEntry]:
    """Run what is queued or was killed, wait for it, and return the experiments that failed.

    Args:
        jobs: how many at a time.
    """
    restart_killed(queue)
    entries = [*queue.iter_active(), *queue.iter_queued()]
    if not entries:
        print(NOTHING)
        return []
    start(jobs)
    for entry in entries:
        follow(entry, queue, jobs)
    failed = [entry for entry in entries if has_succeeded(entry, queue) is False]
    if succeeded := len(entries) - len(failed):
        print(f"{succeeded} of {len(entries)} succeeded: inv compare, then inv exp.apply NAME")
    return failed


def start(jobs: int) -> None:
    """Start DVC's workers, which end when nothing is queued; those that run already stay."""
    options = ("queue", "start", "--jobs", str(jobs))
    print(f"$ dvc {' '.join(options)}", flush=True)
    # The workers live on: they get none of this process's streams, which others may wait for.
    nowhere = subprocess.DEVNULL
    command = [sys.executable, "-m", "dvc", *options]
    subprocess.run(command, stdin=nowhere, stdout=nowhere, stderr=nowhere, check=True)


def follow(entry: QueueEntry, queue: LocalCeleryQueue, jobs: int) -> None:
    """Print what an experiment prints until it has ended, whatever becomes of its worker."""
    with contextlib.ExitStack() as opened:
        output: TextIO | None = None
        quiet_since = time.monotonic()
        ended = False
        while True:
            process = queue.proc.get(entry.stash_rev)
            if output is None and process and process.stdout:
                output = opened.enter_context(Path(process.stdout).open(encoding="utf-8"))
                print(f"\n{name(entry)}:", flush=True)
            if output and (text := output.read()):
                print(text, end="", flush=True)
                quiet_since = time.monotonic()
            if ended:
                return
            ended = has_succeeded(entry, queue) is not None
            if time.monotonic() - quiet_since > QUIET_SECONDS:
                if entry in restart_killed(queue):
                    opened.close()
                    output = None
                start(jobs)
                quiet_since = time.monotonic()
            time.sleep(LOOK_SECONDS)


def has_succeeded(entry: QueueEntry, queue: LocalCeleryQueue) -> bool | None:
    """Return whether an experiment succeeded; None while it waits or runs."""
    if entry in (*queue.iter_queued(), *queue.iter_active()):
        return None
    with contextlib.suppress(FileNotFoundError):
        result = queue.get_result(entry)
        return bool(result and result.exp_hash)
    return False


def restart_killed(queue: LocalCeleryQueue) -> list[QueueEntry]:
    """Put back what killed workers left, and return it."""
    entries = killed(queue)
    for entry in entries:
        put_back(entry, queue)
        print(f"{name(entry)} was killed: it starts over", flush=True)
    return entries


def killed(queue: LocalCeleryQueue) -> list[QueueEntry]:
    """Return the experiments that count as running, although no living worker has them."""
    dead: set[QueueEntry] | None = None
    for _ in range(2):  # between two looks a worker may end one experiment and take another
        active = list(queue._iter_active_tasks())
        if not active:
            return []
        workers = queue.celery.control.inspect(timeout=ANSWER_SECONDS).active() or {}
        running = {task["id"] for tasks in workers.values() for task in tasks}
        orphaned = {task.entry for task in active if task.async_result.id not in running}
        dead = orphaned if dead is None else dead & orphaned
        if not dead:
            return []
    return [task.entry for task in queue._iter_active_tasks() if task.entry in (dead or ())]


def put_back(entry: QueueEntry, queue: LocalCeleryQueue) -> None:
    """Queue an experiment again; what its killed process left is removed after that."""
    if entry.stash_rev not in queue.stash.stash_revs:  # where its name and commit are kept
        text = queue.stash.format_message(
            entry.head_rev or entry.baseline_rev, entry.baseline_rev, entry.name, entry.branch
        )
        queue.scm.set_ref(queue.stash.ref, entry.stash_rev, message=f"commit: {text}")
    for message, other in list(queue._iter_processed()):
        if other == entry:
            arguments, options, _ = message.decode()
            queue.celery.signature(run_exp.s(*arguments, **options)).delay()
            queue.celery.purge(message.delivery_tag)
            break
    with contextlib.suppress(FileNotFoundError, KeyError):
        shutil.rmtree(queue._load_info(entry.stash_rev).root_dir, ignore_errors=True)
    del queue.proc[entry.stash_rev]


def name(entry: QueueEntry) -> str:
    return entry.name or entry.stash_rev[:7]


def reasons(failed: list[QueueEntry], queue: LocalCeleryQueue) -> Iterator[str]:
    """Yield a line for each experiment that failed: why, and where the rest of its output is."""
    for entry in failed:
        process = queue.proc.get(entry.stash_rev)
        reason = failure(Path(process.stdout) if process and process.stdout else None)
        yield f"exp.run: {name(entry)} failed: {reason}; its output: dvc queue logs {name(entry)}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the queued experiments.")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time (default: 1)")
    jobs = parser.parse_args().jobs
    if jobs < 1:
        raise SystemExit(f"exp.run: --jobs={jobs}: at least one at a time")
    try:
        with open_repo(Path()) as repo:
            queue = repo.experiments.celery_queue
            lines = list(reasons(run(jobs, queue), queue))
    except (CommandError, DvcException) as error:
        raise SystemExit(f"exp.run: {one_line(error)}") from None
    except KeyboardInterrupt:
        raise SystemExit(
            "\nthe experiments keep running: inv exp.run follows them,"
            " dvc queue stop --kill stops them"
        ) from None
    if lines:
        print(*lines, sep="\n")
        print("to forget those that failed: dvc queue remove --failed")
    return 1 if lines else 0


if __name__ == "__main__":
    raise SystemExit(main())
