"""What a model takes and gives: from conf/data/ to arrays and back to what a person gives."""

import numpy as np
import pytest
from workflow import formats, signature
from workflow.signature import SignatureError, check, decode, encode, encode_target

DATA = {
    "inputs": {
        "grey": {"kind": "image", "rows": 2, "columns": 3, "channels": None, "max_value": 300},
        "photo": {"kind": "image", "rows": 2, "columns": 2, "channels": 3, "max_value": 255},
        "table": {
            "kind": "features",
            "columns": [
                {"name": "age", "unit": "years", "range": [0, 120], "choices": None},
                {"name": "colour", "choices": ["red", "green"], "unit": None},
                {"name": "bmi"},
            ],
        },
        "comment": {"kind": "text", "length": 8},
    },
    "target": {"kind": "classes", "names": ["cat", "dog"]},
}
GREY, PHOTO, TABLE, COMMENT = signature.inputs(DATA)
ROWS = [
    {"age": 3.0, "colour": "green", "bmi": -0.1},
    {"age": 120.0, "colour": "red", "bmi": 22.7},
]


def test_signature_is_the_one_that_the_exported_file_carries() -> None:
    assert signature.signature(DATA) == {
        "format": 2,
        "version": formats.version(),
        "inputs": [
            {
                "name": "grey",
                "datatype": "UINT16",
                "shape": [-1, 2, 3],
                "kind": "image",
                "max_value": 300,
            },
            {
                "name": "photo",
                "datatype": "UINT8",
                "shape": [-1, 2, 2, 3],
                "kind": "image",
                "max_value": 255,
            },
            {
                "name": "table",
                "datatype": "FP32",
                "shape": [-1, 3],
                "kind": "features",
                "columns": [
                    {"name": "age", "unit": "years", "range": [0, 120]},
                    {"name": "colour", "choices": ["red", "green"]},
                    {"name": "bmi"},
                ],
            },
            {
                "name": "comment",
                "datatype": "UINT8",
                "shape": [-1, 8],
                "kind": "text",
                "encoding": "utf-8",
            },
        ],
        "outputs": [
            {
                "name": "probabilities",
                "datatype": "FP32",
                "shape": [-1, 2],
                "kind": "classes",
                "names": ["cat", "dog"],
            }
        ],
    }


def test_quantiles_of_a_value_increase_also_where_targets_repeat() -> None:
    target = {"kind": "value", "name": "height", "unit": "m"}
    spec = signature.output(target, np.array([1.1] * 50 + [2.3] * 50, dtype=np.float32))
    assert spec == {
        "name": "value",
        "datatype": "FP32",
        "shape": [-1],
        "kind": "value",
        "label": "height",
        "unit": "m",
        "quantiles": [1.1, 1.7, 2.3],
    }


@pytest.mark.parametrize(
    ("spec", "given", "dtype"),
    [
        (GREY, [[[0, 1, 2], [3, 4, 300]]], "uint16"),
        (PHOTO, [[[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 255]]]], "uint8"),
        (TABLE, ROWS, "float32"),
        (COMMENT, ["", "größer", "so long"], "uint8"),
    ],
)
def test_what_a_person_gives_comes_back_from_its_array(spec, given, dtype: str) -> None:
    array = encode(spec, given)
    assert str(array.dtype) == dtype
    assert array.shape == (len(given), *spec["shape"][1:])
    assert decode(spec, array) == given


def test_columns_of_raw_data_are_encoded_as_rows_are() -> None:
    columns = {name: np.array([row[name] for row in ROWS]) for name in ROWS[0]}
    np.testing.assert_array_equal(encode(TABLE, columns), encode(TABLE, ROWS))


def test_a_long_text_is_cut_at_a_character() -> None:
    assert decode(COMMENT, encode(COMMENT, ["1234567ß89", "日本語"])) == ["1234567", "日本"]


