"""A deployment on Kubernetes: one file, for `kubectl apply` or for a GitOps repository."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import docker
import yaml
from docker.errors import APIError, ImageNotFound, NotFound

from ..containers import engine, images
from ..paths import DEPLOYMENT, ROOT
from ..serving import settings
from ..serving.store import shown
from . import kustomize, sources, state
from .errors import DeployError
from .sources import Located

TREE = Path("deploy/kubernetes")
RENDERED = DEPLOYMENT / "kubernetes"
IMAGES = ("serve", "web")
OLDEST = (1, 27)  # the first kubectl with Kustomize 5
INSTALL = "https://kubernetes.io/docs/tasks/tools"


def render(environment: str, models: list[str]) -> Path:
    """Write all that a cluster is told for an environment to serve models, and return the file.

    Args:
        environment: a folder of deploy/kubernetes/environments/.
        models: each as NAME=SOURCE.

    Raises:
        DeployError, EngineError or SourceError: the file is as it was before.
    """
    known = sorted(path.name for path in (ROOT / TREE / "environments").iterdir() if path.is_dir())
    if environment not in known:
        raise DeployError(f"no environment `{environment}`: choose one of {', '.join(known)}")
    require_kubectl()
    try:
        chosen = settings.load()
    except settings.SettingsError as error:
        raise DeployError(str(error)) from None
    located = [locate(written) for written in models]
    client = engine.connect()
    references = {target: pushed(client, target) for target in IMAGES}
    tree = RENDERED / environment
    kustomize.fill(ROOT / TREE, ROOT / tree, located, references, chosen)
    text = kubectl("kustomize", (tree / "environments" / environment).as_posix())
    file = RENDERED / f"{environment}.yaml"
    state.write(ROOT / file, f"# Written by: inv deploy.render {environment}\n{text}")
    return file


def apply(environment: str, models: list[str]) -> None:
    """Render, tell the cluster of kubectl's context, and wait until the new pods answer.

    Raises:
        DeployError, EngineError or SourceError: the cluster did not take it, or pods do not answer.
    """
    file = render(environment, models)
    objects = list(yaml.safe_load_all((ROOT / file).read_text(encoding="utf-8")))
    namespaces = {found["metadata"].get("namespace", "") for found in objects}
    if len(namespaces) > 1 or "" in namespaces:
        where = (TREE / "environments" / environment / "kustomization.yaml").as_posix()
        raise DeployError(f"{where}: set `namespace`")
    (namespace,) = namespaces
    require_namespace(namespace)
    if shutil.which("diff"):  # which kubectl runs
        show("diff", f"--filename={file.as_posix()}", fine=(0, 1))
    show("apply", f"--filename={file.as_posix()}")
    here = f"--namespace={namespace}"
    for name in [found["metadata"]["name"] for found in objects if found["kind"] == "Deployment"]:
        try:
            show("rollout", "status", f"deployment/{name}", here)
        except DeployError:
            raise DeployError(
                f"{name}: its new pods do not answer, any old ones go on: kubectl describe pods "
                f"{here} says why, kubectl rollout undo deployment/{name} {here} takes them back"
            ) from None


def locate(written: str) -> Located:
    """Return where a cluster finds the model of "NAME=SOURCE".

    Raises:
        DeployError: its address holds what may be secret.
        SourceError: there is no such model, or no cluster reaches it.
    """
    model = sources.locate(written)
    if model.url != shown(model.url):
        raise DeployError(
            f"{shown(model.url)}: leave user, password and query out of the address: a cluster "
            "has credentials in its secret `model-storage`"
        )
    return model


def pushed(client: docker.DockerClient, target: str) -> str:
    """Return name@digest of an image, as a cluster pulls it.

    Raises:
        DeployError: there is no such image, or its registry does not have it.
        EngineError: there is no such target.
    """
    name = images.name_of(target)
    mend = f"inv docker.push --image {target}"
    try:
        image = client.images.get(name)
    except ImageNotFound:
        build = f"inv docker.build --image {target}"
        raise DeployError(f"there is no {name}: {build}, then {mend}") from None
    reference = images.pushed_reference(image, name)
    try:
        if reference is None:
            raise NotFound("no digest")
        client.images.get_registry_data(reference)  # some engines give a digest before any push
    except NotFound:
        raise DeployError(f"{name} was never pushed, and no cluster can pull it: {mend}") from None
    except APIError as error:
        why = " ".join(str(error.explanation).split())
        raise DeployError(f"the registry of {name} does not say what it has: {why}") from None
    return reference


def require_kubectl() -> None:
    """Raise DeployError where there is no kubectl, or one whose Kustomize is too old."""
    if not shutil.which("kubectl"):
        raise DeployError(f"the command `kubectl` is missing: {INSTALL}")
    version = json.loads(kubectl("version", "--client", "--output=json"))["clientVersion"]
    found = re.match(r"v(\d+)\.(\d+)", version["gitVersion"])
    if found and (int(found[1]), int(found[2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise DeployError(f"kubectl {found[0]} is too old: install {oldest} or newer: {INSTALL}")


def require_namespace(namespace: str) -> None:
    """Say which cluster this is for; DeployError if none answers, or it has no such namespace."""
    try:
        cluster = f"the cluster of context {kubectl('config', 'current-context').strip()}"
    except DeployError:
        cluster = "a cluster, as kubectl has no context (kubectl config use-context NAME)"
    try:
        kubectl("get", "namespace", namespace, "--output=name", "--request-timeout=20s")
    except DeployError as problem:
        if "(NotFound)" in str(problem):
            mend = f"kubectl create namespace {namespace}"
            raise DeployError(f"{cluster} has no namespace {namespace}: {mend}") from None
        if "(Forbidden)" not in str(problem):  # who may change it may not always look at it
            raise DeployError(f"no answer from {cluster}: {problem}") from None
    print(f"deploy: to {cluster}, namespace {namespace}", flush=True)


def kubectl(*arguments: str) -> str:
    """Run kubectl in the project's folder and return what it printed.

    Raises:
        DeployError: with the last line of what it complained of.
    """
    done = subprocess.run(
        ["kubectl", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise DeployError(f"kubectl {arguments[0]}: {lines[-1].removeprefix('error: ')}")
    return done.stdout


def show(*arguments: str, fine: tuple[int, ...] = (0,)) -> None:
    """Show a command of kubectl and run it; what it prints goes to the terminal.

    Raises:
        DeployError: its exit code is none of `fine`.
    """
    command = ["kubectl", *arguments]
    print(f"$ {shlex.join(command)}", flush=True)
    if subprocess.run(command, cwd=ROOT, check=False).returncode not in fine:
        raise DeployError("the cluster did not take it: the lines above say why")
