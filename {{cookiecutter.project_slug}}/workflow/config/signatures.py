"""The arguments of a class, read from its source: importing torch and Lightning takes seconds."""

import ast
import functools
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import annotated_types

from .values import Made, Parameter, Signature

DEPTH = 20  # of imports that lead from one module to the next
SCALARS: dict[str, type] = {"bool": bool, "float": float, "int": int, "str": str}
SEQUENCES = ("list", "List", "Sequence", "Iterable", "Collection", "MutableSequence")
MAPPINGS = ("dict", "Dict", "Mapping", "MutableMapping")

Function = ast.FunctionDef | ast.AsyncFunctionDef


class NoSuchTargetError(Exception):
    """A module or a name in it does not exist; the text says which."""

    def __init__(self, problem: str, name: str = "", names: tuple[str, ...] = ()) -> None:
        super().__init__(problem)
        self.name = name  # the one that is missing,
        self.names = names  # and those that exist in its place


@dataclass(frozen=True, eq=False)
class Module:
    """A module's source; `package` is what its relative imports start from."""

    name: str
    package: str
    names: dict[str, ast.AST]  # what its top level defines or imports
    stars: tuple[ast.ImportFrom, ...]


@functools.cache
def signature(target: str) -> Signature | None:
    """Return what the class or function of an import path takes; None if no source tells.

    Raises:
        NoSuchTargetError: there is none at this path.
    """
    definition = _locate(target)
    if definition is None:
        return None
    module, node = definition
    if isinstance(node, ast.ClassDef):
        return _constructor(module, node)
    if isinstance(node, Function):
        return _parameters(module, node)
    return None


def _locate(target: str) -> tuple[Module, ast.AST] | None:
    """Return the definition at an import path, and the module that it is in."""
    parts = target.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise NoSuchTargetError("is not the import path of a class")
    for length in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:length])
        if not _exists(name):
            continue
        module = _module(name)
        if module is None:
            return None  # no Python source, such as a compiled module
        definition = _lookup(module, parts[length])
        for part in parts[length + 1 :]:
            if definition is None or not isinstance(definition[1], ast.ClassDef):
                return None
            members = {
                child.name: child
                for child in definition[1].body
                if isinstance(child, ast.ClassDef | Function)
            }
            if part not in members:
                return None  # a base may have it, such as `from_pretrained`
            definition = definition[0], members[part]
        # Some modules define names at run time.
        if definition is None and not module.stars and "__getattr__" not in module.names:
            missing = parts[length]
            raise NoSuchTargetError(f"{name} has no {missing}", missing, _offered(module))
        return definition
    raise NoSuchTargetError(f"no module {parts[0]}; if it is a package: uv add {parts[0]}")


def _offered(module: Module) -> tuple[str, ...]:
    """Return what a module has for others: what it defines, imports from its package, or lists."""
    package = module.name.partition(".")[0]
    names = [
        name
        for name, node in module.names.items()
        if isinstance(node, ast.ClassDef | Function)
        or (isinstance(node, ast.ImportFrom) and _source(module, node).split(".")[0] == package)
    ]
    listed = module.names.get("__all__")
    if isinstance(listed, ast.List | ast.Tuple):
        names += [str(item.value) for item in listed.elts if isinstance(item, ast.Constant)]
    return tuple(name for name in dict.fromkeys(names) if not name.startswith("_"))