@pytest.mark.parametrize(
    ("spec", "given", "message"),
    [
        (GREY, np.zeros((2, 3, 2)), r"grey have shape \[3, 2\] a sample, declared is \[2, 3\]"),
        (GREY, [[["a"] * 3] * 2], "not numbers"),
        (GREY, [[[0] * 3] * 2, [[0, 0, -1]] * 2], "grey of sample 1 has a value outside 0 to 300"),
        (GREY, [[[0, 0, 301]] * 2], "grey of sample 0 has a value outside 0 to 300"),
        (GREY, [[[0, 0, 0.5]] * 2], "grey of sample 0 has a value that is not a whole number"),
        (GREY, [[[0, 0, np.nan]] * 2], "grey of sample 0 has a value that is not"),
        (TABLE, [ROWS[0], {**ROWS[1], "age": 121}], r"age of sample 1 \(121.0\) is outside its"),
        (TABLE, [{**ROWS[1], "age": -1}], r"age of sample 0 \(-1.0\) is outside its range"),
        (TABLE, [{**ROWS[1], "bmi": np.inf}], r"bmi of sample 0 \(inf\) is not a finite number"),
        (TABLE, [{**ROWS[1], "bmi": 1e300}], r"bmi of sample 0 \(inf\) is not a finite number"),
        (TABLE, [{**ROWS[1], "bmi": "thin"}], "bmi: has type <U4, not numbers"),
        (TABLE, [{**ROWS[1], "colour": "blue"}] * 3, r"colour of sample 0 \(blue\) is not one of"),
        (TABLE, [{"age": 1, "bmi": 2}], "table of sample 0 needs the columns age, colour, bmi"),
        (TABLE, {"age": [1], "colour": ["red"], "bmi": [1, 2]}, "differ in their number"),
        (COMMENT, ["a", 3], "comment of sample 1 is int, not text"),
    ],
)
def test_values_that_are_not_as_declared_are_refused(spec, given, message: str) -> None:
    with pytest.raises(SignatureError, match=message):
        encode(spec, given)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([1, 2, 0], r"colour of sample 0 \(2.0\) is not an index of its choices, 0 to 1"),
        ([1, 0.5, 0], "colour of sample 0"),
        ([1, 0, np.nan], "not a finite number"),
        ([120.01, 0, 0], "age of sample 0"),
    ],
)
def test_an_array_of_a_request_is_checked_as_raw_data_is(row: list[float], message: str) -> None:
    check(TABLE, np.array([[1, 1, -5]], np.float32))
    with pytest.raises(SignatureError, match=message):
        check(TABLE, np.array([row], np.float32))


def test_an_end_of_a_range_is_in_the_range_also_as_float32() -> None:
    spec = {**TABLE, "columns": [{"name": "x", "range": [0.1, 0.7]}], "shape": [-1, 1]}
    check(spec, np.array([[0.1], [0.7]], np.float32))


def test_a_plain_tensor_is_taken_as_it_is() -> None:
    spec = {"name": "x", "datatype": "FP32", "shape": [-1, 2], "kind": "spectrum"}
    array = encode(spec, [[-1.5, 2]])
    assert array.dtype == np.float32
    assert decode(spec, array) == [[-1.5, 2.0]]


def test_classes_are_given_as_names_or_indices() -> None:
    for given in (["dog", "cat"], [1, 0], np.array([1, 0], np.uint8)):
        encoded = encode_target(DATA["target"], given)
        assert encoded.dtype == np.int64
        assert encoded.tolist() == [1, 0]
    spec = signature.output(DATA["target"])
    assert signature.decode_target(spec, np.array([1, 0])) == ["dog", "cat"]


@pytest.mark.parametrize(
    ("target", "given", "message"),
    [
        (DATA["target"], ["cat", "cow", "cow"], r"target of sample 1 \(cow\) is not one of the cl"),
        (DATA["target"], [0, 2], r"target of sample 1 \(2\) is not an index of the 2 classes"),
        (DATA["target"], [0, -1], r"target of sample 1 \(-1\)"),
        (DATA["target"], [0.7, 1.0], "target is float64, not class names"),
        (DATA["target"], [[0], [1]], r"target has shape \[2, 1\]"),
        ({"kind": "value", "name": "y"}, [1.0, np.nan], "target of sample 1 is not a finite"),
        ({"kind": "value", "name": "y"}, ["1"], "not numbers"),
    ],
)
def test_targets_that_are_not_as_declared_are_refused(target, given, message: str) -> None:
    with pytest.raises(SignatureError, match=message):
        encode_target(target, given)


def test_values_are_not_truncated() -> None:
    encoded = encode_target({"kind": "value", "name": "y"}, [0.7, -2.5])
    assert encoded.dtype == np.float32
    assert encoded.tolist() == pytest.approx([0.7, -2.5])
