"""The model service: one exported model behind HTTP, asked in batches.

    MODEL_FILE=models/model.onnx python -m <package>.serving.service --port 8000

POST /v2/models/NAME/infer is that of the Open Inference Protocol. POST /v2/models/NAME/metadata
tells what the protocol's GET does: mosec, which listens and batches, has no GET routes to give.
GET / answers as soon as the model can be asked. Options are those of mosec. The numbers for
Prometheus are at GET /metrics of the port that METRICS_PORT names; at mosec's own, those of mosec.
"""

import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from mosec import Runtime, Server, Worker
from mosec.args import parse_arguments
from mosec.errors import ClientError

from . import log, metrics, model, protocol, settings
from .protocol import Request, RequestError

Asked = tuple[Request, np.ndarray]


class BadRequestError(ClientError):
    """A request that cannot be answered, with status 400.

    mosec writes "msg: text" as the body; here that is the protocol's error object.
    """

    msg = '{"error"'

    def __init__(self, reason: str) -> None:
        super().__init__(json.dumps(reason) + "}")


class Inference(Worker):
    """Computes answers, in batches; one process of the service.

    mosec has one status for a batch. What is wrong with a request is therefore passed on, for
    `Answering` to refuse it alone.
    """

    def __init__(self) -> None:
        chosen = settings.load()
        self.model = model.from_environment(chosen.threads)
        self.counts = metrics.Counts(self.model)
        self.log = None
        if chosen.log_every:
            self.log = log.Log(self.model, chosen.log_every, chosen.log_max_bytes)

    def deserialize(self, data: bytes) -> Asked | RequestError:
        try:
            return protocol.decode(data, self.model.signature)
        except RequestError as error:
            return error

    def forward(self, data: Any) -> Any:
        if not isinstance(data, list):  # mosec's way where a batch is of one request
            return self.forward([data])[0]
        answers = self.answer([item for item in data if not isinstance(item, RequestError)])
        return [item if isinstance(item, RequestError) else next(answers) for item in data]

    def answer(self, asked: list[Asked]) -> Iterator[bytes]:
        """Return the body of each answer."""
        if not asked:
            return
        answers = self.model.predict(np.concatenate([images for _, images in asked]))
        self.counts.add(answers)
        ends = np.cumsum([len(images) for _, images in asked])
        name, version, signature = self.model.name, self.model.version, self.model.signature
        for (request, images), part in zip(asked, np.split(answers, ends[:-1]), strict=True):
            if self.log:
                self.log.add(request.id, images, part)
            yield protocol.encode(request, part, name, version, signature)


class Answering(Worker):
    """Gives out answers and refusals, one by one."""

    def forward(self, data: bytes | RequestError) -> bytes:
        if isinstance(data, RequestError):
            raise BadRequestError(str(data))
        return data

    def serialize(self, data: bytes) -> bytes:
        return data


class Metadata(Worker):
    """Tells what the model takes and gives, and what it was made from."""

    def __init__(self) -> None:
        self.metadata = model.from_environment().metadata()

    def deserialize(self, data: bytes) -> None:
        return None

    def forward(self, data: Any) -> dict[str, Any]:
        return self.metadata


def main() -> None:
    try:
        chosen = settings.load()
        name = model.from_environment().name  # here, where what is wrong with it is one line
    except (model.ModelError, settings.SettingsError) as error:
        raise SystemExit(f"serve: {error}") from None
    os.environ["MOSEC_CAPACITY"] = str(chosen.capacity)
    os.environ["MOSEC_TIMEOUT"] = str(chosen.timeout_ms)
    os.environ["MOSEC_MAX_REQUEST_SIZE"] = str(chosen.max_body_bytes)
    server = Server()
    inference = Runtime(
        Inference,
        num=chosen.processes,
        max_batch_size=chosen.max_batch_size,
        max_wait_time=chosen.max_wait_ms,
    )
    route = f"/v2/models/{name}"
    server.register_runtime(
        {
            f"{route}/infer": [inference, Runtime(Answering)],
            f"{route}/metadata": [Runtime(Metadata)],
        }
    )
    options = parse_arguments()
    try:
        with metrics.page(options.address, options.port):
            server.run()
    except settings.SettingsError as error:
        raise SystemExit(f"serve: {error}") from None


if __name__ == "__main__":
    main()
