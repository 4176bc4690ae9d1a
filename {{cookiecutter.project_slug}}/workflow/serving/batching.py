"""Requests that wait for a model, computed together."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..signature import Inputs

Waiting = tuple[Inputs, asyncio.Future[np.ndarray]]

# Seconds: what takes less is computed in the event loop. To hand it to a thread, and to get the
# interpreter back from that, takes longer than to let the others wait.
SHORT = 0.001


class Batcher:
    """Computes what it is asked, a batch at a time.

    A request is computed at once where nothing else is; those that come meanwhile are the next
    batch. All methods are called in one event loop; `predict` runs in a thread while it takes so
    long that others would have to wait for it.
    """

    def __init__(
        self,
        predict: Callable[[Inputs], np.ndarray],
        *,
        max_batch_size: int,
        max_wait: float,
        capacity: int,
        timeout: float,
        note: Callable[[int, np.ndarray], None],
    ) -> None:
        """Start it.

        Args:
            predict: returns a row for each of the samples, of which each input has n.
            max_batch_size: requests that are computed at once.
            max_wait: seconds that the first request of a batch waits for others.
            capacity: requests that may wait or be computed.
            timeout: seconds that a request may take.
            note: called for each batch, with the number of requests and the rows.
        """
        self._predict = predict
        self._max_batch_size = max_batch_size
        self._max_wait = max_wait
        self._capacity = capacity
        self._timeout = timeout
        self._note = note
        self._waiting: deque[Waiting] = deque()
        self._asked = 0
        self._task: asyncio.Task[None] | None = None
        self._short = False  # the last batch took less than SHORT
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="predict")

    async def ask(self, inputs: Inputs) -> np.ndarray:
        """Return a row for each of the samples (n, …), by the names of the inputs.

        Raises:
            asyncio.QueueFull: as many requests wait as may.
            TimeoutError: it took too long.
        """
        if self._asked >= self._capacity:
            raise asyncio.QueueFull
        loop = asyncio.get_running_loop()
        future: asyncio.Future[np.ndarray] = loop.create_future()
        self._waiting.append((inputs, future))
        self._asked += 1
        if self._task is None:
            self._task = loop.create_task(self._run())
        late = loop.call_later(self._timeout, time_out, future)
        try:
            return await future
        finally:
            late.cancel()
            self._asked -= 1

    async def _run(self) -> None:
        """Compute batch after batch until nobody waits."""
        await asyncio.sleep(self._max_wait)
        while batch := self._next():
            every = joined([inputs for inputs, _ in batch])
            try:
                answers = await self._compute(every)
                self._note(len(batch), answers)
                hand_out(batch, answers)
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
            await asyncio.sleep(0)  # lets those that have their rows go
        self._task = None

    def _next(self) -> list[Waiting]:
        """Take the next batch; those that timed out are in none."""
        batch: list[Waiting] = []
        while self._waiting and len(batch) < self._max_batch_size:
            inputs, future = self._waiting.popleft()
            if not future.done():
                batch.append((inputs, future))
        return batch

    async def _compute(self, inputs: Inputs) -> np.ndarray:
        if self._short:
            return self._timed(inputs)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._timed, inputs)

    def _timed(self, inputs: Inputs) -> np.ndarray:
        """Compute, and note whether it was short."""
        started = time.thread_time()
        try:
            return self._predict(inputs)
        finally:
            self._short = time.thread_time() - started < SHORT


def samples_in(inputs: Inputs) -> int:
    """Return how many samples there are of each input."""
    return len(next(iter(inputs.values())))


def joined(requests: list[Inputs]) -> Inputs:
    """Return the samples of all requests as one batch."""
    if len(requests) == 1:
        return requests[0]
    names = requests[0]
    return {name: np.concatenate([inputs[name] for inputs in requests]) for name in names}


def hand_out(batch: list[Waiting], answers: np.ndarray) -> None:
    """Give each request its rows."""
    end = 0
    for inputs, future in batch:
        start, end = end, end + samples_in(inputs)
        if not future.done():
            future.set_result(answers[start:end])


def time_out(future: asyncio.Future[np.ndarray]) -> None:
    """Cancel the wait for a future."""
    if not future.done():
        future.set_exception(TimeoutError())
