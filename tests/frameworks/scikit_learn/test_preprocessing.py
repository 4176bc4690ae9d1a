"""What preprocessing makes of each kind of input is the same in NumPy and in the exported graph."""

from typing import Any

import numpy as np
import onnxruntime
import pytest
from my_ml_project.model import Model
from onnx import TensorProto, helper
from random_data import CLASSES, INPUTS, TEXT, TEXTS, VALUE, samples
from workflow.scikit_learn.onnx_graph import MATRIX
from workflow.signature import signature


@pytest.mark.parametrize("target", [CLASSES, VALUE], ids=["classes", "value"])
@pytest.mark.parametrize("inputs", INPUTS.values(), ids=INPUTS)
def test_the_exported_graph_preprocesses_and_answers_as_the_model(
    inputs: dict[str, Any], target: dict[str, Any], config
) -> None:
    name = "ridge" if target is VALUE else "logistic_regression"
    settings = config(f"model={name}", inputs=inputs, target=target)
    given, expected = samples(settings["data"], 64)
    model = Model(settings)
    fitted = {name: array[:60] for name, array in given.items()}
    model.fit(fitted, expected[:60])
    proto = model.export_onnx(signature(settings["data"], expected), given)
    proto.graph.output.append(helper.make_tensor_value_info(MATRIX, TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    for size in (1, 2, 64):
        batch = {name: array[-size:] for name, array in given.items()}
        answers, matrix = session.run(None, batch)
        np.testing.assert_array_equal(matrix, model.preprocess.transform(batch))
        usual = 1 if target is CLASSES else expected.std()
        np.testing.assert_allclose(answers, model.answer(batch), rtol=1e-4, atol=1e-4 * usual)


def test_each_text_has_a_row_of_its_own(config) -> None:
    settings = config(inputs={"comment": TEXT}, target=CLASSES)
    given, _ = samples(settings["data"], len(TEXTS))
    model = Model(settings)
    model.preprocess.fit(given)
    matrix = model.preprocess.transform(given)
    assert len(np.unique(matrix, axis=0)) == len(TEXTS)
    assert not matrix[TEXTS.index("")].any()
