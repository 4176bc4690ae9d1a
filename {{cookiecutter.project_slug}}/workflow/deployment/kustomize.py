"""The input of Kustomize: deploy/kubernetes/ with models, images and limits filled in.

That tree is complete in itself, with stand-ins. A copy of it gets the models, the digests of the
images and the limits of conf/serving/ filled in; everything else is as it is in Git.
"""

import math
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from ..serving import settings
from ..serving.settings import Settings
from ..serving.sources import Located

MODEL_PORT = 8000  # of a model's Service
LEAVE_SECONDS = 30  # what a pod takes to end, beside its last requests: preStop is ten of them
# What only the cluster reads: a change of it starts no new pods.
SCALING = ("cpu_percent", "max_replicas", "min_replicas", "queue_per_replica", "scale_down_after_s")
RESOURCES = ("cpu_request_percent", "memory_mb", "web_memory_mb")


def fill(
    source: Path, tree: Path, models: list[Located], images: dict[str, str], serving: Settings
) -> None:
    """Make `tree` a copy of `source` for these models.

    Args:
        images: name@digest by the name that a Deployment of the base gives the image.
    """
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(source, tree)
    for model in models:
        write(tree / "base" / "models" / model.name / "kustomization.yaml", service(model))
    file = tree / "base" / "kustomization.yaml"
    base = yaml.safe_load(file.read_text(encoding="utf-8"))
    base["resources"].remove("model")
    base["resources"] += [f"models/{model.name}" for model in models]
    if serving.provider == "cuda":
        base["components"] = ["../components/gpu"]
    addresses = [f"{model.name}=http://model-{model.name}:{MODEL_PORT}" for model in models]
    values = {
        "serving": variables(serving),
        "models": {"MODELS": ",".join(addresses)},
        "numbers": numbers(serving),
    }
    for generator in base["configMapGenerator"]:
        generator["literals"] = literals(values[generator["name"]])
    for image in base["images"]:
        image["newName"], _, image["digest"] = images[image["name"]].partition("@")
    write(file, base)


def service(model: Located) -> dict[str, Any]:
    """Return the kustomization that makes the base `model` the service of one model."""
    values = {"MODEL_NAME": model.name, "MODEL_FILE": model.url, "MODEL_SHA256": model.sha256}
    instance = {"app.kubernetes.io/instance": model.name}
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["../../model"],
        "nameSuffix": f"-{model.name}",
        "labels": [{"pairs": instance, "includeSelectors": True}],
        "configMapGenerator": [{"name": "model", "literals": literals(values)}],
    }


def variables(serving: Settings) -> dict[str, Any]:
    """Return the variables of a service: the conf/serving/ in its image may be an older one."""
    return {
        f"{settings.PREFIX}{name.upper()}": value
        for name, value in asdict(serving).items()
        if name not in (*SCALING, *RESOURCES)
    }


def numbers(serving: Settings) -> dict[str, int | str]:
    """Return what base/replacements.yaml puts in its places.

    Processors are in thousandths, `250m`, memory in MiB, `512Mi`. The autoscaler aims at a fraction
    of a replica's threads, not of its request, which is less.
    """
    values: dict[str, int | str] = {
        "max_replicas": serving.max_replicas,
        "min_replicas": serving.min_replicas,
        "queue_per_replica": serving.queue_per_replica,
        "scale_down_after_s": serving.scale_down_after_s,
        "termination_grace_s": LEAVE_SECONDS + math.ceil(serving.timeout_ms / 1000),
    }
    services = (("", serving.threads, serving.memory_mb), ("web_", 1, serving.web_memory_mb))
    for service, threads, memory_mb in services:
        values[f"{service}cpu_request"] = f"{10 * threads * serving.cpu_request_percent}m"
        values[f"{service}cpu_target"] = f"{10 * threads * serving.cpu_percent}m"
        values[f"{service}memory_limit"] = f"{memory_mb}Mi"
        values[f"{service}memory_request"] = f"{math.ceil(memory_mb / 2)}Mi"
    return values


def literals(values: dict[str, Any]) -> list[str]:
    """Return the content of a ConfigMap as its generator takes it."""
    return [f"{name}={value}" for name, value in values.items()]


def write(file: Path, kustomization: dict[str, Any]) -> None:
    """Write a kustomization."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(kustomization, sort_keys=False)
    file.write_text(text, encoding="utf-8", newline="\n")
