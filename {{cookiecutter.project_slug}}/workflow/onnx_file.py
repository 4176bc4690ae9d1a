"""An exported ONNX file: its metadata, its predictions, and a hash of its weights."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .shards import Rows
from .signature import current

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto, TensorProto


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of a file: `signature`, `provenance`, `config` and `samples`, decoded.

    Weights that are stored in a file beside it are not read.

    Raises:
        LaterFormatError: a later version of the workflow exported it.
    """
    import onnx

    proto = onnx.load(path, load_external_data=False)
    metadata = {entry.key: json.loads(entry.value) for entry in proto.metadata_props}
    return current(metadata, path.as_posix())


def read_provenance(path: Path) -> dict[str, Any]:
    """Return where a model comes from; empty if the file does not say it."""
    return read_metadata(path).get("provenance", {})


def predict(path: Path, inputs: Mapping[str, Rows], batch_size: int = 1024) -> np.ndarray:
    """Return the first output of an exported model, (n, …).

    Args:
        inputs: arrays (n, …) by name, as `prepare` wrote them.
    """
    return predictor(path, batch_size)(inputs)


def predictor(
    model: Path | bytes, batch_size: int = 1024
) -> Callable[[Mapping[str, Rows]], np.ndarray]:
    """Load an exported model, or its content, once; return what `predict` does of it."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])

    def answer(inputs: Mapping[str, Rows]) -> np.ndarray:
        samples = len(next(iter(inputs.values())))
        outputs = []
        for start in range(0, samples, batch_size):
            part = slice(start, start + batch_size)
            batch = {name: np.asarray(array[part]) for name, array in inputs.items()}
            outputs.append(session.run(None, batch)[0])
        return np.concatenate(outputs)

    return answer


def weights_sha256(path: Path) -> str:
    """Return a hash of what a model computes: its initializers and the attributes of its nodes.

    A tree ensemble has no initializers: its weights are attributes. Left out are metadata and the
    names of graph and nodes, which differ between two exports of the same model.
    """
    import onnx

    digest = hashlib.sha256()
    for line in _graph(onnx.load(path).graph):
        digest.update(line)
    return digest.hexdigest()


def _graph(graph: "GraphProto") -> Iterator[bytes]:
    for tensor in sorted(graph.initializer, key=lambda tensor: tensor.name):
        yield from _tensor(tensor)
    for node in graph.node:
        yield from _node(node)


def _tensor(tensor: "TensorProto") -> Iterator[bytes]:
    import onnx

    values = onnx.numpy_helper.to_array(tensor)
    yield f"{tensor.name} {values.dtype} {values.shape} ".encode()
    yield repr(values.tolist()).encode() if values.dtype == object else values.tobytes()


def _node(node: "NodeProto") -> Iterator[bytes]:
    import onnx

    yield f"{node.domain}:{node.op_type} ".encode()
    for attribute in sorted(node.attribute, key=lambda attribute: attribute.name):
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.name.encode()
            yield from _graph(attribute.g)
        else:
            yield attribute.SerializeToString(deterministic=True)
