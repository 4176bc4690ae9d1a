"""`trainer.compile`: a network compiled by torch.compile, its weights and their names unchanged."""

import os
import shutil
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..config.values import ConfigError

KEY = "trainer.compile"
GRAPHS = "reduce-overhead"  # the value for CUDA graphs, as torch.compile names this mode


def require_compiler(trainer: dict[str, Any]) -> None:
    """Check that what `trainer.compile` needs is installed, before a training starts.

    Raises:
        ConfigError: there is no compiler, or a part that it needs.
    """
    if not trainer["compile"]:
        return
    on_cuda = trainer["accelerator"] in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    if on_cuda and find_spec("triton") is None:
        raise _lacking("Triton, which compiles for a GPU")
    variable, names = ("CC", ("gcc", "clang", "cc")) if on_cuda else ("CXX", (_cxx(),))
    names = (os.environ[variable],) if os.environ.get(variable) else names
    if not any(map(shutil.which, names)):
        language = "C" if on_cuda else "C++"
        raise _lacking(f"a {language} compiler ({' or '.join(names)}; {variable} names another)")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        raise _lacking("the headers of Python (Python.h, on Debian in python3-dev)")


def compile_network(network: nn.Module, trainer: dict[str, Any]) -> None:
    """Compile a network in place, so that two trainings of the same config round alike.

    With CUDA graphs, a GPU is given the whole network at once, and not kernel by kernel. A smaller
    last batch has a graph of its own, as has each size of a batch of validation: graphs share their
    memory, and on a CPU there are none.

    Args:
        trainer: the config's.
    """
    torch.compiler.reset()  # what this process has compiled before must not matter
    options = {
        "deterministic": bool(trainer["deterministic"]),
        "triton.cudagraphs": trainer["compile"] == GRAPHS,
    }
    # For each size of a batch by itself. By default the second size is compiled for all sizes, and
    # a resumed training, which compiles again, could round otherwise than the interrupted one.
    network.compile(dynamic=False, options=options)


def _cxx() -> str:
    """Return what torch.compile calls on this platform."""
    return {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")


def _lacking(part: str) -> ConfigError:
    return ConfigError(KEY, f"needs {part}, which was not found here; or: {KEY}=false")
