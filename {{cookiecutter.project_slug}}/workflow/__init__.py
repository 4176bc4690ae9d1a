"""What tracks, restores, serves and deploys: the same in every project of this template."""

import os

# onnxruntime tells Microsoft that it is used, unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
