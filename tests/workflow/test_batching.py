"""Requests that wait for a model: computed together, given up in time, holding up nothing else."""

import asyncio
import threading
import time

import numpy as np
import pytest
from workflow.serving.batching import SHORT, Batcher


class Doubler:
    """A model that takes seconds of CPU time; keeps its batches and the threads they ran in."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.batches: list[list[int]] = []
        self.threads: list[int] = []

    def predict(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """Return twice the images (n, 1)."""
        images = inputs["images"]
        self.batches.append(images.ravel().tolist())
        self.threads.append(threading.get_ident())
        until = time.thread_time() + self.seconds
        while time.thread_time() < until:
            time.sleep(self.seconds / 1000)
        if (images < 0).any():
            raise ValueError("negative")
        return 2 * images


def batcher(model: Doubler, **changed: float) -> Batcher:
    """Return one with roomy limits, but for those that are given."""
    limits = {"max_batch_size": 4, "max_wait": 0.0, "capacity": 100, "timeout": 30.0, **changed}
    return Batcher(model.predict, **limits, note=lambda requests, answers: None)  # type: ignore[arg-type]


def image(value: int, rows: int = 1) -> dict[str, np.ndarray]:
    return {"images": np.full((rows, 1), value)}


def test_each_gets_the_rows_of_its_own_images_from_batches_within_the_limit() -> None:
    model = Doubler()

    async def ask() -> list[np.ndarray]:
        asked = batcher(model)
        return await asyncio.gather(*(asked.ask(image(n, rows=1 + n % 3)) for n in range(10)))

    for n, answer in enumerate(asyncio.run(ask())):
        assert answer.tolist() == image(2 * n, rows=1 + n % 3)["images"].tolist()
    assert [sorted(set(batch)) for batch in model.batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_long_computation_leaves_the_event_loop_free_and_a_short_one_runs_in_it() -> None:
    long, short = Doubler(20 * SHORT), Doubler()

    async def ask(model: Doubler) -> int:
        asked, turns = batcher(model), 0
        for _ in range(3):
            waiting = asyncio.create_task(asked.ask(image(1)))
            while not waiting.done():
                await asyncio.sleep(0)
                turns += 1
        return turns

    turns = asyncio.run(ask(long))
    assert turns > 100
    assert threading.get_ident() not in long.threads
    asyncio.run(ask(short))
    assert short.threads[1:] == 2 * [threading.get_ident()]


def test_one_that_waits_too_long_is_given_up_and_computed_in_no_batch() -> None:
    model = Doubler(0.2)

    async def ask() -> None:
        asked = batcher(model, timeout=0.05, max_batch_size=1)
        first, second = (asyncio.create_task(asked.ask(image(n))) for n in (1, 2))
        for waiting in (first, second):
            with pytest.raises(TimeoutError):
                await waiting
        model.seconds = 0
        while model.batches == [[1]]:
            try:
                assert (await asked.ask(image(3))).tolist() == [[6]]
            except TimeoutError:
                continue  # the first is still computed

    asyncio.run(ask())
    assert model.batches == [[1], [3]]


def test_beyond_the_capacity_a_request_is_refused_and_later_ones_are_not() -> None:
    async def ask() -> None:
        asked = batcher(Doubler(), capacity=2)
        waiting = [asyncio.create_task(asked.ask(image(n))) for n in range(3)]
        done = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in done] == [np.ndarray, np.ndarray, asyncio.QueueFull]
        assert (await asked.ask(image(4))).tolist() == [[8]]

    asyncio.run(ask())


def test_an_error_of_the_model_reaches_its_batch_and_not_the_next() -> None:
    async def ask() -> None:
        asked = batcher(Doubler())
        with pytest.raises(ValueError, match="negative"):
            await asked.ask(image(-1))
        assert (await asked.ask(image(4))).tolist() == [[8]]

    asyncio.run(ask())
