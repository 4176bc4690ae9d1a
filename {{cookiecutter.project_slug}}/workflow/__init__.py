"""Tracking, restoring, serving and deployment: the same in every project of this template."""

import os

# Without this, set before it is imported, onnxruntime sends usage statistics to Microsoft.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
