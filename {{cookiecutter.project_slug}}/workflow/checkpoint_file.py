"""What a checkpoint says of itself, read without the framework that wrote it.

It is a zip. PyTorch's is a pickle of everything but the numbers of tensors, which are members of
their own (pytorch.org/docs/stable/notes/serialization.html); those of the others, whose parts the
workflow writes itself, have a member PROVENANCE.
"""

import collections
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

PROVENANCE = "provenance.json"


def read_provenance(path: Path) -> dict[str, Any]:
    """Return the provenance in a checkpoint of a finished training; {} where it has none.

    Raises:
        OSError, BadZipFile, UnpicklingError: there is no file, or it is no such checkpoint.
    """
    with zipfile.ZipFile(path) as archive:
        if PROVENANCE in archive.namelist():
            written: dict[str, Any] = json.loads(archive.read(PROVENANCE))
            return written
        name = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
        if name is None:
            raise pickle.UnpicklingError(f"{path} is no checkpoint")
        with archive.open(name) as file:
            checkpoint = _Unpickler(file).load()
    found: dict[str, Any] = checkpoint.get("provenance", {})
    return found


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