@functools.cache
def _path(name: str) -> Path | None:
    """Return the file or the folder of a module, without importing its package."""
    top, _, rest = name.partition(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return None
    folders = [Path(folder) for folder in spec.submodule_search_locations or []]
    if not rest:
        return folders[0] if folders else Path(spec.origin) if spec.origin else None
    for folder in folders:
        path = folder.joinpath(*rest.split("."))
        for candidate in (path, path.with_name(f"{path.name}.py")):
            if candidate.exists():
                return candidate
        for compiled in path.parent.glob(f"{path.name}.*"):
            if compiled.suffix in (".so", ".pyd"):
                return compiled
    return None


def _exists(name: str) -> bool:
    return _path(name) is not None


@functools.cache
def _module(name: str) -> Module | None:
    """Read a module; None if there is no source of it."""
    path = _path(name)
    if path is None:
        return None
    is_package = path.is_dir()
    file = path / "__init__.py" if is_package else path
    if file.suffix != ".py" or not file.exists():
        return None
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError:
        return None  # said by whoever imports it
    names: dict[str, ast.AST] = {}
    stars = []
    not_run = {
        node
        for branch in tree.body
        if isinstance(branch, ast.If) and _name(branch.test) == "TYPE_CHECKING"
        for node in branch.body
    }
    for node in _statements(tree.body):
        if isinstance(node, ast.ClassDef | Function):
            names[node.name] = node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                if alias.name == "*" and node in not_run:
                    names["__getattr__"] = node  # such as transformers: names are made when used
                elif alias.name == "*" and isinstance(node, ast.ImportFrom):
                    stars.append(node)
                else:
                    names.setdefault((alias.asname or alias.name).partition(".")[0], node)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for assigned in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(assigned, ast.Name) and node.value:
                    names[assigned.id] = node.value
    return Module(name, name if is_package else name.rpartition(".")[0], names, tuple(stars))


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a module's top level, those in `if` and `try` included."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try):
            yield from _statements(node.body)
            yield from _statements(node.orelse)
        if isinstance(node, ast.Try):
            for handler in node.handlers:
                yield from _statements(handler.body)


def _lookup(module: Module, name: str, depth: int = DEPTH) -> tuple[Module, ast.AST] | None:
    """Return what a name of a module is defined as, wherever it is imported from."""
    node = module.names.get(name)
    if depth and isinstance(node, ast.ImportFrom):
        source = _source(module, node)
        original = next(a.name for a in node.names if (a.asname or a.name) == name)
        imported_from = _module(source)
        if imported_from and (definition := _lookup(imported_from, original, depth - 1)):
            return definition
        submodule = _module(f"{source}.{original}")
        return (submodule, ast.Module([], [])) if submodule else None
    if isinstance(node, ast.Import):
        alias = next(a for a in node.names if (a.asname or a.name).partition(".")[0] == name)
        imported = _module(alias.name if alias.asname else name)
        return (imported, ast.Module([], [])) if imported else None
    if isinstance(node, ast.Name) and depth and node.id != name:
        return _lookup(module, node.id, depth - 1) or (module, node)
    if node is not None:
        return module, node
    for star in module.stars if depth else ():
        source_module = _module(_source(module, star))
        if source_module and (definition := _lookup(source_module, name, depth - 1)):
            return definition
    return None


def _source(module: Module, node: ast.ImportFrom) -> str:
    """Return the absolute name of the module that a `from … import` names."""
    if not node.level:
        return node.module or ""
    parts = module.package.split(".")
    parts = parts[: len(parts) - node.level + 1]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _reference(module: Module, node: ast.AST) -> tuple[Module, ast.AST] | None:
    """Return what an expression such as `Tensor` or `nn.Module` is defined as."""
    if isinstance(node, ast.Name):
        return _lookup(module, node.id)
    owner = _reference(module, node.value) if isinstance(node, ast.Attribute) else None
    if isinstance(node, ast.Attribute) and owner and isinstance(owner[1], ast.Module):
        return _lookup(owner[0], node.attr)
    return None


def _constructor(module: Module, node: ast.ClassDef, depth: int = DEPTH) -> Signature | None:
    """Return what a class takes, by its own `__init__` or that of the first base that has one."""
    for child in node.body:
        if isinstance(child, Function) and child.name in ("__init__", "__new__"):
            return _parameters(module, child, bound=True)
    if node.decorator_list:
        return None  # a dataclass, or what else makes its constructor
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in ("object", "ABC", "Protocol"):
            continue
        generic = base.value if isinstance(base, ast.Subscript) else base
        definition = _reference(module, generic) if depth else None
        if definition is None or not isinstance(definition[1], ast.ClassDef):
            return None
        taken = _constructor(definition[0], definition[1], depth - 1)
        if taken is None or taken.parameters or taken.takes_others:
            return taken
    return Signature({})


def _parameters(module: Module, node: Function, bound: bool = False) -> Signature:
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    required = len(positional) - len(arguments.defaults)
    declared = [(argument, index < required) for index, argument in enumerate(positional)][bound:]
    keywords = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    declared += [(argument, default is None) for argument, default in keywords]
    parameters = {
        argument.arg: Parameter(functools.partial(_type, module, argument.annotation), required)
        for argument, required in declared
    }
    return Signature(parameters, takes_others=arguments.kwarg is not None)


def _type(module: Module, node: ast.AST | None, depth: int = DEPTH) -> Any:
    """Return an annotation as a type; `Made` for what YAML has no value of, `Any` for any."""
    if node is None or not depth:
        return Any
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            try:
                return _type(module, ast.parse(node.value, mode="eval").body, depth - 1)
            except SyntaxError:
                return Any
        return type(None) if node.value is None else Any
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _union(_type(module, node.left, depth), _type(module, node.right, depth))
    if isinstance(node, ast.Subscript):
        items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        return _generic(module, _name(node.value), [*items], depth)
    if isinstance(node, ast.Name | ast.Attribute):
        return _named(module, node, depth)
    return Any


def _named(module: Module, node: ast.Name | ast.Attribute, depth: int) -> Any:
    name, package = _name(node), _package(module, node)
    if package == "torch":
        return Made  # to read its 3,000 lines takes longer than all others
    if package in sys.stdlib_module_names:
        return Any if name == "Any" else _generic(module, name, [], depth)
    reference = _reference(module, node)
    if reference is None:
        if name in SCALARS:
            return SCALARS[name]
        return {"Any": Any, "object": Any}.get(name) or _generic(module, name, [], depth)
    where, definition = reference
    if isinstance(definition, ast.ClassDef):
        return Made
    return _type(where, definition, depth - 1)  # an alias, such as `Size = int | tuple[int, int]`


def _package(module: Module, node: ast.AST) -> str:
    """Return the name by which a type's package is imported: `torch` for `nn.Module`, or ""."""
    while isinstance(node, ast.Attribute):
        node = node.value
    imported = module.names.get(node.id) if isinstance(node, ast.Name) else None
    if isinstance(imported, ast.ImportFrom) and not imported.level:
        return (imported.module or "").removesuffix(".abc")
    if isinstance(imported, ast.Import) and isinstance(node, ast.Name):
        names = {alias.asname or alias.name.partition(".")[0]: alias for alias in imported.names}
        return names[node.id].name if node.id in names else ""
    return ""


def _generic(module: Module, name: str, items: list[ast.expr], depth: int) -> Any:
    """Return `name[items]` as a type."""
    if name in ("Literal", "Annotated") and items:
        if name == "Annotated":
            kind = _type(module, items[0], depth)
            limits = tuple(limit for item in items[1:] if (limit := _limit(module, item)))
            return Annotated[(kind, *limits)] if limits else kind
        values = [item.value for item in items if isinstance(item, ast.Constant)]
        return Literal[tuple(values)] if len(values) == len(items) else Any
    types = [_type(module, item, depth - 1) for item in items]
    if name == "Optional":
        return _union(*types, type(None))
    if name == "Union":
        return _union(*types)
    if name in SEQUENCES:
        return list[types[0] if types else Any]  # type: ignore[misc]
    if name in ("tuple", "Tuple"):
        if len(items) == 2 and isinstance(items[1], ast.Constant) and items[1].value is Ellipsis:
            return list[types[0]]  # type: ignore[valid-type]
        return tuple[tuple(types)] if types else list[Any]  # type: ignore[misc]
    if name in MAPPINGS:
        return dict[str, Any]
    return Made


def _union(*types: Any) -> Any:
    return Any if Any in types else Union[types]  # noqa: UP007  (of as many as there are)


def _limit(module: Module, node: ast.AST) -> Any:
    """Return `Ge(1)` or another limit of annotated-types as it is written; None for others."""
    if not isinstance(node, ast.Call):
        return None
    reference = _reference(module, node.func)
    if reference is None or reference[0].name != annotated_types.__name__:
        return None
    try:
        values = [ast.literal_eval(argument) for argument in node.args]
        keywords = {word.arg or "": ast.literal_eval(word.value) for word in node.keywords}
        return getattr(annotated_types, _name(node.func))(*values, **keywords)
    except (AttributeError, TypeError, ValueError):
        return None


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")
