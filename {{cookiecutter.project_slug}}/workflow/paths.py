"""Where the pipeline's stages read and write, from the project's root; dvc.yaml names the same."""

import os
from pathlib import Path


def _root() -> Path:
    """Return the project's folder: around this package, or where that is installed, around here."""
    beside, here = Path(__file__).resolve().parent.parent, Path.cwd()
    folders = (beside, here, *here.parents)
    return next((f for f in folders if (f / "dvc.yaml").exists() and (f / "conf").is_dir()), beside)


ROOT = _root()

CONF = Path("conf")
PARAMS = Path("params.yaml")
LOCK = Path("dvc.lock")
RAW_DATA = Path("data/raw")
PREPARED_DATA = Path("data/prepared")
TRAIN_RUN = Path("runs/train")
CHECKPOINT = TRAIN_RUN / "model.ckpt"
HISTORY = TRAIN_RUN / "history.csv"
TRAIN_METRICS = TRAIN_RUN / "metrics.json"
MODEL = Path("models/model.onnx")
UNFINISHED = Path("unfinished")  # in the folder of a training, until its result is safe
NEWEST_CHECKPOINT = UNFINISHED / "last.ckpt"
SERVED = Path("runs/served")  # what services were asked, where they keep it
DEPLOYMENT = Path(".deploy")  # what `inv deploy.…` keeps and writes
DEPLOYED_MODELS = DEPLOYMENT / "models"
REPORTS = Path("reports")
METRICS = REPORTS / "metrics.json"
PREDICTIONS = REPORTS / "predictions.csv"
SECTIONS = REPORTS / "sections.json"
PICTURES = REPORTS / "pictures"
RESULTS = (TRAIN_RUN, METRICS)  # of what Git tracks; DVC removes them before it runs a stage
BUILT = (PARAMS, LOCK, *RESULTS)  # what the pipeline writes and Git tracks


def home() -> Path:
    """Return the project's own folder: a queued experiment runs in a temporary copy of it."""
    return Path(os.environ.get("DVC_ROOT", ROOT))
