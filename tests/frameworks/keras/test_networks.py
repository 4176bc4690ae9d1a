"""Networks of conf/model/, and others that a user may name there: exported, or refused."""

from typing import Any

import keras
import numpy as np
import onnxruntime
import pytest
from my_ml_project.model import Model
from random_data import CLASSES, INPUTS, TABLE, VALUE, samples
from workflow.config.values import ConfigError
from workflow.errors import CommandError
from workflow.signature import signature

PIXELS = {"images": {"kind": "image", "rows": 16, "columns": 16, "channels": 3, "max_value": 255}}
TEXT = {"comment": {"kind": "text", "length": 24}}


def plain(*layers: dict[str, Any]) -> dict[str, Any]:
    """Return a network of Keras's own layers, by config alone."""
    model = {"_target_": "keras.Sequential", "layers": list(layers)}
    return {"_target_": "workflow.keras.networks.PlainModel", "model": model}


def layer(name: str, *given: Any, **named: Any) -> dict[str, Any]:
    return {
        "_target_": f"keras.layers.{name}",
        **({"_args_": list(given)} if given else {}),
        **named,
    }


HEAD = layer("Dense", 3)
# Of each kind that exporters differ in.
FREE = {
    "pooling": (PIXELS, [layer("MaxPooling2D", 3, 2, padding="same"), layer("Flatten"), HEAD]),
    "normalized": (
        PIXELS,
        [
            layer("Conv2D", 4, 3, use_bias=False),
            layer("BatchNormalization"),
            layer("ReLU"),
            layer("AveragePooling2D", 2),
            layer("SeparableConv2D", 4, 3),
            layer("GlobalAveragePooling2D"),
            HEAD,
        ],
    ),
    "recurrent": (
        TEXT,
        [
            layer("Embedding", 256, 8),
            layer("LSTM", 4),
            layer("LayerNormalization"),
            HEAD,
        ],
    ),
    "convolution of text": (
        TEXT,
        [
            layer("Embedding", 256, 8),
            layer("Conv1D", 4, 3),
            layer("MaxPooling1D", 2),
            layer("GlobalMaxPooling1D"),
            HEAD,
        ],
    ),
    "activations": (TABLE, [layer("Dense", 8, "swish"), layer("Dense", 8, "elu"), HEAD]),
}


def compare(config: dict[str, Any]) -> None:
    """Export a model that has seen the data, and compare its answers in batches of some sizes."""
    inputs, target = samples(config["data"], 64)
    model = Model(config)
    model.fit_preprocessing(inputs, target)
    declared = signature(config["data"], target)
    proto = model.export_onnx(declared, {name: array[:2] for name, array in inputs.items()})
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    assert [one.name for one in session.get_outputs()] == [declared["outputs"][0]["name"]]
    usual = 1 if config["data"]["target"]["kind"] == "classes" else target.std()
    for size in (1, 2, 64):
        batch = {name: array[-size:] for name, array in inputs.items()}
        (answers,) = session.run(None, batch)
        np.testing.assert_allclose(answers, model.answer(batch), rtol=1e-4, atol=1e-4 * usual)


@pytest.mark.parametrize("target", [CLASSES, VALUE], ids=["classes", "value"])
@pytest.mark.parametrize("inputs", INPUTS.values(), ids=INPUTS)
def test_the_exported_graph_answers_as_the_model(
    inputs: dict[str, Any], target: dict[str, Any], config
) -> None:
    compare(config("model=mlp", inputs=inputs, target=target))


def test_cnn_is_exported(config) -> None:
    compare(config("model=cnn", inputs=PIXELS, target=CLASSES))


@pytest.mark.parametrize("name", FREE)
def test_layers_of_keras_are_exported(name: str, config) -> None:
    inputs, layers = FREE[name]
    compare(config(inputs=inputs, target=CLASSES, model=plain(*layers)))


def test_a_layer_that_has_no_form_in_onnx_is_one_line(config) -> None:
    model = plain(
        layer("Lambda", {"_target_": "test_networks.eigenvalues", "_partial_": True}), HEAD
    )
    with pytest.raises(CommandError, match=r"PlainModel cannot be written as ONNX: .+") as refused:
        compare(config(inputs=TABLE, target=CLASSES, model=model))
    assert "\n" not in str(refused.value)


def eigenvalues(table: Any) -> Any:
    """A layer of what no exporter has."""
    square = keras.ops.matmul(keras.ops.expand_dims(table, 2), keras.ops.expand_dims(table, 1))
    return keras.ops.eigh(square)[0]


@pytest.mark.parametrize(
    ("overrides", "model", "problem"),
    [
        (["model=cnn"], None, "CNN takes one image, data.inputs has features: model=mlp"),
        ([], plain(layer("Conv2D", 4, 3), HEAD), r"Sequential does not take table \(n, 4\): .+"),
        ([], plain(layer("Dense", 7)), r"returns \(n, 7\), and not \(n, 3\) for data.target"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(
    overrides: list[str], model: dict[str, Any] | None, problem: str, config
) -> None:
    settings = config(*overrides, inputs=TABLE, target=CLASSES, model=model)
    with pytest.raises(ConfigError, match=problem) as refused:
        Model(settings)
    assert "\n" not in str(refused.value)
