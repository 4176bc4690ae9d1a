"""A Keras model as ONNX, by the exporter of its backend.

Not by `Model.export`, whose files answer wrongly for some models on each backend.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import onnx

from ..errors import CommandError, one_line
from ..signature import DATATYPES

Spec = Mapping[str, Any]


def convert(model: Any, signature: Mapping[str, list[Spec]], name: str) -> onnx.ModelProto:
    """Return a model of inputs by name as ONNX, for batches of any size.

    Args:
        model: a functional model whose inputs are those of the signature, by name.
        signature: of the model; its output is what the graph's is called.
        name: of the network, as messages say it.

    Raises:
        CommandError: the exporter lacks a part of the network.
    """
    exporters: dict[str, Callable[..., onnx.ModelProto]] = {
        "jax": _by_jax,
        "tensorflow": _by_tensorflow,
        "torch": _by_torch,
    }
    (output,) = signature["outputs"]
    try:
        proto = exporters[keras.backend.backend()](model, signature["inputs"], output["name"])
        onnx.checker.check_model(proto)  # tf2onnx keeps what ONNX has no form of
    except Exception as error:  # each exporter has its own
        raise CommandError(f"{name} cannot be written as ONNX: {one_line(error)}") from error
    _name_output(proto.graph, output["name"])
    _name_batch(proto.graph)
    _name_constants(proto.graph)
    return proto


def _by_jax(model: Any, inputs: list[Spec], output: str) -> onnx.ModelProto:
    import jax
    from jax2onnx import to_onnx

    names = [spec["name"] for spec in inputs]

    def answer(*tensors: Any) -> Any:
        return model(dict(zip(names, tensors, strict=True)), training=False)

    proto = to_onnx(
        answer,
        inputs=[
            jax.ShapeDtypeStruct(("B", *spec["shape"][1:]), DATATYPES[spec["datatype"]])
            for spec in inputs
        ],
        input_names=names,
        output_names=[output],
    )
    _pool_pixels(proto.graph)
    return proto


def _by_tensorflow(model: Any, inputs: list[Spec], output: str) -> onnx.ModelProto:
    import tensorflow as tf
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    declared = [
        tf.TensorSpec((None, *spec["shape"][1:]), DATATYPES[spec["datatype"]], name=spec["name"])
        for spec in inputs
    ]
    proto, _ = tf2onnx.convert.from_keras(model, [{spec.name: spec for spec in declared}])
    return proto


def _by_torch(model: Any, inputs: list[Spec], output: str) -> onnx.ModelProto:
    import numpy as np
    import torch

    class Answer(torch.nn.Module):
        def forward(self, inputs: dict[str, Any]) -> Any:
            return model(inputs, training=False)

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    names = [spec["name"] for spec in inputs]
    batch = torch.export.Dim.DYNAMIC
    samples = {
        spec["name"]: torch.from_numpy(
            np.zeros((2, *spec["shape"][1:]), DATATYPES[spec["datatype"]])
        )
        for spec in inputs
    }
    with torch.no_grad():
        program = torch.onnx.export(
            Answer().eval(),
            kwargs={"inputs": samples},
            input_names=names,
            output_names=[output],
            dynamic_shapes={"inputs": {name: {0: batch} for name in names}},
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def _pool_pixels(graph: onnx.GraphProto) -> None:
    """Make each maximum over a window one over pixels alone, which onnxruntime computes.

    jax2onnx writes it with batch and channels as two more sides of the window, each of size 1, on
    a tensor with two axes before them: Unsqueeze, Unsqueeze, MaxPool, Squeeze.
    """
    made_by = {name: node for node in graph.node for name in node.output}
    taken_by = {name: node for node in graph.node for name in node.input}
    for pool in [node for node in graph.node if node.op_type == "MaxPool"]:
        sides = {attribute.name: [*attribute.ints] for attribute in pool.attribute}
        dims = len(sides["kernel_shape"])
        if dims < 3 or sides["kernel_shape"][0] != 1 or sides["kernel_shape"][-1] != 1:
            continue
        before = made_by[made_by[pool.input[0]].input[0]]
        after = taken_by[pool.output[0]]
        first, last = f"{pool.name} channels first", f"{pool.name} pooled"
        pixels = slice(1, -1)
        pads = sides.get("pads", [0] * 2 * dims)
        options: dict[str, Any] = {
            "kernel_shape": sides["kernel_shape"][pixels],
            "strides": sides["strides"][pixels],
            "pads": [*pads[:dims][pixels], *pads[dims:][pixels]],
        }
        axes = range(1, dims - 1)
        nodes = [
            onnx.helper.make_node(
                "Transpose", before.input[:1], [first], perm=[0, dims - 1, *axes]
            ),
            onnx.helper.make_node("MaxPool", [first], [last], **options),
            onnx.helper.make_node(
                "Transpose", [last], after.output[:1], perm=[0, *range(2, dims), 1]
            ),
        ]
        place = [*graph.node].index(before)
        for node in (before, made_by[pool.input[0]], pool, after):
            graph.node.remove(node)
        for node in reversed(nodes):
            graph.node.insert(place, node)
    used = {name for node in graph.node for name in node.input}
    for constant in [constant for constant in graph.initializer if constant.name not in used]:
        graph.initializer.remove(constant)


def _name_output(graph: onnx.GraphProto, name: str) -> None:
    """Call the one output by a name: TensorFlow's is called after a layer."""
    (output,) = graph.output
    if output.name == name:
        return
    graph.node.append(onnx.helper.make_node("Identity", [output.name], [name]))
    output.name = name


def _name_batch(graph: onnx.GraphProto) -> None:
    """Call the size of the batch `batch`, whatever an exporter calls it."""
    for value in [*graph.input, *graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


def _name_constants(graph: onnx.GraphProto) -> None:
    """Number the constants in the order of their use: tf2onnx does in another one each time."""
    constants = {constant.name: constant for constant in graph.initializer}
    names: dict[str, str] = {}
    for name in _uses(graph):
        if name in constants:
            names.setdefault(name, f"constant_{len(names)}")
    for old, new in names.items():
        constants[old].name = new
    _rename(graph, names)


def _uses(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield from node.input
        for inner in _graphs(node):
            yield from _uses(inner)


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        for inner in _graphs(node):
            _rename(inner, names)


def _graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs in a node, such as the body of a loop."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
