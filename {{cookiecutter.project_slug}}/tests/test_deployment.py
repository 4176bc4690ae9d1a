"""What Compose and the proxy are told of a deployment, and what is kept of it."""

import re
from pathlib import Path

import msgspec
import pytest
import yaml

from {{ cookiecutter.package_name }}.deployment import releases, render, state
from {{ cookiecutter.package_name }}.deployment.errors import DeployError
from {{ cookiecutter.package_name }}.deployment.state import Deployment, Model, Release
from {{ cookiecutter.package_name }}.paths import ROOT

FIRST = Release("models/model.onnx", None, "a" * 64, "sha256:1")
OTHER = Release("models/model.onnx@v2", "c" * 40, "b" * 64, "sha256:1")


@pytest.fixture
def deployment() -> Deployment:
    """One model with two replicas, a quarter of its requests for a canary."""
    models = {"digits": Model(FIRST, canary=OTHER, share=25)}
    return Deployment(scale=2, web="sha256:2", models=models)


@pytest.fixture(autouse=True)
def in_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_each_replica_is_a_container_that_checks_its_model(deployment: Deployment) -> None:
    services = yaml.safe_load(render.compose_file(deployment))["services"]
    versions = {
        name: service["environment"]["MODEL_SHA256"][:12]
        for name, service in services.items()
        if name.startswith("digits-")
    }
    assert sorted(versions.values()) == [FIRST.version] * 2 + [OTHER.version] * 2
    assert all(service["extends"]["service"] for service in services.values())


def test_the_proxy_gives_each_release_its_share(deployment: Deployment) -> None:
    config, revision = render.proxy_config(deployment)
    found = re.findall(r"server (\w+)_(digits-\S+) \S+:8000 weight (\d+)", config)
    for release in (FIRST, OTHER):  # each can be asked alone too
        _, _, own = config.partition(f"backend model-digits:{release.version}\n")
        own, _, _ = own.partition("\nbackend ")
        assert re.findall(r"server (\w+)_", own) == [release.version] * 2
    assert sorted((version, int(weight)) for version, _, weight in found) == [
        *[(FIRST.version, 75)] * 2,
        *[(OTHER.version, 25)] * 2,
    ]
    assert {name for _, name, _ in found} < set(render.services(deployment))
    assert f'string "{revision}"' in config


def test_what_changes_gets_containers_of_its_own(deployment: Deployment) -> None:
    before = set(render.services(deployment))
    rebuilt = msgspec.structs.replace(FIRST, image="sha256:3")
    models = {"digits": Model(rebuilt), "more": Model(FIRST)}
    after = set(render.services(msgspec.structs.replace(deployment, models=models)))
    assert before.isdisjoint(after)  # the web application has another list of models too
    assert render.proxy_config(deployment)[1] == render.proxy_config(deployment)[1]


def test_what_is_deployed_is_kept(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert state.load() is None
    state.save(deployment)
    assert state.load() == deployment
    assert [path.name for path in (tmp_path / ".deploy").iterdir()] == ["state.json"]


def test_a_promotion_remembers_what_was_before() -> None:
    assert releases.promoted(None, FIRST) == Model(FIRST)
    model = releases.promoted(Model(FIRST), OTHER)
    assert (model.stable, model.earlier) == (OTHER, (FIRST,))
    assert releases.promoted(model, OTHER) == model


def test_a_name_alone_means_a_model_that_is_deployed(deployment: Deployment) -> None:
    assert releases.wanted("digits", deployment) == {"digits": FIRST}
    with pytest.raises(DeployError, match=r"other is not deployed \(digits is\)"):
        releases.wanted("digits,other", deployment)
