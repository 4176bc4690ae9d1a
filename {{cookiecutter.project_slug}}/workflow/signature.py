"""What a model takes and gives: the kinds of inputs and targets, and the arrays that hold them.

conf/data/ declares the inputs and the target. The exported file carries them as its signature, a
JSON object; stage `prepare`, serving and drift detection read values by it. An input or output
without a `kind`, or of one that is not here, is a plain tensor. Only NumPy is needed.

image: a person gives whole numbers from 0 to max_value; the array is of the smallest unsigned
    type, (n, rows, columns) or (n, rows, columns, channels).
features: a number, or one of the choices, for each column; float32 (n, columns), in which a choice
    is its index.
text: uint8 (n, length), UTF-8 padded with 0.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from . import formats
from .errors import enumerated

Spec = dict[str, Any]  # an input or output of a signature: name, datatype, shape, kind, …
Inputs = dict[str, np.ndarray]  # of samples: arrays (n, …) by name

# Datatypes of the Open Inference Protocol, and their arrays.
DATATYPES: dict[str, np.dtype[Any]] = {
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}


# Of what an exported file says of itself. Format 1, until version 2.0.0, had no kinds: it was an
# image and its classes.
FORMAT = 2


class SignatureError(ValueError):
    """Values are not what the signature declares; the text says which, and what is wrong."""


def signature(data: Mapping[str, Any], targets: np.ndarray | None = None) -> dict[str, Any]:
    """Return the signature of a model of the data that conf/data/ declares.

    Args:
        data: the config's `data`.
        targets: of the training split, (n,): a value's quantiles are taken from them.
    """
    specs = {"inputs": inputs(data), "outputs": [output(data["target"], targets)]}
    return {**formats.stamp(FORMAT), **specs}


def current(metadata: dict[str, Any], what: str) -> dict[str, Any]:
    """Return the metadata of an exported file, decoded, as this version writes it.

    Args:
        metadata: of a file that may be of any version, or of none.
        what: the file is called, in the error.

    Raises:
        LaterFormatError: a later version exported it.
    """
    declared = metadata.get("signature")
    if not isinstance(declared, dict):
        return metadata
    formats.require(declared, FORMAT, what)
    if "classes" not in declared or any("kind" in spec for spec in declared["inputs"]):
        return metadata
    (image,), (answer,) = declared["inputs"], declared["outputs"]
    image = {**image, "kind": "image", "max_value": declared["max_value"]}
    answer = {**answer, "kind": "classes", "names": declared["classes"]}
    samples = [
        {"inputs": {image["name"]: sample["image"]}, "actual": sample["label"]}
        for sample in metadata.get("samples", [])
    ]
    return {**metadata, "signature": {"inputs": [image], "outputs": [answer]}, "samples": samples}


def inputs(data: Mapping[str, Any]) -> list[Spec]:
    """Return the inputs that the config's `data` declares; -1 is the size of the batch."""
    return [_input(name, declared) for name, declared in data["inputs"].items()]


def output(target: Mapping[str, Any], targets: np.ndarray | None = None) -> Spec:
    """Return the output for a target: probabilities (n, classes), or values (n,)."""
    if target["kind"] == "classes":
        names = list(target["names"])
        shape = [-1, len(names)]
        return _spec("probabilities", "FP32", shape, kind="classes", names=names)
    described = {"label": target["name"], "unit": target.get("unit")}
    if targets is not None:
        deciles = np.quantile(targets, np.linspace(0.1, 0.9, 9))
        described["quantiles"] = [_shortest(value) for value in np.unique(np.float32(deciles))]
    return _spec("value", "FP32", [-1], kind="value", **described)


def encode(spec: Spec, given: Any, first: int = 0) -> np.ndarray:
    """Return the array of samples as a person gives them.

    Args:
        spec: an input of a signature.
        given: a value for each sample (a row by column names for `features`; then also a mapping
            of the columns' names to the values of all samples).
        first: the number of the first sample, in errors.

    Raises:
        SignatureError: a value is not what the input declares.
    """
    kind = spec.get("kind")
    if kind == "text":
        return _encode_texts(spec, given, first)
    if kind == "features":
        array = _encode_columns(spec, given, first)
        check(spec, array, first)
        return array
    array = _numbers(spec["name"], given)
    if array.shape[1:] != tuple(spec["shape"][1:]):
        actual, declared = list(array.shape[1:]), spec["shape"][1:]
        raise SignatureError(f"{spec['name']} have shape {actual} a sample, declared is {declared}")
    if kind == "image":
        problem = "has a value that is not a whole number"
        _refuse(spec["name"], array != np.floor(array), problem, first)
    check(spec, array, first)
    return array.astype(DATATYPES[spec["datatype"]])


