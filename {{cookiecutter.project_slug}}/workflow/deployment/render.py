"""The Compose file and the proxy's config of a deployment.

A service of Compose is one container, and its name has a hash of all that it is made of: what
changes gets new containers, which start beside the old ones.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import jinja2
import yaml

from ..paths import DEPLOYED_MODELS, DEPLOYMENT, ROOT, SERVED
from ..serving import settings
from .state import Deployment, Release

COMPOSE_FILE = DEPLOYMENT / "compose.yaml"
COMPOSE_BASE = ROOT / "deploy" / "compose.yaml"
PROXY_FILE = DEPLOYMENT / "proxy" / "haproxy.cfg"
PROXY_TEMPLATE = ROOT / "deploy" / "haproxy.cfg.jinja"
METRICS_PORT = 8404  # of the proxy, as deploy/compose.yaml publishes it
DRAIN_SECONDS = 30  # how long an old config of the proxy may finish its requests


def services(deployment: Deployment) -> dict[str, Any]:
    """Return the services of the Compose file, by name, without the proxy."""
    web = web_service(deployment)
    by_name = {named("web", web): web}
    for name, model in deployment.models.items():
        for release in model.releases():
            for replica in replicas(deployment, name, release):
                by_name[replica] = model_service(deployment, name, release)
    return by_name


def model_service(deployment: Deployment, name: str, release: Release) -> dict[str, Any]:
    """Return the service of a model's replica."""
    serving = settings.load()
    return {
        **_extends("gpu-model" if serving.provider == "cuda" else "model"),
        "image": release.image,
        "user": deployment.user,
        "environment": {
            "MODEL_NAME": name,
            "MODEL_FILE": f"/models/{release.sha256}.onnx",
            "MODEL_SHA256": release.sha256,
            "SERVING_LOG_FOLDER": "/served",
        },
        # One computes with each thread and one reads and answers; the engine refuses more than
        # there are.
        "cpus": min(serving.threads + 1, deployment.processors),
        "mem_limit": f"{serving.memory_mb}m",
        "volumes": [_mount(DEPLOYED_MODELS, "/models"), _mount(SERVED, "/served", writable=True)],
    }


def web_service(deployment: Deployment) -> dict[str, Any]:
    """Return the service of the web application, which asks the models through the proxy."""
    addresses = ",".join(f"{name}=http://proxy:8001" for name in deployment.models)
    return {
        **_extends("web"),
        "image": deployment.web,
        "environment": {"MODELS": addresses},
        "mem_limit": f"{settings.load().web_memory_mb}m",
    }


def proxy_service(deployment: Deployment) -> dict[str, Any]:
    """Return the service of the proxy, whose config is mounted."""
    return {
        **_extends("proxy"),
        "ports": [f"{deployment.address}:{deployment.port}:8000"],
        "volumes": [_mount(PROXY_FILE.parent, "/etc/deploy")],
    }


def compose_file(deployment: Deployment) -> str:
    """Return the text of the Compose file."""
    every = {**services(deployment), "proxy": proxy_service(deployment)}
    return yaml.safe_dump({"services": every}, sort_keys=False)


def proxy_config(deployment: Deployment) -> tuple[str, str]:
    """Return the proxy's config, and the revision that it answers as soon as it is in force."""
    serving = settings.load()
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    template = environment.from_string(PROXY_TEMPLATE.read_text("utf-8"))
    models = [
        {
            "name": name,
            "servers": [
                {"service": service, "version": release.version, "weight": weight}
                for release, weight in model.releases().items()
                for service in replicas(deployment, name, release)
            ],
        }
        for name, model in deployment.models.items()
    ]
    releases = [
        f"{name}:{release.version}"
        for name, model in deployment.models.items()
        for release in model.releases()
    ]
    values = {
        "drain_seconds": DRAIN_SECONDS,
        "max_body_bytes": serving.max_body_bytes,
        "models": models,
        "names": " ".join(deployment.models),
        "releases": " ".join(releases),
        "timeout_ms": serving.timeout_ms,
        "web": named("web", web_service(deployment)),
    }
    revision = hashlib.sha256(template.render(values, revision="").encode()).hexdigest()[:12]
    return template.render(values, revision=revision), revision


def replicas(deployment: Deployment, name: str, release: Release) -> list[str]:
    """Return the names of a release's services."""
    service = named(name, model_service(deployment, name, release))
    return [f"{service}-{number + 1}" for number in range(deployment.scale)]


def named(name: str, service: dict[str, Any]) -> str:
    """Return the name of a service: `name`, and what it is made of."""
    base = yaml.safe_load(COMPOSE_BASE.read_text("utf-8"))  # a comment starts no new container
    text = json.dumps([service, base], sort_keys=True)
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _extends(service: str) -> dict[str, Any]:
    return {"extends": {"file": COMPOSE_BASE.as_posix(), "service": service}}


def _mount(folder: Path, target: str, writable: bool = False) -> dict[str, Any]:
    source = (ROOT / folder).as_posix()
    return {"type": "bind", "source": source, "target": target, "read_only": not writable}
