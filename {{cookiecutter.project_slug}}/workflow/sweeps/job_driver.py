"""Running a sweep on a cluster: workers as a job array, and a line for each trial that ends."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from ..cluster import records, snapshot, submit
from ..cluster.follow import FAILED, Standing, last_lines, standings
from ..cluster.records import Job
from ..cluster.submit import Request
from ..errors import CommandError
from .driver import DEATHS
from .progress import Progress
from .study import Sweep

ASK_SECONDS = 3


@dataclass
class JobDriver:
    """Keeps as many workers on the cluster as were asked for, until no trial is left.

    They outlive it: the same command finds those that wait or run, and submits what is missing.

    Args:
        jobs: how many trials at a time.
        failures: how many failed trials of the study end it; None: none do.
        request: resources of each worker.
    """

    sweep: Sweep
    jobs: int
    failures: int | None
    request: Request

    def run(self) -> None:
        """Run the sweep to its end, or to its limit of failures.

        Raises:
            CommandError: the workers end, and no trial does.
            KeyboardInterrupt: the workers keep running.
        """
        progress = Progress(self.sweep)
        jobs = {job.id: job for job in self._known()}
        reported: set[str] = set()
        for job in jobs.values():  # earlier ends were reported earlier
            reported |= {task for task, standing in standings(job).items() if standing.has_ended}
        deaths = 0
        while True:
            if progress.show():
                deaths = 0
            current = {job.id: standings(job) for job in jobs.values()}
            for job in jobs.values():
                for line in self._ends(job, current[job.id], reported):
                    print(line, flush=True)
                    deaths += 1
            running = sum(not s.has_ended for of_job in current.values() for s in of_job.values())
            unfinished = len(self.sweep.unfinished)
            if not unfinished or (self.failures is not None and self.sweep.failed >= self.failures):
                break
            if (lacking := min(self.jobs, unfinished) - running) > 0:
                if deaths >= DEATHS:
                    raise CommandError("workers end, and no trial does: the lines above say why")
                job = self._submit(lacking)
                jobs[job.id] = job
            time.sleep(ASK_SECONDS)
        self._clean([*jobs.values()])

    def _known(self) -> list[Job]:
        """Return the jobs of this sweep that have not been cleaned up."""
        name = self.sweep.plan.name
        return [
            job
            for job in records.every()
            if job.kind == "sweep" and job.name == name and job.has_snapshot
        ]

    def _submit(self, count: int) -> Job:
        options = ["--sweep", self.sweep.plan.name]
        options += ["--failures", str(self.failures)] if self.failures is not None else []
        module = "workflow.sweeps.worker"
        commands = [[module, *options, "--slot", str(slot)] for slot in range(count)]
        job = submit.workers(self.request, self.sweep.plan.name, commands)
        workers = f"{count} workers" if count > 1 else "a worker"
        print(f"job {job.id}: {workers}; inv cluster.logs {job.id} shows what they print")
        return job

    def _ends(self, job: Job, current: dict[str, Standing], reported: set[str]) -> Iterator[str]:
        """Yield why workers failed, each once."""
        for task, standing in current.items():
            if standing.has_ended and task not in reported:
                reported.add(task)
                if standing.state == FAILED:
                    lines = last_lines(job.log(task), 3)
                    yield "\n  ".join([f"job {task} failed: {standing.text}", *lines])

    def _clean(self, jobs: list[Job]) -> None:
        """Wait for the last workers, and remove the snapshots."""
        end = time.monotonic() + 60
        for job in jobs:
            while time.monotonic() < end:
                if all(standing.has_ended for standing in standings(job).values()):
                    snapshot.remove(job.project)
                    break
                time.sleep(1)
