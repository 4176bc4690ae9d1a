"""What is read of an exported file: its metadata, and whether two have the same weights."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from workflow.onnx_file import read_metadata, read_provenance, weights_sha256


def test_the_hash_of_the_weights_is_of_the_weights_alone(exported: Path, tmp_path: Path) -> None:
    model = onnx.load(exported / "model.onnx")
    expected = weights_sha256(exported / "model.onnx")
    helper.set_model_props(model, {"provenance": '"another run"'})
    onnx.save(model, tmp_path / "same.onnx")
    assert weights_sha256(tmp_path / "same.onnx") == expected
    assert read_provenance(tmp_path / "same.onnx") == "another run"
    weight = next(w for w in model.graph.initializer if numpy_helper.to_array(w).size > 1)
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] += 1
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, tmp_path / "other.onnx")
    assert weights_sha256(tmp_path / "other.onnx") != expected


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    """Writes a model without initializers: a decision tree of one node with two leaves."""

    def write(file: str, threshold: float, node: str = "tree", branch: bool = False) -> Path:
        one = helper.make_node(
            "TreeEnsembleRegressor",
            ["x"],
            ["y"],
            name=node,
            domain="ai.onnx.ml",
            nodes_values=[threshold, 0.0, 0.0],
            n_targets=1,
        )
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
        nodes = [one]
        if branch:  # the tree is in a graph inside a node
            inner = helper.make_graph([one], f"{node} inner", [], [y])
            nodes = [helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)]
        graph = helper.make_graph(nodes, f"graph of {node}", [x], [y])
        onnx.save(helper.make_model(graph), tmp_path / file)
        return tmp_path / file

    return write


@pytest.mark.parametrize("branch", [False, True])
def test_trees_have_the_same_hash_only_if_they_are_the_same(
    branch: bool, tree: Callable[..., Path]
) -> None:
    first = weights_sha256(tree("first.onnx", 0.5, branch=branch))
    assert weights_sha256(tree("same.onnx", 0.5, node="renamed", branch=branch)) == first
    assert weights_sha256(tree("other.onnx", 0.6, branch=branch)) != first


def test_what_export_wrote_is_read_back(exported: Path, tree: Callable[..., Path]) -> None:
    metadata = read_metadata(exported / "model.onnx")
    assert metadata["signature"]["inputs"][0]["shape"][0] == -1
    assert metadata["provenance"]["seed"] == 0
    assert read_provenance(tree("foreign.onnx", 0.5)) == {}
