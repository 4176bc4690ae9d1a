"""Going on with a training that was interrupted."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch.plugins.io import TorchCheckpointIO
from omegaconf import DictConfig, OmegaConf

from .tracking import provenance


@dataclass(frozen=True)
class Training:
    """The folder where an unfinished training keeps its checkpoints until it ends."""

    folder: Path
    fingerprint: str
    run_id: str | None = None  # of the W&B run, where there is one to go on with

    @property
    def checkpoint(self) -> str | None:
        """The newest checkpoint, or None before the first epoch has ended."""
        last = self.folder / "last.ckpt"
        return str(last) if last.exists() else None

    def begin(self, run_id: str) -> None:
        """Note which run and which inputs the checkpoints to come belong to."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {"fingerprint": self.fingerprint, "run_id": run_id}
        (self.folder / "state.json").write_text(json.dumps(state), encoding="utf-8")

    def end(self) -> None:
        """Remove the folder: a finished training has nothing to go on with."""
        shutil.rmtree(self.folder)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Replaces a checkpoint by a complete one: a kill while it is written leaves the old one.

    Lightning writes it elsewhere and moves it, which between two file systems is a copy.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        temporary = Path(f"{path}.tmp")
        super().save_checkpoint(checkpoint, temporary, storage_options)
        temporary.replace(path)


def find(run_dir: Path, config: DictConfig) -> Training:
    """Return the unfinished training of `run_dir`, or a new one.

    One of another config, code or data is removed: going on would mix the two.
    """
    folder = run_dir / "unfinished"
    fingerprint = _fingerprint(config)
    state_file = folder / "state.json"
    if state_file.exists():
        state = json.loads(state_file.read_text(encoding="utf-8"))
        if state["fingerprint"] == fingerprint:
            return Training(folder, fingerprint, state["run_id"])
        print("an interrupted run had another config, code or data: starting anew")
        shutil.rmtree(folder)
    return Training(folder, fingerprint)


def _fingerprint(config: DictConfig) -> str:
    """Return a hash of all that decides how a training goes: config, code, data."""
    keys = [str(key) for key in config if key not in ("tracking", "export", "serving")]
    parts = [OmegaConf.to_yaml(OmegaConf.masked_copy(config, keys), resolve=True)]
    code = sorted(Path(__file__).parent.rglob("*.py"))
    parts += [path.read_text(encoding="utf-8") for path in code]
    parts += [f"{path} {md5}" for path, md5 in sorted(provenance.data_hashes().items())]
    return provenance.sha256("\n".join(parts).encode())
