"""What is deployed on this machine, as .deploy/state.json keeps it."""

from pathlib import Path

import msgspec

from ..paths import DEPLOYMENT
from ..serving.model import version_of

FILE = DEPLOYMENT / "state.json"
PENDING = DEPLOYMENT / "begun.json"  # while a change is made: what is going to be deployed


class Release(msgspec.Struct, frozen=True):
    """A model's file and the image that serves it: what the containers of a release are made of."""

    source: str  # as it was asked for: models/model.onnx@v1.0
    commit: str | None  # of Git, which the source meant
    sha256: str  # of the model's file
    image: str  # the id of the image
    run: str | None = None  # that made the model, where it says so

    @property
    def version(self) -> str:
        """The model's version, as its answers name it."""
        return version_of(self.sha256)


class Model(msgspec.Struct, frozen=True):
    """The releases of a model."""

    stable: Release
    canary: Release | None = None
    # Percent of the requests that the canary gets; the file calls it `share`.
    weight: int = msgspec.field(name="share", default=0)
    earlier: tuple[Release, ...] = ()  # the newest last

    def releases(self) -> dict[Release, int]:
        """Return those that answer requests, each with its percentage of them."""
        if self.canary is None:
            return {self.stable: 100}
        return {self.stable: 100 - self.weight, self.canary: self.weight}


class Deployment(msgspec.Struct, frozen=True):
    """Models behind one address of this machine."""

    address: str = "127.0.0.1"
    port: int = 8000
    scale: int = 1  # replicas of each release
    processors: int = 1  # of the machine
    user: str = ""  # as whom the models' services write their log
    web: str = ""  # the id of the web application's image
    models: dict[str, Model] = {}


def load() -> Deployment | None:
    """Return what is deployed; None if nothing ever was."""
    try:
        return msgspec.json.decode(FILE.read_bytes(), type=Deployment)
    except FileNotFoundError:
        return None


def start_change(deployment: Deployment) -> None:
    """Write down what is going to be deployed, before anything changes."""
    write(PENDING, msgspec.json.format(msgspec.json.encode(deployment)).decode() + "\n")


def finish_change() -> None:
    """Write down that it is deployed."""
    PENDING.replace(FILE)


def is_interrupted() -> bool:
    """Whether a change was started, and neither finished nor rolled back."""
    return PENDING.exists()


def write(file: Path, text: str) -> None:
    """Write a file as a whole or not at all; others may read it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.parent.chmod(0o755)  # containers read it as other users
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8", newline="\n")
    unfinished.chmod(0o644)
    unfinished.replace(file)
