"""The same model behind other servers, as their documentation shows it; for serving.py.

peers.py fastapi|litserve|bare MODEL PORT
"""

import sys
import time

import numpy as np
import onnxruntime


def session(path: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def fastapi(path: str, port: int) -> None:
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    model = session(path)
    app = FastAPI()

    class Request(BaseModel):
        image: list[int]

    @app.post("/predict")
    def predict(request: Request) -> dict[str, list[float]]:
        images = np.array(request.image, np.uint8).reshape(1, 8, 8)
        return {"probabilities": model.run(None, {"images": images})[0][0].tolist()}

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


def bare(path: str) -> None:
    """Print the images a second of onnxruntime alone."""
    model = session(path)
    images = np.zeros((32, 8, 8), np.uint8)
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < 5:
        model.run(None, {"images": images})
        done += len(images)
    print(done / (time.perf_counter() - start))


if __name__ == "__main__":
    kind, file, number = sys.argv[1:]
    if kind == "bare":
        bare(file)
    else:
        fastapi(file, int(number))
