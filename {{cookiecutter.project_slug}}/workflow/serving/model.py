"""An exported model, ready to answer."""

import hashlib
import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from ..errors import CommandError
from ..formats import LaterFormatError
from ..signature import Inputs, current
from . import store
from .settings import Provider

METADATA = ("signature", "provenance", "samples")  # what is read of a file
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
# Else each size of a batch is tried with every algorithm of a convolution when it first comes.
CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC"}


@dataclass(frozen=True)
class Model:
    """A model in memory.

    `version` is the start of the file's SHA-256: two files of the same name differ in it.
    """

    name: str
    version: str
    signature: dict[str, Any]  # inputs and outputs, as workflow/signature.py has them
    provenance: dict[str, Any]
    samples: list[dict[str, Any]]  # of the test split, as a person gives them
    session: onnxruntime.InferenceSession

    @property
    def run(self) -> str | None:
        """The id of the run that made the model; None where its provenance names none."""
        match self.provenance:
            case {"run": {"id": str(name)}} if re.fullmatch(r"[\w-]+", name, re.ASCII):
                return name
        return None

    def metadata(self) -> dict[str, Any]:
        """Return the model's metadata as the Open Inference Protocol has it, and its provenance."""
        return {
            "name": self.name,
            "versions": [self.version],
            "platform": "onnx_onnxruntime",
            "inputs": [_declared(spec) for spec in self.signature["inputs"]],
            "outputs": [_declared(spec) for spec in self.signature["outputs"]],
            "parameters": {
                "signature": self.signature,
                "provenance": self.provenance,
                "samples": self.samples,
            },
        }

    @property
    def output(self) -> dict[str, Any]:
        """Its output, as the signature has it."""
        return self.signature["outputs"][0]

    def predict(self, inputs: Inputs) -> np.ndarray:
        """Return the output: probabilities (n, classes), values (n,), or what it declares.

        Args:
            inputs: arrays (n, …) by name, of the signature's datatypes.
        """
        return self.session.run([self.output["name"]], inputs)[0]


def _declared(spec: dict[str, Any]) -> dict[str, Any]:
    """Return what the protocol has of an input or output."""
    return {key: spec[key] for key in ("name", "datatype", "shape")}


def version_of(sha256: str) -> str:
    """Return the version of the model whose file has this SHA-256."""
    return sha256[:12]


def load(
    name: str,
    path: Path,
    threads: int = 1,
    sha256: str | None = None,
    source: str | None = None,
    provider: Provider = "cpu",
) -> Model:
    """Read a model.

    Args:
        source: what errors call it, where that is not the path.

    Raises:
        CommandError: there is no such file, it is not the one of this SHA-256, onnxruntime cannot
            run it, it does not say what it takes and gives, or a later version exported it; or
            there is no GPU for `provider`.
    """
    providers = providers_of(provider)
    source = source or str(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CommandError(f"{source}: {error.strerror}: train one, or set MODEL_FILE") from None
    digest = hashlib.sha256(content).hexdigest()
    if sha256 and sha256.lower() != digest:
        raise CommandError(f"{source}: its SHA-256 is {digest}, not {sha256} as MODEL_SHA256 says")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(content, options, providers=providers)
        texts = session.get_modelmeta().custom_metadata_map
        known = {name: json.loads(texts[name]) for name in METADATA if name in texts}
        metadata = current(known, source)
        signature, provenance = metadata["signature"], metadata["provenance"]
        samples = metadata.get("samples", [])
        (signature["inputs"], signature["outputs"][0])
    except LaterFormatError:
        raise
    except KeyError as error:
        problem = f"its metadata has no {error}: it was not exported here"
        raise CommandError(f"{source}: {problem}") from None
    except Exception as error:
        # onnxruntime raises errors of its own for each thing that can be wrong with a file.
        # The reason stands at the end, behind the place in onnxruntime's source.
        raise CommandError(f"{source}: {' '.join(str(error).split())[-300:]}") from None
    if provider == "cuda" and CUDA not in session.get_providers():  # it falls back to the CPU
        problem = "no GPU that onnxruntime can use: docker run --gpus all, or SERVING_PROVIDER=cpu"
        raise CommandError(f"serving.provider: cuda: {problem}")
    return Model(name, version_of(digest), signature, provenance, samples, session)


def providers_of(provider: Provider) -> list[Any]:
    """Return what onnxruntime may compute with, the first that can.

    Raises:
        CommandError: its build has no CUDA.
    """
    if provider == "cpu":
        return [CPU]
    if CUDA not in onnxruntime.get_available_providers():
        problem = "this build of onnxruntime has no CUDA: take the image serve-gpu, or provider cpu"
        raise CommandError(f"serving.provider: cuda: {problem}")
    onnxruntime.set_default_logger_severity(4)  # of what it lacks, in many lines
    onnxruntime.preload_dlls()  # CUDA and cuDNN, which are packages of the environment
    return [(CUDA, CUDA_OPTIONS), CPU]


def from_environment(threads: int = 1, provider: Provider = "cpu") -> Model:
    """Read the model of the variables MODEL_NAME, MODEL_FILE and MODEL_SHA256.

    MODEL_FILE is a path, or a URL as `store` reads it, which needs MODEL_SHA256. The processes of
    a service each call this: what the first has fetched stays in the temporary folder.

    Raises:
        CommandError: as `load`, or it cannot be fetched.
    """
    name = os.environ.get("MODEL_NAME", "model")
    file = os.environ.get("MODEL_FILE", "models/model.onnx")
    sha256 = os.environ.get("MODEL_SHA256")
    if not store.is_url(file):
        return load(name, Path(file), threads, sha256, provider=provider)
    source = store.shown(file)
    if not sha256:
        raise CommandError(f"{source}: a model from a URL needs its SHA-256: set MODEL_SHA256")
    path = store.fetch(file, sha256, Path(tempfile.gettempdir()))
    return load(name, path, threads, sha256, source, provider)
