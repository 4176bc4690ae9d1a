"""Requests and answers of the Open Inference Protocol, version 2, with binary tensors.

https://github.com/kserve/open-inference-protocol and, for the binary tensors, Triton's extension of
it. The length of the JSON before binary tensors is found in the body: the header that has it may
be left out.
"""

import json
import math
from typing import Any

import msgspec
import numpy as np

from ..signature import DATATYPES, Inputs, SignatureError, check
from ..signature import encode as encode_texts

VERSION = "2"
EXTENSIONS = ["binary_tensor_data"]
TEXTS = "BYTES"  # the protocol's datatype of texts, in which an input of kind `text` may come too


class RequestError(Exception):
    """A request cannot be answered; the text is for its sender."""


class Tensor(msgspec.Struct):
    """An input of a request."""

    name: str
    shape: list[int]
    datatype: str
    data: Any = None
    parameters: dict[str, Any] = {}


class Wanted(msgspec.Struct):
    """An output that a request asks for."""

    name: str
    parameters: dict[str, Any] = {}


class Request(msgspec.Struct):
    """The JSON of a request."""

    inputs: list[Tensor]
    outputs: list[Wanted] = []
    id: str | None = None
    parameters: dict[str, Any] = {}


_DECODER = msgspec.json.Decoder(Request)


def decode(body: bytes, signature: dict[str, Any]) -> tuple[Request, Inputs]:
    """Return a request and its inputs, in the datatypes and shapes of the model's signature.

    Raises:
        RequestError: the body does not follow the protocol, or not this signature.
    """
    request, binary = _split(body)
    (declared,) = signature["outputs"]
    for output in request.outputs:
        if output.name != declared["name"]:
            raise RequestError(f"there is no output `{output.name}`, only `{declared['name']}`")
    specs = {spec["name"]: spec for spec in signature["inputs"]}
    _require_each_once(request, [*specs])
    inputs = {}
    for tensor in request.inputs:
        content = None
        if (size := tensor.parameters.get("binary_data_size")) is not None:
            if type(size) is not int or not 0 <= size <= len(binary):
                raise RequestError(f"`{tensor.name}`: {len(binary)} bytes follow, not {size}")
            content, binary = binary[:size], binary[size:]
        inputs[tensor.name] = _array(tensor, specs[tensor.name], content)
    if binary:
        raise RequestError(f"{len(binary)} bytes follow that no input has as `binary_data_size`")
    if len({len(array) for array in inputs.values()}) > 1:
        sizes = ", ".join(f"`{name}` {len(array)}" for name, array in inputs.items())
        raise RequestError(f"the inputs differ in their number of samples: {sizes}")
    return request, {name: inputs[name] for name in specs}


def encode(
    request: Request, values: np.ndarray, model: str, version: str, signature: dict[str, Any]
) -> tuple[bytes, int]:
    """Return the answer to a request, and the length of its JSON.

    The output is in the JSON, or, if it was asked for as binary, behind it.
    """
    (declared,) = signature["outputs"]
    output: dict[str, Any] = {
        "name": declared["name"],
        "datatype": declared["datatype"],
        "shape": list(values.shape),
    }
    binary = b""
    if _as_binary(request):
        binary = values.astype(DATATYPES[declared["datatype"]]).tobytes()
        output["parameters"] = {"binary_data_size": len(binary)}
    else:
        output["data"] = values.ravel().tolist()
    answer = {"model_name": model, "model_version": version, "outputs": [output]}
    if request.id is not None:
        answer["id"] = request.id
    head = msgspec.json.encode(answer)
    return head + binary, len(head)


def server_metadata(title: str) -> dict[str, Any]:
    """Return the metadata of a server."""
    return {"name": title, "version": VERSION, "extensions": EXTENSIONS}


def no_version(model: str, version: str, served: str) -> str:
    """Return the error for a request for a version that is not served."""
    return f"there is no version `{version}` of `{model}`: version `{served}` is served"


def json_length(body: bytes) -> int:
    """Return where the JSON at the start of a body ends.

    Raises:
        ValueError: it does not start with JSON.
    """
    # Latin-1 keeps one character a byte, and JSON's own characters are ASCII.
    return json.JSONDecoder().raw_decode(body.decode("latin-1"))[1]


