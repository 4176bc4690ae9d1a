"""A fitted pipeline as an ONNX graph, behind nodes that preprocess the inputs of a signature."""

from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn, update_registered_converter
from skl2onnx._parse import sklearn_parsers_map
from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.common import tree_ensemble
from skl2onnx.common.data_types import FloatTensorType
from skl2onnx.common.shape_calculator import (
    calculate_linear_classifier_output_shapes,
    calculate_linear_regressor_output_shapes,
)
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from ..config.values import ConfigError
from ..errors import CommandError, one_line
from ..signature import DATATYPES, Spec

Nodes = tuple[list[NodeProto], list[TensorProto]]  # of a graph, and their constants

PREFIX = "estimator/"  # of all names in the pipeline's part of the graph
GIVEN = "preprocessed"
MATRIX = f"{PREFIX}{GIVEN}"  # the tensor that the pipeline takes, float32 (n, width)
OPSETS = {"": 18, "ai.onnx.ml": 3}


def convert(pipeline: Pipeline, before: Nodes, signature: Mapping[str, Any]) -> onnx.ModelProto:
    """Return a model that preprocesses the inputs of a signature and answers as the pipeline does.

    Args:
        before: nodes that make the tensor MATRIX of the inputs.
        signature: of the model; its output is what the model's is called, and how it is shaped.

    Raises:
        CommandError: ONNX cannot express an estimator with these parameters.
    """
    (output,) = signature["outputs"]
    is_classes = output["kind"] == "classes"
    try:
        proto = convert_sklearn(
            pipeline,
            initial_types=[(GIVEN, FloatTensorType([None, pipeline.n_features_in_]))],
            options={id(pipeline): {"zipmap": False}} if is_classes else None,
            target_opset=OPSETS,
        )
    except (NotImplementedError, RuntimeError, ValueError) as error:
        name = type(pipeline[-1]).__name__
        raise CommandError(f"{name} cannot be written as ONNX: {one_line(error)}") from error
    proto = onnx.compose.add_prefix(proto, PREFIX)
    graph = proto.graph
    # A classifier's first output is the class, which the signature leaves out.
    answer = graph.output[-1].name
    nodes, constants = before
    shape = numpy_helper.from_array(np.array(output["shape"], np.int64), "shape of the answer")
    last = helper.make_node("Reshape", [answer, shape.name], [output["name"]])
    every = [*nodes, *graph.node, last]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(every)
    graph.initializer.extend([*constants, shape])
    graph.input.extend(_declared(spec) for spec in signature["inputs"])
    graph.output.append(_declared(output))
    return proto


def estimators_in(pipeline: Pipeline) -> list[BaseEstimator]:
    """Return a pipeline and each estimator in it, also those in others."""
    parts = [pipeline, *pipeline.get_params().values()]
    return [part for part in parts if isinstance(part, BaseEstimator)]


def require_convertible(pipeline: Pipeline) -> None:
    """Check that ONNX can express each estimator of a pipeline.

    Raises:
        ConfigError: names the first one that it cannot.
    """
    convertible = {*sklearn_operator_name_map, *sklearn_parsers_map}
    for part in estimators_in(pipeline):
        if type(part) not in convertible:
            listed = "sklearn-onnx's page of supported models lists those that it has"
            name = type(part).__name__
            raise ConfigError(
                "model", f"{name} cannot be exported, ONNX has no form of it: {listed}"
            )


def _declared(spec: Spec) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(DATATYPES[spec["datatype"]])
    return helper.make_tensor_value_info(spec["name"], kind, ["batch", *spec["shape"][1:]])


def _as_python(add_node: Callable[..., None]) -> Callable[..., None]:
    """HistGradientBoosting numbers its nodes in NumPy's types, which ONNX refuses."""

    def add(*values: Any, **named: Any) -> None:
        add_node(*map(_plain, values), **{name: _plain(value) for name, value in named.items()})

    return add


def _plain(value: Any) -> Any:
    if isinstance(value, np.bool_ | bool):
        return int(value)
    return int(value) if isinstance(value, np.integer) else value


def _boosters() -> Iterator[tuple[type, str, Any]]:
    """Yield the estimators of XGBoost and LightGBM, where they are here, and their converter."""
    if find_spec("xgboost"):
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
        from xgboost import XGBClassifier, XGBRegressor

        yield XGBClassifier, "XGBoostXGBClassifier", convert_xgboost
        yield XGBRegressor, "XGBoostXGBRegressor", convert_xgboost
    if find_spec("lightgbm"):
        from lightgbm import LGBMClassifier, LGBMRegressor
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

        yield LGBMClassifier, "LightGbmLGBMClassifier", convert_lightgbm
        yield LGBMRegressor, "LightGbmLGBMRegressor", convert_lightgbm


def _register() -> None:
    tree_ensemble.add_node = _as_python(tree_ensemble.add_node)
    for estimator, alias, converter in _boosters():
        is_classes = alias.endswith("Classifier")
        classes, values = (
            calculate_linear_classifier_output_shapes,
            calculate_linear_regressor_output_shapes,
        )
        options = (
            {"nocl": [True, False], "zipmap": [True, False, "columns"]} if is_classes else None
        )
        update_registered_converter(
            estimator, alias, classes if is_classes else values, converter, options=options
        )


_register()
