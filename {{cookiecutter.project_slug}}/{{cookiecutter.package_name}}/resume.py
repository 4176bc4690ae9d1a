"""Going on with a training that was interrupted, or from a checkpoint of a past run."""

import json
import re
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
        return str(self.newest) if self.newest.exists() else None

    @property
    def newest(self) -> Path:
        """Where the newest checkpoint is written."""
        return self.folder / "last.ckpt"

    def begin(self, run_id: str) -> None:
        """Note which run and which inputs the checkpoints to come belong to."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {"fingerprint": self.fingerprint, "run_id": run_id}
        (self.folder / "state.json").write_text(json.dumps(state), encoding="utf-8")

    def put(self, checkpoint: dict[str, Any], settings: dict[str, Any]) -> None:
        """Lay down a checkpoint of a past run, to be gone on from with the config `settings`.

        It is the newest, and, until an epoch is better, the best.
        """
        checkpoint = {**checkpoint, "hyper_parameters": {"config": settings}}
        patience = [
            node["patience"]
            for node in settings["callbacks"].values()
            if node and node["_target_"].endswith(".EarlyStopping") and "patience" in node
        ]
        for name, state in checkpoint["callbacks"].items():
            if name.startswith("ModelCheckpoint"):
                _relocate(state, self.folder.resolve())
            elif name.startswith("EarlyStopping") and patience:
                state["patience"] = patience[0]  # Lightning would keep that of the checkpoint
        for path in (self.folder / "best.ckpt", self.newest):
            AtomicCheckpointIO().save_checkpoint(checkpoint, path)

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


def find(
    run_dir: Path, config: DictConfig, start: str | None = None, anew: bool = False
) -> Training:
    """Return the unfinished training of `run_dir`, or a new one.

    One of another config, code, data or start is removed: going on would mix the two.

    Args:
        start: fingerprint of the checkpoint that the training begins with.
        anew: remove an unfinished one in any case.
    """
    folder = run_dir / "unfinished"
    fingerprint = _fingerprint(config, start)
    state_file = folder / "state.json"
    if state_file.exists():
        state = json.loads(state_file.read_text(encoding="utf-8"))
        same = state["fingerprint"] == fingerprint
        if same and not anew:
            return Training(folder, fingerprint, state["run_id"])
        why = "is not wanted" if same else "had another config, code, data or start"
        print(f"the interrupted run {state['run_id']} {why}: starting anew")
        shutil.rmtree(folder)
    return Training(folder, fingerprint)


def _fingerprint(config: DictConfig, start: str | None) -> str:
    """Return a hash of all that decides how a training goes: config, code, data, start."""
    # Of `train`, what it names counts, not the name.
    others = ("train", "tracking", "export", "serving")
    keys = [str(key) for key in config if key not in others]
    parts = [OmegaConf.to_yaml(OmegaConf.masked_copy(config, keys), resolve=True)]
    code = sorted(Path(__file__).parent.rglob("*.py"))
    parts += [path.read_text(encoding="utf-8") for path in code]
    parts += [f"{path} {md5}" for path, md5 in sorted(provenance.data_hashes().items())]
    parts += [start] if start else []
    return provenance.sha256("\n".join(parts).encode())


def _relocate(state: dict[str, Any], folder: Path) -> None:
    """Make the state of a ModelCheckpoint name the files in `folder`."""

    def here(path: str) -> str:
        return str(folder / re.split(r"[\\/]", path)[-1]) if path else path

    state["dirpath"] = str(folder)
    for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
        state[key] = here(state[key])
    state["best_k_models"] = {here(path): score for path, score in state["best_k_models"].items()}
