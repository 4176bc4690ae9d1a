"""The models that runs have logged to W&B, by the hashes that DVC has of them."""

import base64
from collections.abc import Iterator
from typing import Any

from ..paths import MODEL


def models(run: Any) -> Iterator[tuple[Any, str]]:
    """Yield the models that a run, as `wandb.Api` gives it, has logged, with their DVC hashes."""
    for artifact in run.logged_artifacts():
        if artifact.type == "model" and MODEL.name in artifact.manifest.entries:
            yield artifact, md5(artifact.manifest.entries[MODEL.name].digest)


def md5(digest: str) -> str:
    """Return the MD5 that W&B keeps a file by as DVC writes it."""
    return base64.b64decode(digest).hex()
