"""A deployment on Kubernetes: one file, for `kubectl apply` or for a GitOps repository."""

import shutil
from pathlib import Path
from typing import Any

import docker
import yaml
from docker.errors import APIError, ImageNotFound, NotFound

from ..containers import engine, images
from ..errors import CommandError, one_line
from ..paths import DEPLOYMENT, ROOT
from ..serving import settings, sources
from ..serving.sources import Located
from ..serving.store import shown
from . import kubectl, kustomize, rollout, state

TREE = Path("deploy/kubernetes")
RENDERED = DEPLOYMENT / "kubernetes"


def render(environment: str, models: list[str]) -> Path:
    """Write the file with which a cluster serves models in an environment, and return it.

    Args:
        environment: a folder of deploy/kubernetes/environments/.
        models: each as NAME=SOURCE.

    Raises:
        CommandError: the file is as it was before.
    """
    known = sorted(path.name for path in (ROOT / TREE / "environments").iterdir() if path.is_dir())
    if environment not in known:
        raise CommandError(f"no environment `{environment}`: choose one of {', '.join(known)}")
    kubectl.require()
    serving = settings.load()
    located = [locate(model) for model in models]
    client = engine.connect()
    references = {"serve": pushed(client, serving.image), "web": pushed(client, "web")}
    tree = RENDERED / environment
    kustomize.fill(ROOT / TREE, ROOT / tree, located, references, serving)
    text = kubectl.run("kustomize", (tree / "environments" / environment).as_posix())
    file = RENDERED / f"{environment}.yaml"
    state.write(ROOT / file, f"# Written by: inv deploy.render {environment}\n{text}")
    return file


def apply(environment: str, models: list[str]) -> None:
    """Render, apply to the cluster of kubectl's context, and wait until the new pods answer.

    Raises:
        CommandError: the cluster refused it, or pods do not answer.
    """
    file = render(environment, models)
    objects = list(yaml.safe_load_all((ROOT / file).read_text(encoding="utf-8")))
    namespaces = {item["metadata"].get("namespace", "") for item in objects}
    where = (TREE / "environments" / environment / "kustomization.yaml").as_posix()
    if len(namespaces) > 1 or "" in namespaces:
        raise CommandError(f"{where}: set `namespace`")
    (namespace,) = namespaces
    require_namespace(namespace)
    require_ingress_class(objects, where)
    if shutil.which("diff"):  # which kubectl runs
        kubectl.show("diff", f"--filename={file.as_posix()}", fine=(0, 1))
    kubectl.show("apply", f"--filename={file.as_posix()}")
    for deployment in (item for item in objects if item["kind"] == "Deployment"):
        rollout.wait(deployment, namespace)


def locate(argument: str) -> Located:
    """Return where a cluster finds the model of "NAME=SOURCE".

    Raises:
        CommandError: there is no such model, no cluster reaches it, or its address holds what may
            be secret.
    """
    model = sources.locate(argument)
    if model.url != shown(model.url):
        raise CommandError(
            f"{shown(model.url)}: leave user, password and query out of the address: a cluster "
            "has credentials in its secret `model-storage`"
        )
    return model


def pushed(client: docker.DockerClient, target: str) -> str:
    """Return name@digest of an image, as a cluster pulls it.

    Raises:
        CommandError: there is no such target or image, or its registry does not have it.
    """
    name = images.name_of(target)
    fix = f"inv docker.push --image {target}"
    try:
        image = client.images.get(name)
    except ImageNotFound:
        raise CommandError(f"there is no {name}: {fix}") from None
    reference = images.pushed_reference(image, name)
    try:
        if reference is None:
            raise NotFound("no digest")
        client.images.get_registry_data(reference)  # some engines give a digest before any push
    except NotFound:
        raise CommandError(f"{name} was never pushed, and no cluster can pull it: {fix}") from None
    except APIError as error:
        why = one_line(error.explanation)
        raise CommandError(f"the registry of {name} does not say what it has: {why}") from None
    return reference


def require_namespace(namespace: str) -> None:
    """Say which cluster this is for; CommandError if none answers, or it has no such namespace."""
    try:
        cluster = f"the cluster of context {kubectl.run('config', 'current-context').strip()}"
    except CommandError:
        cluster = "a cluster, as kubectl has no context (kubectl config use-context NAME)"
    try:
        kubectl.run("get", "namespace", namespace, "--output=name", "--request-timeout=20s")
    except CommandError as problem:
        if "(NotFound)" in str(problem):
            fix = f"kubectl create namespace {namespace}"
            raise CommandError(f"{cluster} has no namespace {namespace}: {fix}") from None
        if "(Forbidden)" not in str(problem):  # who may change it may not always look at it
            raise CommandError(f"no answer from {cluster}: {problem}") from None
    print(f"deploy: to {cluster}, namespace {namespace}", flush=True)


def require_ingress_class(objects: list[dict[str, Any]], where: str) -> None:
    """Raise CommandError where the cluster has no such class: nothing would pass requests on."""
    classes = {
        item["spec"].get("ingressClassName") for item in objects if item["kind"] == "Ingress"
    }
    for name in sorted(classes - {None}):
        try:
            kubectl.run("get", "ingressclass", name, "--output=name", "--request-timeout=20s")
        except CommandError as problem:
            if "(NotFound)" not in str(problem):  # who may deploy may not always look at it
                continue
            raise CommandError(
                f"{where}: the cluster has no ingress class {name}: kubectl get ingressclass "
                "shows those that it has"
            ) from None
