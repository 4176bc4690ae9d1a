"""The documentation of requests and answers: /openapi.json, which /docs shows."""

from operator import itemgetter
from typing import Any

import msgspec
import numpy as np

from ..signature import DATATYPES, encode
from . import protocol
from .bodies import JSON_LENGTH
from .upstream import Upstream

INFERENCE, MODELS, HEALTH, SERVER = "Inference", "Models", "Health", "Server"
TAGS = [
    {"name": INFERENCE, "description": "Ask a model."},
    {"name": MODELS, "description": "Which models there are, and what each takes and gives."},
    {"name": HEALTH, "description": "For probes and load balancers."},
    {"name": SERVER, "description": "About this server."},
]
DESCRIPTION = """
Models behind the [Open Inference Protocol](https://github.com/kserve/open-inference-protocol),
version 2: its clients, such as those of Triton and KServe, can ask them.

Try it: open *Ask a model* below, then *Try it out* and *Execute*. An error is always JSON, and its
`error` says what is wrong. `/metrics` is for Prometheus.
"""
REF = "#/components/schemas/{name}"
STATUSES = {
    400: "The request does not follow the protocol, or is not one for this model",
    404: "There is no such model, or no such version of it",
    413: "The request is too large",
    415: "The body is compressed, or in another charset than UTF-8",
    429: "Too many requests wait: come again later",
    501: "The body has a transfer coding other than chunked",
    502: "The service of the model failed",
    503: "The service of the model cannot be reached: come again later",
    504: "The service of the model did not answer in time",
}
REQUEST = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": REF.format(name="Request")}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
ERROR = {
    "type": "object",
    "properties": {"error": {"type": "string", "description": "Why there is no answer"}},
    "required": ["error"],
}


class Output(msgspec.Struct, omit_defaults=True):
    """An output of an answer: `data`, or in `parameters` how many bytes follow the JSON."""

    name: str
    datatype: str
    shape: list[int]
    data: list[float] = []
    parameters: dict[str, Any] = {}


class Answer(msgspec.Struct):
    """The JSON of an answer; behind it are the outputs that were asked for as binary tensors."""

    model_name: str
    model_version: str
    outputs: list[Output]
    id: str = ""


def header(description: str) -> dict[str, Any]:
    """Return the documentation of a header of an answer."""
    return {"description": description, "schema": {"type": "string"}}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of errors, by their status."""
    content = {"application/json": {"schema": {"$ref": REF.format(name="Error")}}}
    return {status: {"description": STATUSES[status], "content": content} for status in statuses}


ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer; with binary tensors behind it, if they were asked for",
        "content": {
            "application/json": {"schema": {"$ref": REF.format(name="Answer")}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
        "headers": {
            "x-model-version": header("The version of the model that answered"),
            "x-model-run": header("The id of the run that made it, if that is known"),
            JSON_LENGTH: header("How many bytes the JSON has, before binary tensors"),
        },
    },
    **errors(*STATUSES),
}


def example(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return a request for a model: with its first test sample, or with zeros.

    Args:
        parameters: of the model's metadata.
    """
    (sample, *_) = parameters["samples"] or [{"inputs": {}}]
    return {
        "inputs": [_tensor(spec, sample["inputs"]) for spec in parameters["signature"]["inputs"]]
    }


def _tensor(spec: dict[str, Any], sample: dict[str, Any]) -> dict[str, Any]:
    name = spec["name"]
    if spec.get("kind") == "text":
        data = [sample.get(name, "")]
        return {"name": name, "datatype": protocol.TEXTS, "shape": [1], "data": data}
    shape = [1, *(max(size, 1) for size in spec["shape"][1:])]
    zeros = np.zeros(shape, DATATYPES[spec["datatype"]])
    array = encode(spec, [sample[name]]) if name in sample else zeros
    data = array.ravel().tolist()
    return {"name": name, "datatype": spec["datatype"], "shape": shape, "data": data}


def describe(api: dict[str, Any], model: Upstream) -> dict[str, Any]:
    """Complete the OpenAPI document that FastAPI wrote for an application.

    Args:
        api: changed, and returned.
        model: that the examples are for; its service was asked before, or they are left out.
    """
    examples = {"name": model.name, "version": model.version}
    request = example(model.described["parameters"]) if model.described else None
    _, schemas = msgspec.json.schema_components([protocol.Request, Answer], ref_template=REF)
    api["components"] = {"schemas": {**schemas, "Error": ERROR}}
    for operations in api["paths"].values():
        for operation in operations.values():
            if request and "requestBody" in operation:
                operation["requestBody"]["content"]["application/json"]["example"] = request
            parameters = sorted(operation.get("parameters", []), key=itemgetter("name"))
            operation["parameters"] = parameters  # the version behind the name, as in the path
            for parameter in parameters:
                if known := examples[parameter["name"]]:
                    parameter["example"] = known
            operation["responses"].pop("422", None)  # FastAPI's own, which is never answered
            for response in operation["responses"].values():
                identifier = header("That of the request, or a new one")
                response.setdefault("headers", {})["x-request-id"] = identifier
    return api
