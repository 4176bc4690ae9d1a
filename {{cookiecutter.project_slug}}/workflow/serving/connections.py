"""Connections to the model services.

A Service of Kubernetes chooses a replica for each connection, not for each request: connections
that were kept for ever would never reach a new replica, and would still ask one that ends.
"""

import asyncio
from types import TracebackType
from typing import Self

import aiohttp

RENEW_SECONDS = 3.0  # less than a pod that ends still takes requests (preStop)


class Connections:
    """An HTTP client that reopens its connections every few seconds, while it is entered.

    What an old one was asked is answered before it closes.
    """

    def __init__(self, timeout: aiohttp.ClientTimeout) -> None:
        self._timeout = timeout
        assert timeout.total
        self._longest: float = timeout.total

    async def __aenter__(self) -> Self:
        self._session = self._open()
        self._tasks = {asyncio.create_task(self._renew())}
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """The client of now, for one request."""
        return self._session

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0)
        return aiohttp.ClientSession(connector=connector, timeout=self._timeout)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            before, self._session = self._session, self._open()
            closing = asyncio.create_task(self._close(before))
            self._tasks.add(closing)
            closing.add_done_callback(self._tasks.discard)

    async def _close(self, session: aiohttp.ClientSession) -> None:
        try:
            await asyncio.sleep(self._longest)  # of what it was asked last
        finally:
            await session.close()
