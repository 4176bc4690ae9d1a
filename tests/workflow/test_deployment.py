"""What Compose and the proxy are told of a deployment, and what is kept of it."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from workflow.deployment import counts, releases, render, state, status
from workflow.deployment.counts import Count
from workflow.deployment.state import Deployment, Model, Release
from workflow.errors import CommandError
from workflow.paths import ROOT

FIRST = Release("models/model.onnx", None, "a" * 64, "sha256:1")
OTHER = Release("models/model.onnx@v2", "c" * 40, "b" * 64, "sha256:1")


@pytest.fixture
def deployment() -> Deployment:
    """One model with two replicas, a quarter of its requests for a canary."""
    models = {"digits": Model(FIRST, canary=OTHER, weight=25)}
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
    servers = re.findall(r"server (\w+)_(digits-\S+) \S+:8000 weight (\d+)", config)
    for release in (FIRST, OTHER):  # each can be asked alone too
        _, _, own = config.partition(f"backend model-digits:{release.version}\n")
        own, _, _ = own.partition("\nbackend ")
        assert re.findall(r"server (\w+)_", own) == [release.version] * 2
    assert sorted((version, int(weight)) for version, _, weight in servers) == [
        *[(FIRST.version, 75)] * 2,
        *[(OTHER.version, 25)] * 2,
    ]
    assert {name for _, name, _ in servers} < set(render.services(deployment))
    assert f'string "{revision}"' in config


def test_what_changes_gets_containers_of_its_own(deployment: Deployment) -> None:
    before = set(render.services(deployment))
    rebuilt = msgspec.structs.replace(FIRST, image="sha256:3")
    models = {"digits": Model(rebuilt), "more": Model(FIRST)}
    after = set(render.services(msgspec.structs.replace(deployment, models=models)))
    assert before.isdisjoint(after)  # the web application has another list of models too
    assert render.proxy_config(deployment)[1] == render.proxy_config(deployment)[1]


def test_a_model_may_use_what_its_settings_say_and_the_machine_has(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVING_THREADS", "4")
    monkeypatch.setenv("SERVING_MEMORY_MB", "300")
    for processors, expected in ((8, 5), (2, 2)):
        on = msgspec.structs.replace(deployment, processors=processors)
        service = render.model_service(on, "digits", FIRST)
        assert (service["cpus"], service["mem_limit"]) == (expected, "300m")


def test_a_model_on_a_gpu_reserves_one(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = yaml.safe_load(render.COMPOSE_BASE.read_text("utf-8"))["services"]

    def devices() -> list[dict[str, Any]]:
        service = render.model_service(deployment, "digits", FIRST)
        extended = base[service["extends"]["service"]]
        reserved = extended.get("deploy", {}).get("resources", {}).get("reservations", {})
        assert extended["read_only"]
        return reserved.get("devices", [])

    assert devices() == []
    monkeypatch.setenv("SERVING_PROVIDER", "cuda")
    assert devices() == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]


def test_a_comment_replaces_no_container_and_a_limit_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "compose.yaml"
    text = render.COMPOSE_BASE.read_text("utf-8")
    monkeypatch.setattr(render, "COMPOSE_BASE", file)
    names = []
    for content in (text, f"# so\n{text}", text.replace("pids_limit: 512", "pids_limit: 64")):
        file.write_text(content, encoding="utf-8")
        names.append(render.named("web", {}))
    assert names[0] == names[1] != names[2]


def test_requests_of_replicas_and_configs_are_added_up() -> None:
    nine = {"stot": "9", "hrsp_5xx": "0"}
    rows = [  # the third: of a release that was asked by its version
        {"pxname": "model-cnn", "svname": f"{'a' * 12}_cnn-1", "stot": "3", "hrsp_5xx": "1"},
        {"pxname": "model-cnn", "svname": f"{'a' * 12}_cnn-2", "stot": "4", "hrsp_5xx": "0"},
        {"pxname": f"model-cnn:{FIRST.version}", "svname": f"{FIRST.version}_cnn-2"} | nine,
        {"pxname": "model-mlp", "svname": f"{'b' * 12}_mlp-1", "stot": "5", "hrsp_5xx": "0"},
    ]
    cnn, mlp = (counts.key(name, release) for name, release in (("cnn", FIRST), ("mlp", OTHER)))
    counted = counts.summed(rows)
    assert counted == {cnn: Count(16, 1), mlp: Count(5)}
    assert counts.added(counted, {cnn: Count(1, 1)}) == {cnn: Count(17, 2), mlp: Count(5)}


def test_a_release_is_identified_by_its_run_where_another_has_the_same_source() -> None:
    assert status.origin(FIRST) == "models/model.onnx"
    release = msgspec.structs.replace(FIRST, run="ab12cd34")
    assert status.origin(release) == "models/model.onnx (run ab12cd34)"
    release = msgspec.structs.replace(OTHER, run="ab12cd34")
    assert status.origin(release) == "models/model.onnx@v2 (commit ccccccc, run ab12cd34)"


def test_what_is_deployed_is_kept(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert state.load() is None
    state.start_change(deployment)
    state.finish_change()
    assert state.load() == deployment
    assert '"share": 25' in state.FILE.read_text(), "as in the files of earlier versions"
    assert [path.name for path in (tmp_path / ".deploy").iterdir()] == ["state.json"]


def test_a_promotion_remembers_what_was_before() -> None:
    assert releases.promoted(None, FIRST) == Model(FIRST)
    model = releases.promoted(Model(FIRST), OTHER)
    assert (model.stable, model.earlier) == (OTHER, (FIRST,))
    assert releases.promoted(model, OTHER) == model
    elsewhere = msgspec.structs.replace(OTHER, source="models/other.onnx")
    assert releases.promoted(model, elsewhere) == Model(elsewhere, earlier=(FIRST,))


def test_a_name_alone_means_a_model_that_is_deployed(deployment: Deployment) -> None:
    assert releases.requested("digits", deployment) == {"digits": FIRST}
    with pytest.raises(CommandError, match=r"other is not deployed \(digits is\)"):
        releases.requested("digits,other", deployment)
