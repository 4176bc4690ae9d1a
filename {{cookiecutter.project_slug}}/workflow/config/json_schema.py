"""conf/schema.json: what each file of conf/ may hold, for the completion of an editor.

    python -m workflow.config.json_schema          write it
    python -m workflow.config.json_schema --check  say whether it is current

An editor with yaml-language-server (VS Code, Neovim, Helix, Zed …) finds it by a line of the file:
    # yaml-language-server: $schema=../schema.json#/definitions/model
"""

import json
import sys
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from annotated_types import Ge, GroupedMetadata, Gt, Le, Lt, MaxLen, MinLen

from .. import files
from ..paths import CONF, ROOT
from ..serving.settings import Settings
from . import data_kinds
from .job_keys import Cluster, Resources
from .places import package_of
from .schema import framework_of
from .search import Search
from .signatures import NoSuchTargetError
from .targets import GIVEN, HYDRAS, signature_of
from .values import Made, Rule, Signature, declared_in, makes

Schema = dict[str, Any]

FILE = CONF / "schema.json"
# Hydra's own, and what a training does not read.
NOT_COMPOSED = {"cluster", "hydra", "resources", "search", "serving"}
TYPES = {int: "integer", float: "number", bool: "boolean", str: "string", NoneType: "null"}
# Hydra fills these in: ${another.key}, or ??? for a value that is still missing.
REFERENCE = {"type": "string", "pattern": r"^(\$\{.*\}|\?\?\?)$"}
REFERRED = {"$ref": "#/definitions/reference"}
TARGET = {"type": "string", "description": "the import path of the class to make"}
MADE = {"type": "object", "properties": {"_target_": TARGET}, "required": ["_target_"]}
REFERRED_MADE = {"$ref": "#/definitions/made"}
DEFAULTS = {"type": "array", "description": "files that this one builds on"}