def _split(body: bytes) -> tuple[Request, bytes]:
    try:
        return _DECODER.decode(body), b""
    except msgspec.ValidationError as error:
        raise RequestError(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # binary tensors, or no JSON at all
    try:
        end = json_length(body)
        return _DECODER.decode(body[:end]), body[end:]
    except (ValueError, msgspec.DecodeError, RecursionError) as error:
        raise RequestError(f"the body is no request in JSON: {error}") from None


def _require_each_once(request: Request, names: list[str]) -> None:
    sent = [tensor.name for tensor in request.inputs]
    known = ", ".join(f"`{name}`" for name in names)
    for name in sent:
        if name not in names:
            raise RequestError(f"there is no input `{name}`, only {known}")
    for name in names:
        if sent.count(name) != 1:
            raise RequestError(f"the input `{name}` is needed once, not {sent.count(name)} times")


def _array(tensor: Tensor, spec: dict[str, Any], binary: bytes | None) -> np.ndarray:
    """Return an input as an array of its datatype and shape; `binary` are its bytes, if any."""
    if tensor.datatype == TEXTS and spec.get("kind") == "text":
        return _texts(tensor, spec)
    name, shape = tensor.name, spec["shape"]
    if tensor.datatype != spec["datatype"]:
        raise RequestError(f"`{name}` is {spec['datatype']}, not {tensor.datatype}")
    if len(tensor.shape) != len(shape) or any(
        size < 1 or expected not in (-1, size)
        for size, expected in zip(tensor.shape, shape, strict=True)
    ):
        raise RequestError(f"`{name}` has shape {shape}, not {tensor.shape}; -1 is any")
    datatype = DATATYPES[tensor.datatype]
    values = _values(tensor, datatype, binary)
    if values.size != math.prod(tensor.shape):
        raise RequestError(f"`{name}` has {values.size} values, not those of {tensor.shape}")
    array = values.reshape(tensor.shape)
    try:
        if datatype.kind in "iu":
            check(spec, array)  # as they were given: 256 would be 0 as UINT8
            _require_fits(name, array, np.iinfo(datatype))
            return array.astype(datatype, copy=False)
        with np.errstate(over="ignore"):  # `check` refuses what is infinite in float32
            array = array.astype(datatype, copy=False)
        check(spec, array)
    except SignatureError as error:
        raise RequestError(str(error)) from None
    return array


def _require_fits(name: str, array: np.ndarray, limits: np.iinfo[Any]) -> None:
    if array.min() < limits.min or array.max() > limits.max:
        raise RequestError(f"`{name}` has values outside of {limits.min} to {limits.max}")


def _texts(tensor: Tensor, spec: dict[str, Any]) -> np.ndarray:
    number = tensor.shape[0] if tensor.shape else 0
    if number < 1 or tensor.shape not in ([number], [number, 1]):
        raise RequestError(f"`{tensor.name}` has shape [-1] as {TEXTS}, not {tensor.shape}")
    if not isinstance(tensor.data, list) or len(tensor.data) != number:
        raise RequestError(f"`{tensor.name}` needs its `data`, a list of {number} texts")
    try:
        return encode_texts(spec, tensor.data)
    except SignatureError as error:
        raise RequestError(str(error)) from None


def _values(tensor: Tensor, datatype: np.dtype, binary: bytes | None) -> np.ndarray:
    if binary is not None:
        if len(binary) % datatype.itemsize:
            raise RequestError(
                f"`{tensor.name}`: {len(binary)} bytes are not a whole number of values"
            )
        return np.frombuffer(binary, datatype)
    if not isinstance(tensor.data, list):
        raise RequestError(f"`{tensor.name}` needs its `data`, a list, or `binary_data_size`")
    try:
        values = np.array(tensor.data)
    except ValueError:
        raise RequestError(f"`{tensor.name}` is a list of lists of different lengths") from None
    allowed = "iu" if datatype.kind in "iu" else "iuf"
    if values.dtype.kind not in allowed:
        raise RequestError(f"`{tensor.name}` has values that are not {tensor.datatype}")
    return values.ravel()


def _as_binary(request: Request) -> bool:
    choices = [output.parameters.get("binary_data") for output in request.outputs]
    default = request.parameters.get("binary_data_output", False)
    return bool(default if not choices or choices[0] is None else choices[0])
