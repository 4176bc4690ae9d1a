"""The file of a checkpoint: what it says of itself, read without the framework that wrote it.

It is a zip. PyTorch's is a pickle of everything but the numbers of tensors, which are members of
their own (pytorch.org/docs/stable/notes/serialization.html); those of the others, whose parts the
workflow writes itself, have members PROVENANCE and CONFIG.
"""

import collections
import io
import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import files, formats

PROVENANCE = "provenance.json"
CONFIG = "config.json"  # the composed config; its `framework` says which one wrote the file
STAMP = "workflow"  # the key, or member STAMP.json: the format, and the version that wrote it
FORMAT = 2  # format 1 is the same, and has no number
EPOCH = (1980, 1, 1, 0, 0, 0)  # of each member, so that equal parts are equal files


def write(path: Path, members: Mapping[str, bytes]) -> None:
    """Write a checkpoint of these parts, PROVENANCE and CONFIG among them.

    Arrays (.npy) are not compressed: it takes seconds, and weights stay as large as they are.
    """
    stamped = json.dumps(formats.stamp(FORMAT)).encode()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, part in {f"{STAMP}.json": stamped, **members}.items():
            way = zipfile.ZIP_STORED if name.endswith(".npy") else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(name, EPOCH), part, way)
    files.replace(path, content.getvalue())


def read_framework(path: Path) -> str | None:
    """Return the framework that wrote a checkpoint; None where the file is no checkpoint."""
    try:
        with zipfile.ZipFile(path) as archive:
            if _pickled(archive):
                return "pytorch"
            config = json.loads(archive.read(CONFIG))
    except (OSError, zipfile.BadZipFile, KeyError, ValueError):
        return None
    framework: str | None = config.get("framework")
    return framework


def read_provenance(path: Path, name: str = "") -> dict[str, Any]:
    """Return the provenance in a checkpoint of a finished training; {} where it has none.

    Args:
        name: that the checkpoint has in errors; default: the path.

    Raises:
        OSError, BadZipFile, UnpicklingError: there is no file, or it is no such checkpoint.
        LaterFormatError: a later version of the workflow wrote it.
    """
    with zipfile.ZipFile(path) as archive:
        if PROVENANCE in archive.namelist():
            stamped = f"{STAMP}.json" in archive.namelist()
            content = {
                STAMP: json.loads(archive.read(f"{STAMP}.json")) if stamped else {},
                "provenance": json.loads(archive.read(PROVENANCE)),
            }
        elif member := _pickled(archive):
            with archive.open(member) as file:
                content = _Unpickler(file).load()
        else:
            raise pickle.UnpicklingError(f"{path} is no checkpoint")
    formats.require(content.get(STAMP, {}), FORMAT, name or path.as_posix())
    provenance: dict[str, Any] = content.get("provenance", {})
    return provenance


def _pickled(archive: zipfile.ZipFile) -> str | None:
    """Return the member that PyTorch pickles everything but numbers into."""
    return next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)


class _Ignored:
    """Stands for what only PyTorch can make, such as a tensor."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "_Ignored":
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _Unpickler(pickle.Unpickler):
    """Makes plain values only: a pickle can name any function, and have it called."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module.partition(".")[0] == "torch":
            return _Ignored
        raise pickle.UnpicklingError(f"{module}.{name} is not read")

    def persistent_load(self, pid: Any) -> None:
        """Leave out the numbers of a tensor."""
