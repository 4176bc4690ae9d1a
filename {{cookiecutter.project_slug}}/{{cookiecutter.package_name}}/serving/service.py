"""The model service: one exported model behind HTTP, asked in batches.

    MODEL_FILE=models/model.onnx python -m <package>.serving.service --port 8000

POST /v2/models/NAME/infer is that of the Open Inference Protocol. POST /v2/models/NAME/metadata
tells what the protocol's GET does: mosec, which listens and batches, has no GET routes to give.
GET / answers as soon as the model can be asked, GET /metrics is for Prometheus. Options are those
of mosec.
"""

import json
import os
from typing import Any

import numpy as np
from mosec import Runtime, Server, Worker
from mosec.errors import ClientError

from . import model, protocol, settings
from .protocol import Request, RequestError


class BadRequestError(ClientError):
    """A request that cannot be answered, with status 400.

    mosec writes "msg: text" as the body; here that is the protocol's error object.
    """

    msg = '{"error"'

    def __init__(self, reason: str) -> None:
        super().__init__(json.dumps(reason) + "}")


class Inference(Worker):
    """Answers requests; one process of the service."""

    def __init__(self) -> None:
        self.model = model.from_environment(settings.load().threads)

    def deserialize(self, data: bytes) -> tuple[Request, np.ndarray]:
        try:
            return protocol.decode(data, self.model.signature)
        except RequestError as error:
            raise BadRequestError(str(error)) from None

    def forward(self, data: Any) -> Any:
        if not isinstance(data, list):  # mosec's way where a batch is of one request
            return self.forward([data])[0]
        answers = self.model.predict(np.concatenate([images for _, images in data]))
        ends = np.cumsum([len(images) for _, images in data])
        parts = np.split(answers, ends[:-1])
        return [(request, part) for (request, _), part in zip(data, parts, strict=True)]

    def serialize(self, data: tuple[Request, np.ndarray]) -> bytes:
        request, answer = data
        signature = self.model.signature
        return protocol.encode(request, answer, self.model.name, self.model.version, signature)


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
        {f"{route}/infer": [inference], f"{route}/metadata": [Runtime(Metadata)]}
    )
    server.run()


if __name__ == "__main__":
    main()
