"""What is in an exported ONNX file: its metadata, and a hash of its weights."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto, TensorProto


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of a file: `signature`, `provenance`, `config` and `samples`, decoded.

    Weights that are stored in a file beside it are not read.
    """
    import onnx

    proto = onnx.load(path, load_external_data=False)
    return {entry.key: json.loads(entry.value) for entry in proto.metadata_props}


def read_provenance(path: Path) -> dict[str, Any]:
    """Return where a model comes from; empty if the file does not say it."""
    return read_metadata(path).get("provenance", {})


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
