"""The same model behind LitServe, as its documentation shows it; for serving.py.

peer_litserve.py MODEL PORT
"""

import sys

import litserve
import numpy as np
import onnxruntime
from peers import session


class API(litserve.LitAPI):
    """At the top of a module, where the processes that LitServe starts find it."""

    model: onnxruntime.InferenceSession

    def setup(self, device: str) -> None:
        self.model = session(sys.argv[1])

    def decode_request(self, request: dict[str, list[int]]) -> np.ndarray:
        return np.array(request["image"], np.uint8).reshape(8, 8)

    def predict(self, images: np.ndarray) -> np.ndarray:
        return self.model.run(None, {"images": images})[0]

    def encode_response(self, output: np.ndarray) -> dict[str, list[float]]:
        return {"probabilities": output.tolist()}


if __name__ == "__main__":
    api = API(max_batch_size=32, batch_timeout=0.001)
    server = litserve.LitServer(api, accelerator="cpu")
    # It writes an example of a client into the current folder, unless told not to.
    server.run("127.0.0.1", int(sys.argv[2]), log_level="warning", generate_client_file=False)