def check(spec: Spec, array: np.ndarray, first: int = 0) -> None:
    """Check the values of an array that has the datatype and shape of its input.

    Args:
        first: the number of the first sample, in errors.

    Raises:
        SignatureError: a value is not finite, or outside its declared range or choices.
    """
    name, kind = spec["name"], spec.get("kind")
    if kind == "features":
        for index, column in enumerate(spec["columns"]):
            _check_column(column, array[:, index], first)
        return
    if array.dtype.kind == "f":
        _refuse(name, ~np.isfinite(array), "has a value that is not a finite number", first)
    if kind == "image":
        low, high = 0, spec["max_value"]
        wrong = array > high if array.dtype.kind == "u" else (array < low) | (array > high)
        _refuse(name, wrong, f"has a value outside 0 to {high} (max_value)", first)


def decode(spec: Spec, array: np.ndarray) -> list[Any]:
    """Return the samples of an array as a person gives them: the inverse of `encode`."""
    kind = spec.get("kind")
    if kind == "text":
        rows = np.ascontiguousarray(array, np.uint8)
        return [row.tobytes().rstrip(b"\0").decode("utf-8", "replace") for row in rows]
    if kind == "features":
        return [_decode_row(spec["columns"], row) for row in array]
    return array.tolist()


def decode_columns(spec: Spec, array: np.ndarray) -> dict[str, list[Any]]:
    """Return what `decode` does of `features`, by column: a number or a choice for each sample."""
    rows = decode(spec, array)
    names = [column["name"] for column in spec["columns"]]
    return {name: [row[name] for row in rows] for name in names}


def distinct(columns: Mapping[str, Any], taken: Iterable[str]) -> dict[str, Any]:
    """Return the columns of inputs under names that differ from those of others in a table.

    Args:
        columns: of inputs, by name.
        taken: names of other columns, such as `predicted`; an input's column of such a name gets
            " (input)" behind it.
    """
    names = set(taken)
    renamed: dict[str, Any] = {}
    for name, values in columns.items():
        while name in names:
            name += " (input)"
        names.add(name)
        renamed[name] = values
    return renamed


def encode_target(target: Mapping[str, Any], given: Any, first: int = 0) -> np.ndarray:
    """Return targets as an array: class indices, int64 (n,), or values, float32 (n,).

    Args:
        target: the config's `data.target`.
        given: class indices or class names; or values.
        first: the number of the first sample, in errors.

    Raises:
        SignatureError: one is none of the declared classes, or no finite number.
    """
    array = np.asarray(given)
    if array.ndim != 1:
        raise SignatureError(f"target has shape {list(array.shape)}, not one value a sample")
    if target["kind"] == "value":
        values = _numbers("target", array).astype(np.float32)
        _refuse("target", ~np.isfinite(values), "is not a finite number", first)
        return values
    names = list(target["names"])
    if array.dtype.kind in "US":
        indices = _positions("target", array, names, "classes (target.names)", first)
        return indices.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise SignatureError(f"target is {array.dtype}, not class names or their indices")
    wrong = (array < 0) | (array >= len(names))
    problem = f"is not an index of the {len(names)} classes (target.names)"
    _refuse("target", wrong, problem, first, array)
    return array.astype(np.int64)


def decode_target(output: Spec, targets: np.ndarray) -> list[Any]:
    """Return targets as a person reads them: the names of classes, or values."""
    if output["kind"] == "classes":
        return [output["names"][index] for index in targets.tolist()]
    return [_shortest(value) for value in targets]


def _input(name: str, declared: Mapping[str, Any]) -> Spec:
    kind = declared["kind"]
    if kind == "image":
        shape = [declared["rows"], declared["columns"]]
        shape += [declared["channels"]] if declared.get("channels") else []
        datatype = str(np.min_scalar_type(declared["max_value"])).upper()
        return _spec(name, datatype, [-1, *shape], kind=kind, max_value=declared["max_value"])
    if kind == "features":
        columns = [_without_none(column) for column in declared["columns"]]
        return _spec(name, "FP32", [-1, len(columns)], kind=kind, columns=columns)
    return _spec(name, "UINT8", [-1, declared["length"]], kind=kind, encoding="utf-8")


def _spec(name: str, datatype: str, shape: list[int], **described: Any) -> Spec:
    return {"name": name, "datatype": datatype, "shape": shape, **_without_none(described)}


def _without_none(described: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in described.items() if value is not None}


