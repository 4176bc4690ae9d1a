"""Requests that wait for a model, computed together."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

Waiting = tuple[np.ndarray, asyncio.Future[np.ndarray]]


class QueueFullError(Exception):
    """As many requests wait as may."""


class Batcher:
    """Computes what it is asked, a batch at a time.

    A request is computed at once where nothing else is; those that come meanwhile are the next
    batch. All methods are called in one event loop; only `predict` runs in a thread.
    """

    def __init__(
        self,
        predict: Callable[[np.ndarray], np.ndarray],
        *,
        max_batch_size: int,
        max_wait: float,
        capacity: int,
        timeout: float,
        note: Callable[[int, np.ndarray], None],
    ) -> None:
        """Start it.

        Args:
            predict: returns a row for each of the images (n, …).
            max_batch_size: requests that are computed at once.
            max_wait: seconds that the first request of a batch waits for others.
            capacity: requests that may wait or be computed.
            timeout: seconds that a request may take.
            note: told of each batch: how many requests, and the rows.
        """
        self._predict = predict
        self._max_batch_size = max_batch_size
        self._max_wait = max_wait
        self._capacity = capacity
        self._timeout = timeout
        self._note = note
        self._waiting: deque[Waiting] = deque()
        self._asked = 0
        self._busy = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="predict")

    async def ask(self, images: np.ndarray) -> np.ndarray:
        """Return a row for each of the images (n, …).

        Raises:
            QueueFullError: as many requests wait as may.
            TimeoutError: it took too long.
        """
        if self._asked >= self._capacity:
            raise QueueFullError
        loop = asyncio.get_running_loop()
        future: asyncio.Future[np.ndarray] = loop.create_future()
        self._waiting.append((images, future))
        self._asked += 1
        if not self._busy:
            self._busy = True
            loop.call_later(self._max_wait, self._start)
        try:
            async with asyncio.timeout(self._timeout):
                return await future
        finally:
            self._asked -= 1

    def _start(self) -> None:
        """Compute the next batch; requests that were given up are in none."""
        batch: list[Waiting] = []
        while self._waiting and len(batch) < self._max_batch_size:
            images, future = self._waiting.popleft()
            if not future.done():
                batch.append((images, future))
        if not batch:
            self._busy = False
            return
        every = np.concatenate([images for images, _ in batch])
        computed = asyncio.get_running_loop().run_in_executor(self._thread, self._predict, every)
        computed.add_done_callback(lambda done: self._finish(batch, done))

    def _finish(self, batch: list[Waiting], computed: asyncio.Future[np.ndarray]) -> None:
        """Hand out the rows of a batch, or its error, and begin with the next."""
        error = computed.exception()
        if not error:
            self._note(len(batch), computed.result())
        end = 0
        for images, future in batch:
            start, end = end, end + len(images)
            if future.done():
                continue  # given up
            if error:
                future.set_exception(error)
            else:
                future.set_result(computed.result()[start:end])
        self._start()
