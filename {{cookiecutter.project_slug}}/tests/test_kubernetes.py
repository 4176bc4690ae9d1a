"""What a cluster is told: what is filled into deploy/kubernetes/."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from {{ cookiecutter.package_name }}.deployment import kubernetes, kustomize
from {{ cookiecutter.package_name }}.deployment.errors import DeployError
from {{ cookiecutter.package_name }}.deployment.sources import Located
from {{ cookiecutter.package_name }}.paths import ROOT
from {{ cookiecutter.package_name }}.serving import settings

MODELS = [Located(name, name, f"s3://bucket/{name}.onnx", "0" * 64) for name in ("cnn", "mlp")]
IMAGES = {name: f"registry.example.com:5000/{name}@sha256:{'1' * 64}" for name in kubernetes.IMAGES}


@pytest.fixture
def chosen() -> settings.Settings:
    return settings.load(ROOT / settings.FILE)


@pytest.fixture
def tree(tmp_path: Path, chosen: settings.Settings) -> Path:
    """A filled tree, over one that was filled before."""
    for models in ([Located("old", "old", "s3://bucket/old.onnx", "0" * 64)], MODELS):
        kustomize.fill(ROOT / kubernetes.TREE, tmp_path / "tree", models, IMAGES, chosen)
    return tmp_path / "tree"


def read(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def literals(kustomization: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The content of each ConfigMap, by its name."""
    return {
        generator["name"]: dict(literal.split("=", 1) for literal in generator["literals"])
        for generator in kustomization["configMapGenerator"]
    }


def test_the_base_has_models_images_and_numbers(tree: Path) -> None:
    base = read(tree / "base/kustomization.yaml")
    assert [name for name in base["resources"] if "model" in name] == ["models/cnn", "models/mlp"]
    assert base["images"][0] == {
        "name": "serve",
        "newName": "registry.example.com:5000/serve",
        "digest": f"sha256:{'1' * 64}",
    }
    found = literals(base)
    assert found["models"]["MODELS"] == "cnn=http://model-cnn:8000,mlp=http://model-mlp:8000"
    assert "SERVING_THREADS" in found["serving"]
    assert "SERVING_MAX_REPLICAS" not in found["serving"]
    mlp = literals(read(tree / "base/models/mlp/kustomization.yaml"))["model"]
    assert mlp["MODEL_NAME"] == "mlp"
    assert mlp["MODEL_FILE"] == "s3://bucket/mlp.onnx"
    assert [path.name for path in sorted((tree / "base/models").iterdir())] == ["cnn", "mlp"]


def test_each_resource_is_there(tree: Path) -> None:
    for file in tree.rglob("kustomization.yaml"):
        content = read(file)
        for name in [*content.get("resources", []), *content.get("components", [])]:
            assert (file.parent / name).exists(), f"{file}: {name}"


def test_each_number_has_its_place(tree: Path, chosen: settings.Settings) -> None:
    replacements = read(tree / "base/replacements.yaml")
    replacements += read(tree / "components/queue-depth/kustomization.yaml")["replacements"]
    placed = {replacement["source"]["fieldPath"] for replacement in replacements}
    numbers = kustomize.numbers(chosen)
    assert placed == {f"data.{name}" for name in numbers}
    for folder in (ROOT / kubernetes.TREE, tree):  # stand-ins, and what took their place
        assert set(literals(read(folder / "base/kustomization.yaml"))["numbers"]) == set(numbers)


def test_an_unknown_environment_is_told_with_those_there_are() -> None:
    with pytest.raises(DeployError, match="no environment `prod`: choose one of production, stag"):
        kubernetes.render("prod", ["model=models/model.onnx"])
