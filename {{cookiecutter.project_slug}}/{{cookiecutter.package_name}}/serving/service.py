"""The model service: one exported model behind HTTP, asked in batches.

    MODEL_FILE=models/model.onnx python -m <package>.serving.service --port 8000

`POST /v2/models/model/infer` is that of the Open Inference Protocol, in JSON; `GET /` answers as
soon as the model can be asked. The options are those of mosec, which listens and batches.
"""

import json
import os
from typing import Any

import numpy as np
import onnxruntime
from mosec import Runtime, Server, Worker
from mosec.errors import DecodingError

ROUTE = "/v2/models/model/infer"
PORT = 8000
MAX_BATCH_SIZE = 32
MAX_WAIT_MS = 1  # how long the first request of a batch waits for others


class Model(Worker):
    """Asks onnxruntime; one process of the service."""

    def __init__(self) -> None:
        self.session = load(os.environ["MODEL_FILE"])
        metadata = self.session.get_modelmeta().custom_metadata_map
        signature = json.loads(metadata["signature"])
        (self.input,), (self.output,) = signature["inputs"], signature["outputs"]

    def deserialize(self, data: bytes) -> np.ndarray:
        """Return the input tensor of a request, uint8 (batch, rows, columns).

        Raises:
            DecodingError: the body is not what the protocol and the model's signature ask for;
                the client gets it with status 400.
        """
        try:
            return self._decode(json.loads(data))
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            wanted = f"one input such as {json.dumps(self.input)}, with its `data`"
            raise DecodingError(f"{type(error).__name__}: {error}; send {wanted}") from None

    def forward(self, data: list[np.ndarray]) -> list[np.ndarray]:
        """Return the answer to each request of a batch."""
        answers = self.session.run(None, {self.input["name"]: np.concatenate(data)})[0]
        ends = np.cumsum([len(images) for images in data])
        return np.split(answers, ends[:-1])

    def serialize(self, data: np.ndarray) -> bytes:
        """Return the body of an answer, float32 (batch, classes)."""
        output = {
            "name": self.output["name"],
            "datatype": self.output["datatype"],
            "shape": list(data.shape),
            "data": data.ravel().tolist(),
        }
        return json.dumps({"model_name": "model", "outputs": [output]}).encode()

    def _decode(self, body: dict[str, Any]) -> np.ndarray:
        (tensor,) = body["inputs"]
        if tensor["name"] != self.input["name"] or tensor["datatype"] != self.input["datatype"]:
            raise ValueError(f"got `{tensor['name']}`, {tensor['datatype']}")
        images = np.array(tensor["data"], np.uint8).reshape(tensor["shape"])
        if images.shape[1:] != tuple(self.input["shape"][1:]) or not len(images):
            raise ValueError(f"got shape {list(images.shape)}")
        return images


def load(path: str) -> onnxruntime.InferenceSession:
    """Return a session of one thread: the processes of a service share the cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def main() -> None:
    server = Server()
    runtime = Runtime(Model, max_batch_size=MAX_BATCH_SIZE, max_wait_time=MAX_WAIT_MS)
    server.register_runtime({ROUTE: [runtime]})
    server.run()


if __name__ == "__main__":
    main()
