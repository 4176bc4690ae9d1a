"""The releases of models: which one is meant, and which one came before it."""

import msgspec

from ..errors import CommandError
from ..paths import DEPLOYED_MODELS
from ..serving import sources
from . import state
from .state import Deployment, Model, Release


def deployed(name: str) -> tuple[Deployment, Model]:
    """Return what is deployed, and a model of it."""
    deployment = state.load()
    if deployment is None or not deployment.models:
        raise CommandError("nothing is deployed: inv deploy.up")
    if name not in deployment.models:
        known = ", ".join(deployment.models)
        raise CommandError(f"{name} is not deployed: choose one of {known}, or inv deploy.up")
    return deployment, deployment.models[name]


def requested(models: str, deployment: Deployment) -> dict[str, Release]:
    """Return the release of each model of "NAME=SOURCE,NAME", by name, without an image."""
    parts = [part.strip() for part in models.split(",")]
    for name in [part for part in parts if "=" not in part]:
        if name not in deployment.models:
            known = ", ".join(deployment.models) or "none"
            raise CommandError(f"{name} is not deployed ({known} is): write {name}=FILE")
    parsable = [part if "=" in part else f"{part}=deployed" for part in parts]
    names = [sources.split(part)[0] for part in sources.parse_models(",".join(parsable))]
    return {
        name: make(part) if "=" in part else deployment.models[name].stable
        for name, part in zip(names, parts, strict=True)
    }


def make(argument: str, image: str = "") -> Release:
    """Fetch the model of "NAME=SOURCE" to where containers read it, and return its release."""
    stored = sources.fetch(argument, DEPLOYED_MODELS)
    return Release(stored.source, stored.commit, stored.sha256, image, stored.run)


def promoted(model: Model | None, release: Release) -> Model:
    """Return a model with another stable release; the previous one is the newest of `earlier`."""
    if model is None:
        return Model(release)
    if same(release, model.stable):
        return msgspec.structs.replace(model, stable=release)  # which may have another source
    return Model(release, earlier=(*model.earlier, model.stable))


def same(one: Release, other: Release) -> bool:
    """Return whether two releases answer alike."""
    return (one.sha256, one.image) == (other.sha256, other.image)


def replaced(deployment: Deployment, name: str, model: Model) -> Deployment:
    """Return a deployment in which one model is another one."""
    models = {**deployment.models, name: model}
    return msgspec.structs.replace(deployment, models=models)
