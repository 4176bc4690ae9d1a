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

EXTENSIONS = ["binary_tensor_data"]
DATATYPES: dict[str, np.dtype[Any]] = {
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}


class RequestError(Exception):
    """A request cannot be answered; the text tells its sender why."""


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


def decode(body: bytes, signature: dict[str, Any]) -> tuple[Request, np.ndarray]:
    """Return a request and its one input, in the datatype and shape of the model's signature.

    Raises:
        RequestError: the body does not follow the protocol, or not this signature.
    """
    request, binary = _split(body)
    (declared,), (output,) = signature["inputs"], signature["outputs"]
    for wanted in request.outputs:
        if wanted.name != output["name"]:
            raise RequestError(f"there is no output `{wanted.name}`, only `{output['name']}`")
    tensor = _the_input(request, declared["name"])
    name, shape = tensor.name, tuple(declared["shape"])
    if tensor.datatype != declared["datatype"]:
        raise RequestError(f"`{name}` is {declared['datatype']}, not {tensor.datatype}")
    if len(tensor.shape) != len(shape) or any(
        size < 1 or expected not in (-1, size)
        for size, expected in zip(tensor.shape, shape, strict=True)
    ):
        raise RequestError(f"`{name}` has shape {list(shape)}, not {tensor.shape}; -1 is any")
    values = _values(tensor, DATATYPES[tensor.datatype], binary)
    if values.size != math.prod(tensor.shape):
        raise RequestError(f"`{name}` has {values.size} values, not those of {tensor.shape}")
    if not (values.min() >= 0 and values.max() <= signature["max_value"]):  # NaN is neither
        raise RequestError(f"`{name}` has values outside of 0 to {signature['max_value']}")
    return request, values.astype(DATATYPES[tensor.datatype]).reshape(tensor.shape)


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


def server_metadata() -> dict[str, Any]:
    """Return what a server tells of itself."""
    name = (__package__ or "").partition(".")[0]
    return {"name": name, "version": "2", "extensions": EXTENSIONS}


def no_version(model: str, version: str, served: str) -> str:
    """Return what a request for a version is told where another one is served."""
    return f"there is no version `{version}` of `{model}`: version `{served}` is served"


def json_length(body: bytes) -> int:
    """Return where the JSON at the beginning of a body ends.

    Raises:
        ValueError: it does not begin with JSON.
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


def _the_input(request: Request, name: str) -> Tensor:
    for tensor in request.inputs:
        if tensor.name != name:
            raise RequestError(f"there is no input `{tensor.name}`, only `{name}`")
    if len(request.inputs) != 1:
        raise RequestError(f"the input `{name}` is needed once, not {len(request.inputs)} times")
    return request.inputs[0]


def _values(tensor: Tensor, datatype: np.dtype, binary: bytes) -> np.ndarray:
    size = tensor.parameters.get("binary_data_size")
    if size is not None:
        if size != len(binary) or size % datatype.itemsize:
            raise RequestError(f"`{tensor.name}`: {len(binary)} bytes follow, not {size}")
        return np.frombuffer(binary, datatype)
    if binary or not isinstance(tensor.data, list):
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
    asked = [wanted.parameters.get("binary_data") for wanted in request.outputs]
    default = request.parameters.get("binary_data_output", False)
    return bool(default if not asked or asked[0] is None else asked[0])