def build(conf: Path = CONF) -> Schema:
    """Return the JSON schema of a folder conf/: a definition for each of its folders."""
    groups = sorted(path.name for path in conf.iterdir() if path.is_dir())
    groups = [name for name in groups if name not in NOT_COMPOSED]
    framework = framework_of(yaml.safe_load((conf / "config.yaml").read_text(encoding="utf-8")))
    keys = declared_in(framework.config).parameters
    nodes = {name: _of_type(parameter.declared()) for name, parameter in keys.items()}
    nodes["trainer"] = _of_keys(framework.trainer_keys())
    callbacks: list[str] = []
    nodes["data"]["properties"] |= {
        "inputs": {"type": "object", "additionalProperties": _of_kinds(data_kinds.INPUTS)},
        "target": _of_kinds(data_kinds.TARGETS),
    }
    for name in groups:
        for key, classes in _targets(conf / name, name).items():
            schema = _made(classes, *GIVEN.get(key, ()))
            if key == name:
                nodes[name] = schema
            elif name == "callbacks":  # each has a name of its own
                callbacks += classes
            elif "properties" in nodes.get(name, {}):  # such as scheduler.schedule
                optional = {"anyOf": [schema, _null()]}
                nodes[name]["properties"][key.rpartition(".")[2]] = optional
    callback = {"anyOf": [_made(callbacks), _null()]}
    nodes["callbacks"] = {"type": "object", "additionalProperties": callback}
    for node in nodes.values():
        if node.get("type") == "object":
            node.setdefault("properties", {})["defaults"] = DEFAULTS
    whole = {
        "type": "object",
        "properties": {
            "defaults": DEFAULTS,
            "hydra": {"type": "object"},
            **{name: {"$ref": f"#/definitions/{name}"} for name in nodes},
        },
        "additionalProperties": REFERRED_MADE,
    }
    serving = _of_keys(declared_in(Settings))
    definitions = {**nodes, "config": whole, "search": _search(conf), "serving": serving}
    for name, keys_of in (("cluster", Cluster), ("resources", Resources)):
        definitions[name] = _of_keys(declared_in(keys_of))
        definitions[name]["properties"]["defaults"] = DEFAULTS
    definitions |= {"reference": REFERENCE, "made": MADE}
    for name in groups:
        package = _package(conf / name, conf)
        if package != name:
            definitions[name] = {"$ref": f"#/definitions/{package or 'config'}"}
    return {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": definitions}


def _search(conf: Path) -> Schema:
    """Return the schema of a search space, with the samplers and pruners that conf/ names."""
    search = _of_keys(declared_in(Search))
    space = {"type": ["string", "number", "boolean", "null"]}
    search["properties"]["space"] = {"type": "object", "additionalProperties": space}
    classes = _targets(conf / "search", "search")
    for key in ("sampler", "pruner"):
        schema = _made(classes.get(f"search.{key}", []))
        search["properties"][key] = {"anyOf": [schema, _null()]}
    return search


def text(conf: Path = CONF) -> str:
    return _formatted(build(conf)) + "\n"


def _formatted(node: Any, name: str = "", indent: str = "") -> str:
    """Return JSON with a line for each key of conf/, whatever the package is called."""
    line = json.dumps(node, ensure_ascii=False)
    if name != "properties" and '"properties": {' not in line:
        return line
    inner = f"{indent}  "
    if isinstance(node, dict):
        texts = [f"{json.dumps(key)}: {_formatted(node[key], key, inner)}" for key in node]
    else:
        texts = [_formatted(item, indent=inner) for item in node]
    start, end = "{}" if isinstance(node, dict) else "[]"
    return f"{start}\n{inner}" + f",\n{inner}".join(texts) + f"\n{indent}{end}"


def _package(folder: Path, conf: Path) -> str:
    """Return the key under which Hydra puts the files of a folder; "" for the whole config."""
    packages = {".".join(package_of(path, conf)) for path in folder.glob("*.yaml")}
    return packages.pop() if len(packages) == 1 else folder.name


def _targets(folder: Path, name: str) -> dict[str, list[str]]:
    """Return the classes that the files of a folder name, by the dotted key of the node."""
    classes: dict[str, dict[str, None]] = {}
    for path in sorted(folder.glob("*.yaml")):
        node = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        nodes = {name: node} | {f"{name}.{key}": child for key, child in node.items()}
        for key, child in nodes.items():
            if makes(child) and isinstance(child["_target_"], str):
                classes.setdefault(key, {})[child["_target_"]] = None
    return {key: [*names] for key, names in classes.items()}


def _of_kinds(kinds: dict[str, type]) -> Schema:
    """Return the schema of a node whose key `kind` says which others it has."""
    kind = {"enum": [*kinds]}
    cases: list[Schema] = []
    every: Schema = {}
    for name, declared in kinds.items():
        own = _of_keys(declared_in(declared))
        own["properties"]["kind"] = kind
        is_this = {"properties": {"kind": {"const": name}}, "required": ["kind"]}
        cases.append({"if": is_this, "then": own})
        for key, value in own["properties"].items():  # `columns` of an image are a number
            every[key] = {"anyOf": [every[key], value]} if key in every else value
    # Before the kind is typed, and in a file that changes some keys of another.
    any_kind = {"type": "object", "properties": every | {"kind": kind}}
    cases.append({"if": {"not": {"required": ["kind"]}}, "then": any_kind})
    return {"type": "object", "properties": {"kind": kind}, "allOf": cases}


def _made(targets: list[str], *left_out: str) -> Schema:
    """Return the schema of a node that names one of the classes, or another."""
    keys: Schema = {name: {} for name in HYDRAS} | {"defaults": DEFAULTS}
    keys["_target_"] = {"anyOf": [{"enum": targets}, TARGET]}
    every, cases = dict(keys), []
    for target in targets:
        try:
            taken = signature_of(target)
        except NoSuchTargetError:
            continue  # refused when it is composed
        if taken is None:
            continue
        own = _of_keys(taken)
        for name in left_out:
            own["properties"].pop(name, None)
        if taken.takes_others:
            own["additionalProperties"] = True
        every |= own["properties"]
        own["properties"] |= keys
        names_it = {"properties": {"_target_": {"const": target}}, "required": ["_target_"]}
        cases.append({"if": names_it, "then": own})
    # A file that changes some keys of another, such as an experiment, names no class.
    changes = {"type": "object", "properties": every}
    cases.append({"if": {"not": {"required": ["_target_"]}}, "then": changes})
    return {"type": "object", "allOf": cases}


def _of_keys(signature: Signature) -> Schema:
    properties = {
        name: _of_value(parameter.declared()) for name, parameter in signature.parameters.items()
    }
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _of_value(declared: Any) -> Schema:
    schema = _of_type(declared)
    if not schema or schema.get("type") == "string":
        return schema
    return {"anyOf": [*schema.get("anyOf", [schema]), REFERRED]}


def _of_type(declared: Any) -> Schema:
    """Return the schema of a type; {} allows any value."""
    origin, arguments = get_origin(declared), get_args(declared)
    if declared in TYPES:
        return {"type": TYPES[declared]}
    if isinstance(declared, type) and hasattr(declared, "__dataclass_fields__"):
        return _of_keys(declared_in(declared))
    if origin is Annotated:
        schema = _of_type(arguments[0])
        for limit in arguments[1:]:
            schema = _limited(schema, limit)
        return schema
    if origin is Literal:
        return {"enum": [*arguments]}
    if origin in (Union, UnionType):
        kinds = [kind for kind in arguments if kind not in (Made, NoneType)]
        if not kinds:
            return {}
        schemas = [_of_type(kind) for kind in kinds]
        schemas += [REFERRED_MADE] if Made in arguments else []
        schemas += [_null()] if NoneType in arguments else []
        return {} if {} in schemas else {"anyOf": schemas}
    if origin is list:
        return {"type": "array", "items": _of_type(arguments[0])}
    if origin is tuple:
        items = [_of_type(kind) for kind in arguments]
        return {"type": "array", "items": items, "minItems": len(items), "maxItems": len(items)}
    return {"type": "object"} if origin is dict else {}


def _limited(schema: Schema, limit: Any) -> Schema:
    if isinstance(limit, Rule):
        if limit.choices:
            null = [None] if _null() in schema.get("anyOf", []) else []
            return {"enum": [*limit.choices, *null]}
        return {**schema, "description": limit.text}
    if isinstance(limit, MinLen):
        return {**schema, "minItems": limit.min_length}
    if isinstance(limit, MaxLen):
        return {**schema, "maxItems": limit.max_length}
    if schema.get("type") == "array":
        items = schema["items"]
        of_all = isinstance(items, list)
        limited = [_limited(item, limit) for item in items] if of_all else _limited(items, limit)
        return {**schema, "items": limited}
    if "anyOf" in schema:
        return {"anyOf": [_limited(kind, limit) for kind in schema["anyOf"]]}
    if schema.get("type") in ("integer", "number"):
        for part in limit if isinstance(limit, GroupedMetadata) else [limit]:
            match part:
                case Ge(bound):
                    schema = {**schema, "minimum": bound}
                case Gt(bound):
                    schema = {**schema, "exclusiveMinimum": bound}
                case Le(bound):
                    schema = {**schema, "maximum": bound}
                case Lt(bound):
                    schema = {**schema, "exclusiveMaximum": bound}
    return schema


def _null() -> Schema:
    return {"type": "null"}


def main(arguments: list[str]) -> None:
    schema = text(ROOT / CONF)
    file = ROOT / FILE
    current = file.exists() and file.read_text(encoding="utf-8") == schema
    if arguments == ["--check"] and not current:
        raise SystemExit(f"{FILE.as_posix()} does not match conf/ and its classes: inv check --fix")
    if not current:
        files.replace(file, schema)
        print(f"{FILE.as_posix()} is renewed")


if __name__ == "__main__":
    main(sys.argv[1:])