def _numbers(name: str, values: Any) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError:
        raise SignatureError(f"{name}: the samples are not all of one shape") from None
    if array.dtype.kind not in "buif":
        raise SignatureError(f"{name}: has type {array.dtype}, not numbers")
    return array


def _encode_texts(spec: Spec, samples: Iterable[Any], first: int) -> np.ndarray:
    name, length = spec["name"], spec["shape"][1]
    texts = list(samples)
    for index, text in enumerate(texts, first):
        if not isinstance(text, str):
            raise SignatureError(f"{name} of sample {index} is {type(text).__name__}, not text")
    cut = [_cut(text.encode("utf-8", "replace"), length) for text in texts]
    return np.array(cut, dtype=f"S{length}").view(np.uint8).reshape(len(texts), length)


def _cut(content: bytes, length: int) -> bytes:
    """Return the first `length` bytes, or fewer so that no character is cut in two."""
    if len(content) <= length:
        return content
    return content[:length].decode("utf-8", "ignore").encode()


def _encode_columns(spec: Spec, samples: Any, first: int) -> np.ndarray:
    names = [column["name"] for column in spec["columns"]]
    if not isinstance(samples, Mapping):
        samples = _columns_of_rows(spec["name"], list(samples), names)
    sizes = {name: len(samples[name]) for name in names}
    if len(set(sizes.values())) > 1:
        raise SignatureError(f"{spec['name']}: columns differ in their number of samples: {sizes}")
    arrays = [_encode_column(column, samples[column["name"]], first) for column in spec["columns"]]
    with np.errstate(over="ignore"):  # `check` refuses what is infinite in float32
        return np.stack(arrays, axis=1).astype(np.float32)


def _columns_of_rows(name: str, rows: Sequence[Any], columns: list[str]) -> dict[str, list[Any]]:
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping) or set(row) != set(columns):
            raise SignatureError(f"{name} of sample {index} needs the columns {', '.join(columns)}")
    return {column: [row[column] for row in rows] for column in columns}


def _encode_column(column: Mapping[str, Any], values: Any, first: int) -> np.ndarray:
    if "choices" in column:
        return _positions(column["name"], np.asarray(values), column["choices"], "choices", first)
    array = _numbers(column["name"], values)
    if array.ndim != 1:
        shape = list(array.shape)
        raise SignatureError(f"{column['name']} has shape {shape}, not one value a sample")
    return array


def _positions(
    name: str, values: np.ndarray, known: Sequence[str], what: str, first: int
) -> np.ndarray:
    """Return the index in `known` of each text."""
    texts, inverse = np.unique(values.astype(str), return_inverse=True)
    index_of = {text: index for index, text in enumerate(known)}
    positions = np.array([index_of.get(text, -1) for text in texts.tolist()], dtype=np.int64)
    indices = positions[inverse]
    _refuse(name, indices < 0, f"is not one of the {what}: {enumerated(known, 10)}", first, values)
    return indices


def _check_column(column: Mapping[str, Any], values: np.ndarray, first: int) -> None:
    name = column["name"]
    _refuse(name, ~np.isfinite(values), "is not a finite number", first, values)
    if "choices" in column:
        last = len(column["choices"]) - 1
        wrong = (values < 0) | (values > last) | (values != np.floor(values))
        _refuse(name, wrong, f"is not an index of its choices, 0 to {last}", first, values)
    elif "range" in column:
        low, high = column["range"]
        # As float32, in which the values are: 0.1 is not the same number in float64.
        wrong = (values < np.float32(low)) | (values > np.float32(high))
        _refuse(name, wrong, f"is outside its range, {low} to {high}", first, values)


def _decode_row(columns: Sequence[Mapping[str, Any]], row: np.ndarray) -> dict[str, Any]:
    return {
        column["name"]: column["choices"][int(value)] if "choices" in column else _shortest(value)
        for column, value in zip(columns, row, strict=True)
    }


def _shortest(value: np.floating[Any]) -> float:
    """Return 0.1 for the float32 that is nearest to 0.1."""
    return float(str(value))


def _refuse(
    name: str, wrong: np.ndarray, problem: str, first: int, values: np.ndarray | None = None
) -> None:
    """Raise SignatureError if any value of a sample is wrong."""
    if not wrong.any():
        return
    samples = np.flatnonzero(wrong.reshape(len(wrong), -1).any(axis=1))
    value = "" if values is None else f" ({values[samples[0]]})"
    more = f"; so are {len(samples) - 1} more" if len(samples) > 1 else ""
    raise SignatureError(f"{name} of sample {first + samples[0]}{value} {problem}{more}")
