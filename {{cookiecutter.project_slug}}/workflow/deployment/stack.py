"""A deployment on this machine: Compose runs its containers, a proxy is in front of them.

Whatever changes, a model, its image, how many replicas, goes the same way: the new containers
start beside the old, the proxy takes a config that names the new ones, and when it has answered
what it had passed to the old, those end. No request is lost. What fails before the proxy has
changed leaves everything as it was.
"""

import hashlib
import os
import shlex
import subprocess
from datetime import datetime

import docker
import msgspec
from docker.errors import ImageNotFound
from docker.models.containers import Container

from ..containers import engine, images
from ..containers.container import require_free
from ..errors import CommandError
from ..paths import MODEL, ROOT, SERVED
from ..serving import settings
from . import counts, proxy, releases, render, state
from .state import Deployment, Model

WAIT_SECONDS = 120  # the longest that a container may take until it answers
IMAGE_USER = "1000:1000"  # of docker/serve.Dockerfile


def up(
    client: docker.DockerClient,
    models: str | None,
    *,
    scale: int | None = None,
    port: int | None = None,
    address: str | None = None,
) -> Deployment:
    """Deploy models, from images of the code as it is now, and return what is deployed.

    Args:
        models: NAME=SOURCE of each, or the NAME of one that is deployed already, with commas
            between; None: those that are deployed, or the exported model if none is.
        scale, port, address: None: as before.

    Raises:
        CommandError: nothing has changed.
    """
    put_back(client)
    old = state.load() or Deployment()
    new = msgspec.structs.replace(
        old,
        scale=old.scale if scale is None else scale,
        port=old.port if port is None else port,
        address=old.address if address is None else address,
    )
    if new.scale < 1:
        raise CommandError(f"--scale={new.scale}: a model needs at least one replica")
    requested = releases.requested(
        models or ",".join(old.models) or f"model={MODEL.as_posix()}", old
    )
    running = proxy.find(client, project())
    if running is None or new.port != old.port:
        require_free(client, new.port)
    targets = (settings.load().image, "web")
    for target in targets:
        images.build(target)
    serve, web = (str(client.images.get(images.name_of(name)).id) for name in targets)
    deployed = {
        name: releases.promoted(old.models.get(name), msgspec.structs.replace(release, image=serve))
        for name, release in requested.items()
    }
    for name, model in old.models.items():
        if model.canary and deployed.get(name, model).canary != model.canary:
            fix = f"inv deploy.promote {name}, or inv deploy.rollback {name}"
            raise CommandError(f"{name} has a canary, which would be lost: {fix}")
    processors = int(client.info()["NCPU"])
    new = msgspec.structs.replace(
        new, processors=processors, user=user(client), web=web, models=deployed
    )
    converge(client, new)
    return new


def promote(
    client: docker.DockerClient, name: str, source: str | None = None, weight: int | None = None
) -> Model:
    """Give a model's requests to another release, or a part of them to a canary.

    Args:
        source: of the new release; None: the canary's, or, without one, what the source of the
            stable release is by now.
        weight: percent of the requests, for a canary; None: all requests.

    Raises:
        CommandError: nothing has changed.
    """
    put_back(client)
    old, model = releases.deployed(name)
    if source is None and model.canary is not None:
        release = model.canary
    else:
        release = releases.make(f"{name}={source or model.stable.source}", model.stable.image)
    if releases.same(release, model.stable):
        raise CommandError(f"{name} is version {release.version} already")
    if weight is None:
        new = releases.promoted(model, release)
    elif 0 < weight < 100:
        new = msgspec.structs.replace(model, canary=release, weight=weight)
    else:
        raise CommandError(f"--weight={weight}: a canary gets 1 to 99 percent of the requests")
    converge(client, releases.replaced(old, name, new))
    return new


def rollback(client: docker.DockerClient, name: str) -> Model:
    """Take a model's canary back, or, without one, its last promotion.

    Raises:
        CommandError: nothing has changed.
    """
    interrupted = put_back(client)
    old, model = releases.deployed(name)
    if interrupted:
        return model  # the last promotion was the one that did not come to its end
    if model.canary is not None:
        new = msgspec.structs.replace(model, canary=None, weight=0)
    elif model.earlier:
        *earlier, stable = model.earlier
        new = Model(stable, earlier=tuple(earlier))
    else:
        raise CommandError(f"{name} has no earlier release: {model.stable.version} was its first")
    try:
        client.images.get(new.stable.image)
    except ImageNotFound:
        raise CommandError(
            f"the image of {name}'s earlier release is gone: inv deploy.promote {name} "
            f"--source={new.stable.source} serves its model from the current image"
        ) from None
    converge(client, releases.replaced(old, name, new))
    return new


def down(client: docker.DockerClient) -> None:
    """End all containers; what was deployed is kept, for the next `up`."""
    if not render.COMPOSE_FILE.exists():
        raise CommandError("nothing was deployed from this folder")
    if running := proxy.find(client, project()):
        counts.keep(running)
    compose("down", "--remove-orphans")


