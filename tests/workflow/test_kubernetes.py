"""What a cluster is told: what is filled into deploy/kubernetes/."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from workflow.deployment import kubernetes, kustomize, pods
from workflow.errors import CommandError
from workflow.paths import ROOT
from workflow.serving import settings
from workflow.serving.sources import Located

MODELS = [Located(name, name, f"s3://bucket/{name}.onnx", "0" * 64) for name in ("cnn", "mlp")]
IMAGES = {name: f"registry.example.com:5000/{name}@sha256:{'1' * 64}" for name in ("serve", "web")}


@pytest.fixture
def serving() -> settings.Settings:
    return settings.load(ROOT / settings.FILE)


@pytest.fixture
def tree(tmp_path: Path, serving: settings.Settings) -> Path:
    """A filled tree, over one that was filled before."""
    for models in ([Located("old", "old", "s3://bucket/old.onnx", "0" * 64)], MODELS):
        kustomize.fill(ROOT / kubernetes.TREE, tmp_path / "tree", models, IMAGES, serving)
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
    values = literals(base)
    assert values["models"]["MODELS"] == "cnn=http://model-cnn:8000,mlp=http://model-mlp:8000"
    assert "SERVING_THREADS" in values["serving"]
    assert not {"SERVING_MAX_REPLICAS", "SERVING_MEMORY_MB"} & set(values["serving"])
    mlp = literals(read(tree / "base/models/mlp/kustomization.yaml"))["model"]
    assert mlp["MODEL_NAME"] == "mlp"
    assert mlp["MODEL_FILE"] == "s3://bucket/mlp.onnx"
    assert [path.name for path in sorted((tree / "base/models").iterdir())] == ["cnn", "mlp"]


def test_models_on_a_gpu_have_one_each(tmp_path: Path, serving: settings.Settings) -> None:
    on_gpu = replace(serving, provider="cuda")
    assert (serving.image, on_gpu.image) == ("serve", "serve-gpu")
    for settings_, expected in ((serving, []), (on_gpu, ["../components/gpu"])):
        kustomize.fill(ROOT / kubernetes.TREE, tmp_path / "tree", MODELS, IMAGES, settings_)
        base = read(tmp_path / "tree/base/kustomization.yaml")
        assert base.get("components", []) == expected
        provider = literals(base)["serving"]["SERVING_PROVIDER"]
        assert provider == settings_.provider


def test_each_resource_is_there(tree: Path) -> None:
    for file in tree.rglob("kustomization.yaml"):
        content = read(file)
        for name in [*content.get("resources", []), *content.get("components", [])]:
            assert (file.parent / name).exists(), f"{file}: {name}"


def test_each_number_has_its_place(tree: Path, serving: settings.Settings) -> None:
    replacements = read(tree / "base/replacements.yaml")
    replacements += read(tree / "components/queue-depth/kustomization.yaml")["replacements"]
    placed = {replacement["source"]["fieldPath"] for replacement in replacements}
    numbers = kustomize.numbers(serving)
    assert placed == {f"data.{name}" for name in numbers}
    for folder in (ROOT / kubernetes.TREE, tree):  # stand-ins, and what took their place
        assert set(literals(read(folder / "base/kustomization.yaml"))["numbers"]) == set(numbers)


def test_an_unknown_environment_lists_those_there_are() -> None:
    with pytest.raises(CommandError, match="no environment `prod`: choose one of production, stag"):
        kubernetes.render("prod", ["model=models/model.onnx"])


# What a cluster says of pods, as `kubectl get --output=json` has it


def rollout(new: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    """A Deployment whose old pod crashed, as its new one does, or not."""
    revision = pods.REVISION
    deployment = {
        "kind": "Deployment",
        "metadata": {"name": "model-cnn", "generation": 2, "annotations": {revision: "2"}},
        "status": {"observedGeneration": 2, **more},
    }
    objects = [deployment]
    for number, status in (
        ("1", {"containerStatuses": [container(ended("of before"))]}),
        ("2", new),
    ):
        labels = {pods.HASH: f"hash{number}"}
        replicas = {
            "name": f"model-cnn-{number}",
            "labels": labels,
            "annotations": {revision: number},
        }
        objects.append({"kind": "ReplicaSet", "metadata": replicas, "status": {}})
        pod = {"name": f"model-cnn-{number}-abcde", "labels": labels}
        objects.append({"kind": "Pod", "metadata": pod, "status": status})
    return objects


def container(last: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A container that waits for its next start after it has ended, or another state."""
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
    return {"ready": False, "restartCount": 2, "state": waiting, "lastState": last or {}, **more}


def ended(message: str, reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": 1, "reason": reason, "message": message}}


def waits(reason: str, message: str = "") -> dict[str, Any]:
    return {"restartCount": 0, "state": {"waiting": {"reason": reason, "message": message}}}


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        (
            container(ended("INFO\nserve: no such model\n\n")),
            ("Error", "serve: no such model", True),
        ),
        (container(ended("serve: no", "Error"), restartCount=0), ("Error", "serve: no", False)),
        (
            container(restartCount=0, state=ended("serve: no"), lastState={}),
            ("Error", "serve: no", False),
        ),
        (container(ended("", "OOMKilled")), ("OOMKilled", pods.ADVICE["OOMKilled"], True)),
        (container(ended("")), ("Error", "exit code 1, and it printed nothing", True)),
        (
            container(**waits("ImagePullBackOff", "Back-off pulling image")),
            ("ImagePullBackOff", "Back-off pulling image", False),
        ),
        (container(**waits("ContainerCreating")), None),
        (container(restartCount=0, state={"running": {}}), None),
        (container(ended("serve: once"), ready=True, state={"running": {}}), None),
    ],
    ids=[
        "crashes",
        "first",
        "ended",
        "memory",
        "silent",
        "image",
        "created",
        "starts",
        "recovered",
    ],
)
def test_a_pod_says_why_it_does_not_start(
    container: dict[str, Any], expected: tuple[str, str, bool] | None
) -> None:
    seen = pods.troubles(rollout({"containerStatuses": [container]}))
    assert [(one.reason, one.message, one.is_final) for one in seen] == (
        [expected] if expected else []
    )
    assert {one.pod for one in seen} <= {"model-cnn-2-abcde"}


def test_a_pod_that_no_node_or_namespace_takes_says_why() -> None:
    full = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    full["message"] = "0/1 nodes are available: 1 Insufficient cpu."
    (trouble,) = pods.troubles(rollout({"conditions": [full]}))
    assert str(trouble).endswith("(Unschedulable): 0/1 nodes are available: 1 Insufficient cpu.")
    objects = rollout({})
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"}
    objects[3]["status"] = {"conditions": [{**failure, "message": "exceeded quota: ours"}]}
    assert [trouble.message for trouble in pods.troubles(objects)] == ["exceeded quota: ours"]


def test_a_cluster_that_has_not_looked_yet_says_nothing_of_the_new_pods() -> None:
    crashed = {"containerStatuses": [container(ended("of before"))]}
    assert pods.troubles(rollout(crashed, observedGeneration=1)) == []
