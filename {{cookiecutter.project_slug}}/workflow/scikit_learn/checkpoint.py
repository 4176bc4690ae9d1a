"""A fitted model in a file: a zip of the model, and of what it was made from, as JSON."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import joblib

from .. import checkpoint_file
from ..checkpoint_file import CONFIG, PROVENANCE

MODEL = "model.joblib"


def write(path: Path, model: Any, config: dict[str, Any], provenance: dict[str, Any]) -> None:
    """Write a model, with its config and provenance."""
    fitted = io.BytesIO()
    joblib.dump(model, fitted)
    members = {
        PROVENANCE: json.dumps(provenance).encode(),
        CONFIG: json.dumps(config).encode(),
        MODEL: fitted.getvalue(),
    }
    checkpoint_file.write(path, members)


def read(path: Path) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Return the model in a file, its config and its provenance.

    The model is unpickled, which can run any code: read only what a training of yours wrote.
    """
    with zipfile.ZipFile(path) as archive:
        model = joblib.load(io.BytesIO(archive.read(MODEL)))
        config, provenance = (json.loads(archive.read(name)) for name in (CONFIG, PROVENANCE))
    return model, config, provenance