def logs(follow: bool) -> None:
    """Show what the containers printed."""
    if not render.COMPOSE_FILE.exists():
        raise CommandError("nothing was deployed from this folder")
    compose("logs", "--tail=100", *(["--follow"] if follow else []))


def converge(client: docker.DockerClient, new: Deployment) -> None:
    """Make the containers and the proxy those of `new`.

    Raises:
        CommandError: a container does not answer, or the proxy refuses its config; everything is
            as it was.
    """
    after = render.services(new)
    before = render.COMPOSE_FILE.read_text("utf-8") if render.COMPOSE_FILE.exists() else ""
    running = proxy.find(client, project())
    SERVED.mkdir(parents=True, exist_ok=True)
    if new.user == IMAGE_USER and hasattr(os, "chown"):
        os.chown(SERVED, *map(int, IMAGE_USER.split(":")))
    interrupted = state.is_interrupted()
    state.start_change(new)
    state.write(render.COMPOSE_FILE, render.compose_file(new))
    try:
        start(*after)  # the proxy, which is not among these, still asks the old ones
        if running:
            counts.keep(running)  # with a new config, the proxy counts from zero
            proxy.reload(running, new)
        else:
            revision = proxy.write(new)
            start("--remove-orphans")
            proxy.wait_for(client, project(), revision)
    except CommandError as error:
        reason = why(client, {*after, "proxy"}) or str(error)
        if running:
            state.write(render.COMPOSE_FILE, before)
            compose("up", "--detach", "--no-recreate", "--remove-orphans")
        else:
            compose("down", "--remove-orphans")
        if not interrupted:
            state.PENDING.unlink()
        raise CommandError(f"nothing has changed: {reason}") from None
    if running:
        start("--remove-orphans")
    state.finish_change()


def put_back(client: docker.DockerClient) -> bool:
    """Restore what was deployed before an interrupted change, however far that had come.

    Returns:
        Whether there was one.

    Raises:
        CommandError: it does not answer.
    """
    if not state.is_interrupted():
        return False
    print("deploy: the last change was interrupted: restoring the previous deployment first")
    if old := state.load():
        converge(client, old)
    else:
        if render.COMPOSE_FILE.exists():
            compose("down", "--remove-orphans")
        state.PENDING.unlink()
    return True


def start(*what: str) -> None:
    """Start services, all or those that are named, and wait until they answer.

    Raises:
        CommandError: one does not.
    """
    options = ("--detach", "--quiet-pull", "--wait", f"--wait-timeout={WAIT_SECONDS}")
    compose("up", *options, *what)


def why(client: docker.DockerClient, services: set[str]) -> str | None:
    """Return what a container that does not answer printed; None if all do."""
    label = f"com.docker.compose.project={project()}"
    for container in client.containers.list(all=True, filters={"label": label}):
        service = container.labels["com.docker.compose.service"]
        state = container.attrs["State"]
        answers = state.get("Health", state)["Status"] in ("healthy", "running")
        if service in services and not answers:
            return f"{service} does not answer ({last_words(client, container)})"
    return None


def last_words(client: docker.DockerClient, container: Container) -> str:
    """Return what a container that has failed printed about it, or that it had no memory."""
    if ran_out_of_memory(client, container):
        return "out of memory: raise memory_mb or web_memory_mb in conf/serving/"
    lines = container.logs(tail=20).decode(errors="replace").splitlines()
    # HAProxy says first what is wrong; Python says it last.
    line = next((line for line in lines if "[ALERT]" in line), lines[-1] if lines else "")
    return line.strip() or "it printed nothing"


def ran_out_of_memory(client: docker.DockerClient, container: Container) -> bool:
    """Return whether a container did; its state forgets it at the next start."""
    since, until = (
        int(datetime.fromisoformat(text).timestamp())
        for text in (container.attrs["Created"], client.info()["SystemTime"])
    )
    only = {"container": container.id, "event": "oom"}
    return any(True for _ in client.events(since=since, until=until + 1, filters=only))


def compose(*arguments: str) -> None:
    """Run Docker Compose on what is deployed from this folder.

    Raises:
        CommandError: it failed.
    """
    file = render.COMPOSE_FILE.as_posix()
    command = ["docker", "compose", f"--project-name={project()}", f"--file={file}", *arguments]
    print(f"$ {shlex.join(command)}", flush=True)
    # A service may be missing in the file: not added yet, or removed.
    variables = {"COMPOSE_IGNORE_ORPHANS": str("--remove-orphans" not in arguments)}
    if subprocess.run(command, env={**os.environ, **variables}, check=False).returncode:
        raise CommandError("Compose could not do this: the lines above say why")


def project() -> str:
    """Return the name of the Compose project: another folder has another one."""
    folder = hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]
    return f"{images.project()['name']}-{folder}"


def user(client: docker.DockerClient) -> str:
    """Return "user:group" as whom services write their log: the caller, but not as root."""
    caller = engine.caller(client)
    is_root = hasattr(os, "getuid") and os.getuid() == 0
    return IMAGE_USER if is_root or not caller else caller
