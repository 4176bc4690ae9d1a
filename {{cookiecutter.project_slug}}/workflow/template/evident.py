"""The answers that a project's own files show, where nothing recorded them.

Standard library only, so YAML is read line by line.
"""

import configparser
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KINDS = {"s3": "s3", "gs": "gcs", "azure": "azure", "ssh": "ssh"}
KINDS |= {"webdav": "webdav", "webdavs": "webdav"}
LICENSES = ("MIT", "Apache-2.0", "BSD-3-Clause")
# Where any version of the template wrote the version of Python; the first match counts.
PYTHONS = {
    ".python-version": r"()(3\.\d+)",
    ".github/workflows/ci.yml": r'(UV_PYTHON: |python-version: )"?(3\.\d+)',
    ".gitlab-ci.yml": r"(python:)(3\.\d+)",
    "docker/docker-bake.hcl": r"(python:)(3\.\d+)",
}
BACKENDS = ("jax", "tensorflow", "torch")


def answers_of(project: Path) -> dict[str, str]:
    """Return the answers that can be read from a project's files; other questions are left out."""
    return dict(_answers(project))


def package_of(project: Path) -> str | None:
    """Return the name of a project's package; None where no file shows it."""
    listed = _toml(project).get("tool", {}).get("importlinter", {}).get("root_packages", [])
    packages = [name for name in listed if name != "workflow" and (project / name).is_dir()]
    packages += [path.parent.name for path in sorted(project.glob("*/train.py"))]
    return packages[0] if packages else None


def _answers(project: Path) -> Iterator[tuple[str, str]]:
    if title := re.match(r"# (.+)\n", _text(project / "README.md")):
        yield "project_name", title[1].strip()
    if package := package_of(project):
        yield "package_name", package
    yield from _metadata(_toml(project))
    if year := re.search(r"^ *Copyright (?:\(c\) )?(\d{4})\b", _text(project / "LICENSE"), re.M):
        yield "__year", year[1]
    for name, pattern in PYTHONS.items():
        if match := re.search(pattern, _text(project / name)):
            yield "python_version", match[2]
            break
    if framework := framework_of(project):
        yield "framework", framework
    yield from _remote(project / ".dvc" / "config")
    entity = yaml_value(_text(project / "conf/tracking/wandb.yaml"), "entity")
    if entity is not None:
        yield "wandb_entity", entity
    yield from _ci(project)


def _metadata(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    project = content.get("project", {})
    for key, question in {"name": "project_slug", "description": "description"}.items():
        if isinstance(project.get(key), str):
            yield question, project[key]
    for author in project.get("authors", [])[:1]:
        yield from (("author" if k == "name" else k, v) for k, v in author.items())
    if project.get("license") in LICENSES:
        yield "license", project["license"]
    elif any(one.startswith("Private ::") for one in project.get("classifiers", [])):
        yield "license", "proprietary"


def framework_of(project: Path) -> str | None:
    """Return the framework, by the config or else by the dependencies."""
    config = _text(project / "conf/config.yaml")
    framework, backend = yaml_value(config, "framework"), yaml_value(config, "backend")
    if framework is None:
        listed = _toml(project).get("project", {}).get("dependencies", [])
        needed = {re.split(r"[^A-Za-z0-9_.-]", one.strip())[0].lower() for one in listed}
        backend = next((name for name in BACKENDS if name in needed), "jax")
        order = {"keras": "keras", "torch": "pytorch", "lightning": "pytorch"}
        order |= {"tensorflow": "keras", "jax": "keras", "scikit-learn": "scikit-learn"}
        framework = next((kind for name, kind in order.items() if name in needed), None)
    return f"keras-{backend}" if framework == "keras" else framework


def _remote(config: Path) -> Iterator[tuple[str, str]]:
    parsed = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parsed.read_string(_text(config))
    except configparser.Error:
        return
    name = parsed.get("core", "remote", fallback="")
    url = _unquoted(parsed.get(f"'remote \"{name}\"'", "url", fallback=""))
    scheme, separator, _ = url.partition("://")
    if url and not separator:
        yield "dvc_remote", "local"
        yield "dvc_remote_url", url.removeprefix("../")  # DVC counts from .dvc/
    elif scheme in KINDS:
        yield "dvc_remote", KINDS[scheme]
        yield "dvc_remote_url", url


def _ci(project: Path) -> Iterator[tuple[str, str]]:
    gitlab = _text(project / ".gitlab-ci.yml")
    if (project / ".github/workflows").is_dir():
        is_weekly = (project / ".github/workflows/template-update.yml").exists()
        yield "ci", "github"
        yield "template_updates", "weekly" if is_weekly else "off"
    elif gitlab:
        yield "ci", "gitlab"
        yield "template_updates", "weekly" if "template-update" in gitlab else "off"
    else:
        yield "ci", "none"


def yaml_value(text: str, key: str) -> str | None:
    """Return the value of a top-level key of a YAML file; "" for null, None if it is missing."""
    match = re.search(rf"^{key}:[ \t]*(\"(?:[^\"\\]|\\.)*\"|[^#\n]*)", text, re.MULTILINE)
    if not match:
        return None
    value = _unquoted(match[1].strip())
    return "" if value in ("null", "~") else value


def _unquoted(value: str) -> str:
    if value.startswith('"') and value.endswith('"') and len(value) > 1:
        try:
            return str(json.loads(value))
        except ValueError:
            return value[1:-1]
    return value


def _toml(project: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(project / "pyproject.toml"))
    except tomllib.TOMLDecodeError:
        return {}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
