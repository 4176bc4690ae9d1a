"""Models of each kind of input and output, from a request to its answer, its log and its drift."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from workflow.monitoring import features
from workflow.serving import input_log, model, openapi, protocol
from workflow.serving.metrics import ServiceMetrics
from workflow.serving.protocol import RequestError
from workflow.signature import DATATYPES, Spec, inputs, output

DATA = {
    "images": {"kind": "image", "rows": 4, "columns": 5, "channels": 3, "max_value": 255},
    "table": {
        "kind": "features",
        "columns": [
            {"name": "age", "unit": "years", "range": [0, 120]},
            {"name": "predicted value"},
            {"name": "colour", "choices": ["red", "green"]},
        ],
    },
    "comment": {"kind": "text", "length": 8},
}
CLASSES = {"kind": "classes", "names": ["no", "yes", "maybe"]}
VALUE = {"kind": "value", "name": "price", "unit": "EUR"}
PLAIN_OUTPUT = {"name": "out", "datatype": "FP32", "shape": [-1, 2]}
PLAIN = {"name": "signal", "datatype": "FP32", "shape": [-1, 6]}
GIVEN = {
    "images": np.arange(60).reshape(4, 5, 3).tolist(),
    "table": {"age": 30.0, "predicted value": -12.5, "colour": "green"},
    "comment": "grüße",
    "signal": [1.0, -2.0, 0.5, 0.0, 3.0, 4.0],
}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., model.Model]:
    """Writes a model whose answer depends on the mean of all inputs, and loads it."""

    def make(names: list[str], answer: dict[str, Any] | None, samples: bool = True) -> model.Model:
        known = {spec["name"]: spec for spec in inputs({"inputs": DATA})} | {"signal": PLAIN}
        specs = [known[name] for name in names]
        targets = np.linspace(1, 10, 50, dtype=np.float32)
        given = output(answer, targets) if answer else PLAIN_OUTPUT
        file = tmp_path / "model.onnx"
        onnx.save(network(specs, given), file)
        proto = onnx.load(file)
        sample = {"inputs": {name: GIVEN[name] for name in names}, "actual": "yes"}
        metadata = {
            "signature": {"inputs": specs, "outputs": [given]},
            "provenance": {"run": {"id": "abc"}},
            "samples": [sample] if samples else [],
        }
        helper.set_model_props(proto, {k: json.dumps(v) for k, v in metadata.items()})
        onnx.save(proto, file)
        return model.load("any", file)

    return make


def network(specs: list[Spec], given: Spec) -> onnx.ModelProto:
    nodes, means, constants = [], [], []
    for spec in specs:
        name, axes = spec["name"], list(range(1, len(spec["shape"])))
        averaged = [f"{name}_f", f"{name}_axes"]
        nodes.append(helper.make_node("Cast", [name], [f"{name}_f"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("ReduceMean", averaged, [f"{name}_m"], keepdims=0))
        means.append(f"{name}_m")
        constants.append(helper.make_tensor(f"{name}_axes", TensorProto.INT64, [len(axes)], axes))
    nodes.append(helper.make_node("Sum", means, ["sum"]))
    if len(given["shape"]) == 1:
        nodes.append(helper.make_node("Identity", ["sum"], [given["name"]]))
    else:
        size = given["shape"][1]
        nodes.append(helper.make_node("Unsqueeze", ["sum", "last"], ["column"]))
        nodes.append(helper.make_node("Mul", ["column", "weights"], ["logits"]))
        nodes.append(helper.make_node("Softmax", ["logits"], [given["name"]], axis=1))
        constants.append(helper.make_tensor("last", TensorProto.INT64, [1], [1]))
        weights = np.linspace(-1, 1, size).tolist()
        constants.append(helper.make_tensor("weights", TensorProto.FLOAT, [size], weights))

    def info(spec: Spec) -> onnx.ValueInfoProto:
        kind = helper.np_dtype_to_tensor_dtype(DATATYPES[spec["datatype"]])
        return helper.make_tensor_value_info(spec["name"], kind, ["n", *spec["shape"][1:]])

    graph = helper.make_graph(nodes, "any", [info(s) for s in specs], [info(given)], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


KINDS = [
    (["images"], CLASSES),
    (["table"], VALUE),
    (["comment"], CLASSES),
    (["table", "comment"], CLASSES),
    (["signal"], None),
    (["images", "table", "comment", "signal"], VALUE),
]


@pytest.mark.parametrize(("names", "answer"), KINDS, ids=str)
def test_the_example_of_the_documentation_is_answered_logged_and_compared(
    make: Callable[..., model.Model], names: list[str], answer: dict[str, Any] | None
) -> None:
    loaded = make(names, answer)
    for found in (loaded, make(names, answer, samples=False)):
        body = json.dumps(openapi.example(found.metadata()["parameters"])).encode()
        request, decoded = protocol.decode(body, found.signature)
        assert list(decoded) == names
    request, decoded = protocol.decode(
        json.dumps(openapi.example(loaded.metadata()["parameters"])).encode(), loaded.signature
    )
    answers = loaded.predict(decoded)
    content, _ = protocol.encode(request, answers, "any", "1", loaded.signature)
    (answered,) = json.loads(content)["outputs"]
    assert answered["shape"] == [1, *loaded.output["shape"][1:]]
    ServiceMetrics(loaded).note_batch(1, answers)

    entry = input_log.Entry(0, None, decoded, answers)
    table = input_log.table([entry, entry], loaded)
    logged = features.current(loaded, table)
    prepared = features.together(
        features.of_samples(loaded, decoded), features.answered(loaded.output, answers)
    )
    assert logged.keys() == prepared.keys()
    assert all(logged[name] == pytest.approx(2 * prepared[name]) for name in prepared)
    if names == ["table"]:
        assert logged["predicted value (input)"] == [-12.5, -12.5]
        assert logged["colour"] == ["green", "green"]
    if names == ["comment"]:
        assert logged["characters"] == [5.0, 5.0]


def test_several_inputs_come_in_any_order_and_in_binary(make: Callable[..., model.Model]) -> None:
    loaded = make(["table", "comment"], CLASSES)
    table = np.array([[30, -1e6, 1], [0, 0.5, 0]], "<f4")
    texts = {"name": "comment", "datatype": "BYTES", "shape": [2, 1], "data": ["hello", "a b"]}
    sizes = {"parameters": {"binary_data_size": table.nbytes}}
    head = {"inputs": [texts, {"name": "table", "datatype": "FP32", "shape": [2, 3], **sizes}]}
    _, decoded = protocol.decode(json.dumps(head).encode() + table.tobytes(), loaded.signature)
    np.testing.assert_array_equal(decoded["table"], table)
    assert decoded["comment"][0].tobytes() == b"hello\0\0\0"
    as_bytes = {**texts, "datatype": "UINT8", "shape": [2, 8], "data": decoded["comment"].tolist()}
    plain = {"name": "table", "datatype": "FP32", "shape": [2, 3], "data": table.ravel().tolist()}
    again = protocol.decode(json.dumps({"inputs": [plain, as_bytes]}).encode(), loaded.signature)[1]
    np.testing.assert_array_equal(again["comment"], decoded["comment"])


def tensor(**changes: Any) -> dict[str, Any]:
    whole = {"name": "table", "datatype": "FP32", "shape": [1, 3], "data": [30, -1, 1]}
    return whole | changes


TEXT = {"name": "comment", "datatype": "BYTES", "shape": [1], "data": ["x"]}
WRONG = [
    ([tensor()], "the input `comment` is needed once, not 0 times"),
    ([tensor(data=[121, 0, 1]), TEXT], r"age of sample 0 \(121.0\) is outside its range, 0 to 120"),
    ([tensor(data=[1, 0, 2]), TEXT], r"colour of sample 0 \(2.0\) is not an index of its choices"),
    ([tensor(data=[1, 1e60, 1]), TEXT], r"value of sample 0 \(inf\) is not a finite number"),
    ([tensor(), {**TEXT, "shape": [2]}], "`comment` needs its `data`, a list of 2 texts"),
    ([tensor(), {**TEXT, "data": [7]}], "comment of sample 0 is int, not text"),
    ([tensor(), {**TEXT, "shape": [2], "data": ["a", "b"]}], "differ in their number of samples"),
    ([tensor(datatype="BYTES"), TEXT], "`table` is FP32, not BYTES"),
]


@pytest.mark.parametrize(("given", "reason"), WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_value_is_named(
    make: Callable[..., model.Model], given: list[dict[str, Any]], reason: str
) -> None:
    loaded = make(["table", "comment"], CLASSES)
    with pytest.raises(RequestError, match=reason):
        protocol.decode(json.dumps({"inputs": given}).encode(), loaded.signature)


def test_values_are_counted_between_what_the_model_was_trained_on(
    make: Callable[..., model.Model],
) -> None:
    metrics = ServiceMetrics(make(["table"], VALUE))
    metrics.note_batch(2, np.array([-5.0, 5.5], np.float32))
    value = metrics.registry.get_sample_value
    assert value("inference_values_count", {"model": "any"}) == 2
    assert value("inference_values_sum", {"model": "any"}) == 0.5
    first, *_ = make(["table"], VALUE).output["quantiles"]
    assert value("inference_values_bucket", {"model": "any", "le": str(first)}) == 1
