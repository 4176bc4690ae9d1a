"""One stage of the pipeline a module: compose, fetch, prepare, train, export, evaluate."""

import os

# onnxruntime tells Microsoft that it is used, unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
