"""Tracking, restoring, serving and deployment: the same in every project of this template."""

import os

# Without these, set before they are imported, onnxruntime sends usage statistics to Microsoft, and
# W&B sends some of offline runs too, for which a process waits at its end.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
