"""A model service, as the web application asks it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
import numpy as np

from ..signature import DATATYPES
from . import protocol
from .connections import Connections

PASSED_ON = (400, 413, 429, 503, 504)
VERSION = re.compile(r"[\w-]+", re.ASCII)
METADATA_TIMEOUT = aiohttp.ClientTimeout(total=2.0)  # seconds


class UpstreamError(Exception):
    """A model service gave no answer; `status` is that which the client gets, the text says why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Output(msgspec.Struct):
    """An output of an answer."""

    name: str
    datatype: str
    shape: list[int]
    data: list[float] | None = None


class Head(msgspec.Struct):
    """What is read of the JSON of an answer."""

    model_version: str
    outputs: list[Output]


@dataclass(frozen=True)
class Answer:
    """An answer, exactly as the service gave it, and what was read of it."""

    body: bytes
    json_length: int  # the length of the body where no binary tensor follows
    head: Head
    run: str | None = None  # that made the model, if the service says so

    @property
    def is_binary(self) -> bool:
        return self.json_length < len(self.body)

    def best(self, classes: int) -> list[int]:
        """Return the index of the best class for each sample; none if the output has no classes."""
        (output,) = self.head.outputs
        if len(output.shape) != 2 or output.shape[1] != classes:
            return []
        if self.is_binary:
            datatype = DATATYPES[output.datatype]
            values = np.frombuffer(self.body, datatype, offset=self.json_length)
        else:
            values = np.array(output.data)
        return values.reshape(output.shape).argmax(axis=1).tolist()


class Upstream:
    """The service of one model.

    Its methods raise UpstreamError: 400 for a request that the model cannot take, 404 for another
    version than its own, 413, 429 if its queue is full, 502 if it failed, 503 if it cannot be
    reached, 504 if it took too long.
    """

    def __init__(self, name: str, address: str, connections: Connections) -> None:
        self.name = name
        self._address = f"{address}/v2/models/{name}"
        self._connections = connections
        self._described: dict[str, dict[str, Any]] = {}  # metadata by the version of the model

    @property
    def version(self) -> str | None:
        """The newest version of the model that was seen; None if it was not asked before."""
        return next(reversed(self._described), None)

    @property
    def described(self) -> dict[str, Any]:
        """The metadata of that version."""
        return self._described.get(self.version or "", {})

    async def infer(self, body: bytes, request_id: str, version: str | None = None) -> Answer:
        """Pass a request on, to a certain version if one is named."""
        headers = {"x-request-id": request_id}
        content, answered = await self._ask("POST", "/infer", version, data=body, headers=headers)
        try:
            return read_answer(content, answered.get("x-model-run"))
        except (ValueError, RecursionError, msgspec.MsgspecError):
            raise UpstreamError(502, f"the service of `{self.name}` gave no valid answer") from None

    async def metadata(self, version: str | None = None) -> dict[str, Any]:
        """Return the metadata of the service's model, as the protocol has it."""
        content, _ = await self._ask("GET", "", version, timeout=METADATA_TIMEOUT)
        try:
            described = msgspec.json.decode(content)
            described["parameters"]["signature"]["outputs"][0]
            self._described[described["versions"][0]] = described
        except (LookupError, TypeError, msgspec.MsgspecError):
            raise UpstreamError(502, f"the service of `{self.name}` gave no metadata") from None
        return described

    async def predicted(self, answer: Answer) -> list[str]:
        """Return the class that an answer gives for each sample; none if it has no classes."""
        version = answer.head.model_version
        try:
            if version not in self._described:
                await self.metadata(version)
            output = self._described[version]["parameters"]["signature"]["outputs"][0]
            classes = output.get("names", [])
            return [classes[index] for index in answer.best(len(classes))]
        except (UpstreamError, LookupError, ValueError):
            return []

    async def _ask(
        self, method: str, what: str, version: str | None, **options: Any
    ) -> tuple[bytes, Mapping[str, str]]:
        """Return the body and the headers of an answer."""
        if version and not VERSION.fullmatch(version):
            raise await self._no_version(version)  # and not asked for: `..` is another path
        url = f"{self._address}/versions/{version}{what}" if version else f"{self._address}{what}"
        try:
            async with self._connections.session.request(method, url, **options) as response:
                content = await response.read()
        except aiohttp.ConnectionTimeoutError:
            raise self._unreachable() from None
        except TimeoutError:
            raise UpstreamError(504, f"`{self.name}` did not answer in time") from None
        except aiohttp.ClientError:
            raise self._unreachable() from None
        if response.status == 404 and version:
            raise await self._no_version(version)
        if response.status != 200:
            raise self._refused(response.status, content)
        return content, response.headers

    async def _no_version(self, version: str) -> UpstreamError:
        served = (await self.metadata())["versions"][0]  # raises where the model is not there
        return UpstreamError(404, protocol.no_version(self.name, version, served))

    def _unreachable(self) -> UpstreamError:
        return UpstreamError(503, f"the service of `{self.name}` cannot be reached")

    def _refused(self, status: int, content: bytes) -> UpstreamError:
        if status == 404:
            return UpstreamError(503, f"the service does not serve `{self.name}` now")
        if status in PASSED_ON:
            try:
                return UpstreamError(status, str(msgspec.json.decode(content)["error"]))
            except (LookupError, TypeError, msgspec.MsgspecError):
                pass  # whoever answered is no model service
        return UpstreamError(502, f"the service of `{self.name}` failed")


def read_answer(body: bytes, run: str | None = None) -> Answer:
    """Read what is in an answer.

    Raises:
        ValueError, RecursionError or MsgspecError: it is none.
    """
    length = len(body)
    try:
        return Answer(body, length, msgspec.json.decode(body, type=Head), run)
    except msgspec.DecodeError:
        length = protocol.json_length(body)  # binary tensors follow
        return Answer(body, length, msgspec.json.decode(body[:length], type=Head), run)
