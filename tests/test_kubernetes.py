"""`inv deploy.render` and `inv deploy.apply`: what a cluster would be told, without a cluster."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cluster_api
import pytest
import yaml
from driving import Project, environment, interpreter
from engine import PYTHON, answer, docker, free_port, inspect, registry, until
from kubernetes_tools import VALIDATORS, kubectl, problems

pytestmark = [pytest.mark.slow, pytest.mark.docker]

SLUG = "image-tests"
SHA256 = "0123456789abcdef" * 4
MODELS = (
    f"cnn=s3://bucket/cnn.onnx#sha256={SHA256},mlp=https://example.com/mlp.onnx#sha256={SHA256}"
)
ENVIRONMENTS = ["production", "staging"]
PART, NAME, INSTANCE = (f"app.kubernetes.io/{key}" for key in ("part-of", "name", "instance"))


@dataclass
class Cluster:
    """A project whose images a registry has."""

    project: Project
    address: str

    def deploy(self, action: str, *arguments: str, code: int = 0, **variables: str) -> str:
        """Run a task of `inv deploy`, with kubectl on the PATH; return what it printed."""
        variables = {**with_kubectl("1.37"), "KUBECONFIG": "/nowhere", **variables}
        return self.project.inv(f"deploy.{action}", *arguments, code=code, variables=variables)

    def render(self, name: str, models: str = MODELS, **variables: str) -> Path:
        """The file that is written for an environment."""
        printed = self.deploy("render", name, f"--models={models}", code=0, **variables)
        return self.project.path / printed.splitlines()[-1]

    def copy(self, folder: Path) -> Cluster:
        """The same images, and files that may be changed."""
        return Cluster(self.project.copy(folder), self.address)


def with_kubectl(release: str) -> dict[str, str]:
    """The PATH on which kubectl is of this release."""
    return {"PATH": f"{kubectl(release).parent}{os.pathsep}{environment(PYTHON)['PATH']}"}


class Objects(list[dict[str, Any]]):
    """What a file tells a cluster."""

    def __init__(self, file: Path) -> None:
        super().__init__(yaml.safe_load_all(file.read_text(encoding="utf-8")))

    def of(self, kind: str) -> dict[str, Any]:
        """Those of a kind, by their names."""
        return {found["metadata"]["name"]: found for found in self if found["kind"] == kind}

    def matched(self, selector: dict[str, Any] | None) -> set[str]:
        """The Deployments whose pods have these labels."""
        assert selector
        return {
            name
            for name, deployment in self.of("Deployment").items()
            if selector.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
        }

    def container(self, deployment: str) -> dict[str, Any]:
        """The one container of a Deployment's pods."""
        (found,) = self.of("Deployment")[deployment]["spec"]["template"]["spec"]["containers"]
        return found

    def variables(self, deployment: str) -> dict[str, str]:
        """What a container finds in its environment, without what is secret."""
        found: dict[str, str] = {}
        for source in self.container(deployment)["envFrom"]:
            if "configMapRef" in source:
                found |= self.of("ConfigMap")[source["configMapRef"]["name"]]["data"]
        return found


@pytest.fixture(scope="module")
def cluster(for_images: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A project that has pushed both images."""
    folder = tmp_path_factory.mktemp("kubernetes")
    project = for_images.copy(folder)
    with registry(folder) as address:
        with (project.path / ".env").open("a") as file:
            file.write(f"REGISTRY={address}/team\n")
        for image in ("serve", "web"):
            project.inv("docker.build", f"--image={image}")
            project.inv("docker.push", f"--image={image}")
        yield Cluster(project, address)
    label = f"label=org.opencontainers.image.title={SLUG}"
    tags = ("--filter=dangling=false", "--format={{.Repository}}:{{.Tag}}")
    docker("image", "rm", *docker("image", "ls", f"--filter={label}", *tags).split())
    docker("image", "prune", "--force", f"--filter={label}")


@pytest.fixture(scope="module", params=ENVIRONMENTS)
def rendered(request: pytest.FixtureRequest, cluster: Cluster) -> Path:
    """What is written for two models, in each environment."""
    return cluster.render(request.param)


@pytest.fixture
def objects(rendered: Path) -> Objects:
    return Objects(rendered)


# What is written


@pytest.mark.parametrize("release", VALIDATORS)
def test_every_release_knows_each_field(rendered: Path, release: str, tmp_path: Path) -> None:
    assert problems(release, rendered) == ""
    text = rendered.read_text(encoding="utf-8")
    fields = ["minReplicas", "readOnlyRootFilesystem", "policyTypes"]
    for field in fields:
        text = text.replace(f"{field}:", f"{field}Typo:")
    (tmp_path / "wrong.yaml").write_text(text, encoding="utf-8")
    found = problems(release, tmp_path / "wrong.yaml")
    assert [field for field in fields if f"{field}Typo" not in found] == []


def test_each_model_and_the_page_is_a_deployment(objects: Objects, cluster: Cluster) -> None:
    expected = {"model-cnn", "model-mlp", "web"}
    for kind in ("Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"):
        assert set(objects.of(kind)) == expected
    assert objects.variables("web")["MODELS"] == (
        "cnn=http://model-cnn:8000,mlp=http://model-mlp:8000"
    )
    given = objects.variables("model-mlp")
    assert given["MODEL_NAME"] == "mlp"
    assert given["MODEL_FILE"] == "https://example.com/mlp.onnx"
    assert given["MODEL_SHA256"] == SHA256
    assert objects.variables("model-cnn")["MODEL_FILE"] == "s3://bucket/cnn.onnx"


def test_images_are_those_of_the_registry_by_digest(objects: Objects, cluster: Cluster) -> None:
    for deployment in objects.of("Deployment"):
        image = objects.container(deployment)["image"]
        target = "web" if deployment == "web" else "serve"
        name, _, digest = image.partition("@")
        assert name == f"{cluster.address}/team/{SLUG}-{target}"
        request = urllib.request.Request(
            f"http://{cluster.address}/v2/team/{SLUG}-{target}/manifests/{digest}",
            headers={"Accept": "application/vnd.docker.distribution.manifest.v2+json"},
        )
        with urllib.request.urlopen(request) as got:
            assert digest == f"sha256:{hashlib.sha256(got.read()).hexdigest()}"


def test_numbers_are_those_of_conf(cluster: Cluster, tmp_path: Path) -> None:
    copy = cluster.copy(tmp_path)
    file = copy.project.path / "conf/serving/default.yaml"
    before = yaml.safe_load(file.read_text(encoding="utf-8"))
    changed = {"max_replicas": 7, "cpu_percent": 55, "timeout_ms": 90500}
    changed |= {"min_replicas": 3, "scale_down_after_s": 77, "threads": 2}
    changed |= {"cpu_request_percent": 40, "memory_mb": 2000, "web_memory_mb": 300}
    for conf in (before, before | changed):
        file.write_text(yaml.safe_dump(conf), encoding="utf-8")
        objects = Objects(copy.render("production"))
        for scaler in objects.of("HorizontalPodAutoscaler").values():
            spec = scaler["spec"]
            assert (spec["minReplicas"], spec["maxReplicas"]) == (
                conf["min_replicas"],
                conf["max_replicas"],
            )
            (metric,) = spec["metrics"]
            threads = 1 if scaler["metadata"]["name"] == "web" else conf["threads"]
            target = {"type": "AverageValue", "averageValue": f"{conf['cpu_percent'] * threads}0m"}
            assert metric["resource"]["target"] == target
            window = spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"]
            assert window == conf["scale_down_after_s"]
        for name, threads, key in (("model-cnn", "threads", ""), ("web", "", "web_")):
            asked = objects.container(name)["resources"]
            percent = conf["cpu_request_percent"] * conf.get(threads, 1)
            memory = conf[f"{key}memory_mb"]
            assert asked["requests"] == {"cpu": f"{percent}0m", "memory": f"{memory // 2}Mi"}
            assert asked["limits"] == {"memory": f"{memory}Mi"}
        assert objects.variables("model-cnn")["SERVING_TIMEOUT_MS"] == str(conf["timeout_ms"])
        for deployment in objects.of("Deployment").values():
            grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
            assert grace > 10 + conf["timeout_ms"] / 1000
            assert "replicas" not in deployment["spec"]  # which an apply would put back
    pods = [objects.of("Deployment")["model-cnn"]["spec"]["template"]]
    file.write_text(yaml.safe_dump(before | changed | {"max_replicas": 9}), encoding="utf-8")
    objects = Objects(copy.render("production"))
    pods.append(objects.of("Deployment")["model-cnn"]["spec"]["template"])
    assert pods[0] == pods[1]  # other bounds start no new pods


def test_two_replicas_of_each_and_a_rollout_fit_two_processors(cluster: Cluster) -> None:
    objects = Objects(cluster.render("production", f"cnn=s3://bucket/cnn.onnx#sha256={SHA256}"))
    before = after = 0
    for name, deployment in objects.of("Deployment").items():
        cpu = objects.container(name)["resources"]["requests"]["cpu"]
        replicas = objects.of("HorizontalPodAutoscaler")[name]["spec"]["minReplicas"]
        surge = deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
        assert replicas == 2
        before += int(cpu.removesuffix("m")) * replicas
        after += int(cpu.removesuffix("m")) * (replicas + surge)
    assert before <= 1000
    assert after <= 2000


def test_staging_is_smaller_and_elsewhere(cluster: Cluster) -> None:
    hosts, namespaces, most = set(), set(), {}
    for name in ENVIRONMENTS:
        objects = Objects(cluster.render(name))
        (ingress,) = objects.of("Ingress").values()
        (rule,) = ingress["spec"]["rules"]
        assert ingress["spec"]["tls"][0]["hosts"] == [rule["host"]]
        assert ingress["spec"]["ingressClassName"] == "nginx"
        hosts.add(rule["host"])
        (namespace,) = {found["metadata"]["namespace"] for found in objects}
        namespaces.add(namespace)
        scalers = objects.of("HorizontalPodAutoscaler")
        most[name] = scalers["model-cnn"]["spec"]["maxReplicas"]
    assert len(hosts) == 2
    assert namespaces == {f"{SLUG}-{name}" for name in ENVIRONMENTS}
    assert most["staging"] < most["production"]


def test_a_second_render_is_the_same(rendered: Path, cluster: Cluster) -> None:
    before = rendered.read_bytes()
    assert cluster.render(rendered.stem).read_bytes() == before


def test_the_oldest_kubectl_writes_the_same(cluster: Cluster, tmp_path: Path) -> None:
    copy = with_components(cluster, tmp_path, "gpu", "queue-depth")
    current = copy.render("production").read_bytes()
    assert copy.render("production", **with_kubectl("1.27")).read_bytes() == current
    printed = copy.deploy("render", "production", code=1, **with_kubectl("1.23"))
    assert last_line(printed).startswith("deploy: kubectl v1.23 is too old: install 1.27 or newer")


def test_a_commit_that_changes_no_image_rolls_nothing(cluster: Cluster, tmp_path: Path) -> None:
    before = cluster.render("production").read_bytes()
    copy = cluster.copy(tmp_path)
    (copy.project.path / "README.md").open("a").write("More.\n")
    copy.project.commit("Nothing of the images")
    for image in ("serve", "web"):
        copy.project.inv("docker.build", f"--image={image}")
    assert copy.render("production").read_bytes() == before


def test_no_model_of_an_earlier_render_is_left(cluster: Cluster) -> None:
    one = f"other=s3://bucket/other.onnx#sha256={SHA256}"
    assert set(Objects(cluster.render("staging", one)).of("Service")) == {"model-other", "web"}
    assert set(Objects(cluster.render("staging")).of("Service")) == {
        "model-cnn",
        "model-mlp",
        "web",
    }


def test_the_tree_in_git_builds_by_itself(cluster: Cluster, tmp_path: Path) -> None:
    for name in ENVIRONMENTS:
        folder = cluster.project.path / "deploy/kubernetes/environments" / name
        done = subprocess.run([kubectl(), "kustomize", folder], capture_output=True, check=True)
        (tmp_path / "built.yaml").write_bytes(done.stdout)
        assert {"model", "web"} == set(Objects(tmp_path / "built.yaml").of("Deployment"))
        assert problems("1.37", tmp_path / "built.yaml") == ""


# Who selects whom


def test_selectors_match_the_pods_that_are_meant(objects: Objects) -> None:
    for name in objects.of("Deployment"):
        spec = objects.of("Deployment")[name]["spec"]
        assert objects.matched(spec["selector"]["matchLabels"]) == {name}
        for spread in spec["template"]["spec"]["topologySpreadConstraints"]:
            assert objects.matched(spread["labelSelector"]["matchLabels"]) == {name}
        assert objects.matched(objects.of("Service")[name]["spec"]["selector"]) == {name}
        budget = objects.of("PodDisruptionBudget")[name]["spec"]["selector"]["matchLabels"]
        assert objects.matched(budget) == {name}
        target = objects.of("HorizontalPodAutoscaler")[name]["spec"]["scaleTargetRef"]
        assert target == {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}


def test_services_and_the_ingress_name_ports_that_are_there(objects: Objects) -> None:
    for name, service in objects.of("Service").items():
        ports = {port["name"] for port in objects.container(name)["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} == ports
    (ingress,) = objects.of("Ingress").values()
    (path,) = ingress["spec"]["rules"][0]["http"]["paths"]
    backend = path["backend"]["service"]
    assert backend["name"] == "web"
    service = objects.of("Service")["web"]
    assert backend["port"]["name"] in [port["name"] for port in service["spec"]["ports"]]


def allowed(objects: Objects, source: str, target: str, port: int) -> bool:
    """Whether the policies let a pod of one Deployment ask one of another at a port."""

    def meant(policy: dict[str, Any], name: str, direction: str) -> bool:
        selector = policy["spec"]["podSelector"]["matchLabels"]
        return direction in policy["spec"]["policyTypes"] and name in objects.matched(selector)

    def lets(policy: dict[str, Any], direction: str, peers: str, other: str) -> bool:
        for rule in policy["spec"].get(direction, []):
            if port not in [entry["port"] for entry in rule["ports"]]:
                continue
            selectors = [peer.get("podSelector") for peer in rule.get(peers, [])]
            pods = [selector["matchLabels"] for selector in selectors if selector]
            if peers not in rule or any(other in objects.matched(labels) for labels in pods):
                return True
        return False

    policies = list(objects.of("NetworkPolicy").values())
    ways = (("Egress", source, "to", target), ("Ingress", target, "from", source))
    for direction, own, peers, other in ways:
        chosen = [policy for policy in policies if meant(policy, own, direction)]
        assert chosen  # or everything is allowed
        if not any(lets(policy, direction.lower(), peers, other) for policy in chosen):
            return False
    return True


def test_only_the_page_asks_the_models(objects: Objects) -> None:
    deployments = set(objects.of("Deployment"))
    paths = {
        (source, target)
        for source in deployments
        for target in deployments
        if allowed(objects, source, target, 8000)
    }
    assert paths == {("web", "model-cnn"), ("web", "model-mlp")}
    for port in (8001, 443, 53):
        assert not allowed(objects, "model-cnn", "model-mlp", port)
    policies = objects.of("NetworkPolicy")
    everywhere = [
        (name, [port["port"] for port in rule["ports"]])
        for name, policy in policies.items()
        for rule in policy["spec"].get("egress", [])
        if "to" not in rule
    ]
    assert sorted(everywhere) == [("model", [443]), ("names", [53, 53])]


def test_no_value_of_a_secret_is_written(cluster: Cluster) -> None:
    secrets = {
        "AWS_SECRET_ACCESS_KEY": "aws-secret-of-the-test",
        "WANDB_API_KEY": "w" * 40,
        "AWS_ACCESS_KEY_ID": "KEYID123",
    }
    file = cluster.render("production", **secrets)
    text = file.read_text(encoding="utf-8")
    assert [value for value in secrets.values() if value in text] == []
    objects = Objects(file)
    assert objects.of("Secret") == {}
    sources = objects.container("model-cnn")["envFrom"]
    named = [source["secretRef"] for source in sources if "secretRef" in source]
    assert named == [{"name": name, "optional": True} for name in ("model-storage", "wandb")]
    pod = objects.of("Deployment")["web"]["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    for url in ("https://me:hush@example.com/m.onnx", "https://example.com/m.onnx?sig=hush"):
        models = f"--models=m={url}#sha256={SHA256}"
        refused = cluster.deploy("render", "production", models, code=1)
        assert last_line(refused).startswith("deploy: https://example.com/m.onnx: leave user, pass")
        assert "hush" not in last_line(refused)


# Components


def with_components(cluster: Cluster, folder: Path, *names: str) -> Cluster:
    """A copy whose environment `production` has components."""
    copy = cluster.copy(folder)
    file = copy.project.path / "deploy/kubernetes/environments/production/kustomization.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    content["components"] = [f"../../components/{name}" for name in names]
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return copy


def test_models_scale_by_their_queue_where_it_is_asked_for(
    cluster: Cluster, tmp_path: Path
) -> None:
    copy = with_components(cluster, tmp_path, "queue-depth")
    file = copy.render("production")
    scalers = Objects(file).of("HorizontalPodAutoscaler")
    assert [metric["type"] for metric in scalers["web"]["spec"]["metrics"]] == ["Resource"]
    conf = yaml.safe_load((copy.project.path / "conf/serving/default.yaml").read_text("utf-8"))
    for name in ("model-cnn", "model-mlp"):
        cpu, queue = scalers[name]["spec"]["metrics"]
        assert cpu["type"] == "Resource"
        assert queue["pods"]["target"] == {
            "type": "AverageValue",
            "averageValue": str(conf["queue_per_replica"]),
        }
    for release in VALIDATORS:
        assert problems(release, file) == ""


def test_models_get_gpus_where_they_are_asked_for(cluster: Cluster, tmp_path: Path) -> None:
    file = with_components(cluster, tmp_path, "gpu", "queue-depth").render("production")
    objects = Objects(file)
    for name, deployment in objects.of("Deployment").items():
        pod = deployment["spec"]["template"]["spec"]
        on_gpu = name != "web"
        assert ("nvidia.com/gpu" in objects.container(name)["resources"]["limits"]) == on_gpu
        assert ("tolerations" in pod) == on_gpu
    for release in VALIDATORS:
        assert problems(release, file) == ""


# The containers, as their pods would run them


@contextlib.contextmanager
def pods(objects: Objects, network: str) -> Iterator[dict[str, str]]:
    """Containers for the Deployments of a file, as restricted as it says; their ids by name."""
    started: dict[str, str] = {}
    try:
        for name, deployment in objects.of("Deployment").items():
            pod, container = deployment["spec"]["template"]["spec"], objects.container(name)
            rights, user = container["securityContext"], pod["securityContext"]
            assert user["runAsNonRoot"]
            assert rights["allowPrivilegeEscalation"] is False
            assert rights["readOnlyRootFilesystem"] is True
            mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
            ports = [port["containerPort"] for port in container["ports"]]
            started[name] = docker(
                *("run", "--detach", "--read-only", "--security-opt=no-new-privileges"),
                *(f"--cap-drop={right}" for right in rights["capabilities"]["drop"]),
                f"--user={user['runAsUser']}:{user['runAsGroup']}",
                f"--memory={container['resources']['limits']['memory'].removesuffix('i').lower()}",
                *(f"--tmpfs={path}" for path in mounts),
                *(f"--env={key}={value}" for key, value in objects.variables(name).items()),
                *(f"--publish=127.0.0.1:{free_port()}:{port}" for port in ports),
                *(f"--network={network}", f"--network-alias={name}"),
                container["image"],
            )
        yield started
    finally:
        if started:
            docker("rm", "--force", *started.values())


def url_of(objects: Objects, pod: tuple[str, str], port: str, path: str = "") -> str:
    """The address, on this machine, of a named port of a Deployment's container."""
    name, container = pod
    numbers = {found["name"]: found["containerPort"] for found in objects.container(name)["ports"]}
    (bound,) = inspect(container)["NetworkSettings"]["Ports"][f"{numbers[port]}/tcp"]
    return f"http://127.0.0.1:{bound['HostPort']}{path}"


@pytest.fixture
def files(cluster: Cluster, trained: Project) -> Iterator[tuple[str, str]]:
    """A network, and the address in it of an exported model."""
    network = docker("network", "create", f"{SLUG}-{os.getpid()}")
    image = f"{cluster.address}/team/{SLUG}-serve"
    try:
        server = docker(
            *("run", "--detach", "--network-alias=files", f"--network={network}"),
            f"--volume={trained.path / 'models'}:/files:ro",
            *(image, "python", "-m", "http.server", "9000", "--directory=/files"),
        )
        try:
            sha256 = hashlib.sha256((trained.path / "models/model.onnx").read_bytes())
            yield network, f"http://files:9000/model.onnx#sha256={sha256.hexdigest()}"
        finally:
            docker("rm", "--force", server)
    finally:
        docker("network", "rm", network)


def test_the_containers_run_as_the_file_says(cluster: Cluster, files: tuple[str, str]) -> None:
    network, model = files
    objects = Objects(cluster.render("production", f"cnn={model}"))
    with pods(objects, network) as started:
        for pod in started.items():
            name, container = pod
            description = objects.container(name)
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                get = description[probe]["httpGet"]
                url = url_of(objects, pod, get["port"], get["path"])
                until(functools.partial(answer, url))
                assert answer(url) == 200
            docker("exec", container, *description["lifecycle"]["preStop"]["exec"]["command"])
        page = url_of(objects, ("web", started["web"]), "http")
        with urllib.request.urlopen(f"{page}/v2/models") as got:
            (known,) = json.load(got)
        assert (known["name"], known["ready"]) == ("cnn", True)
        metrics = url_of(objects, ("model-cnn", started["model-cnn"]), "http", "/metrics")
        until(functools.partial(answer, metrics))
        with urllib.request.urlopen(metrics) as got:
            assert b'\ninference_requests_in_flight{model="cnn"} 0' in got.read()
        docker("stop", "--time=60", *started.values())
        codes = {name: inspect(id)["State"]["ExitCode"] for name, id in started.items()}
        assert codes == {"model-cnn": 0, "web": 0}


# What can be wrong


def last_line(printed: str) -> str:
    """What a task said in the end; before it, only the commands that it showed."""
    *commands, line = printed.splitlines()
    assert all(command.startswith("$ ") for command in commands), printed
    return line


def test_an_unknown_environment_is_one_line(cluster: Cluster) -> None:
    printed = cluster.deploy("render", "prod", code=1)
    assert last_line(printed) == "deploy: no environment `prod`: choose one of production, staging"


def test_a_missing_kubectl_is_one_line(cluster: Cluster) -> None:
    # Not by `uv run`, which is looked up in the PATH that is taken away.
    done = subprocess.run(
        [str(interpreter(PYTHON).with_name("inv")), "deploy.render", "production"],
        cwd=cluster.project.path,
        env={**environment(PYTHON), "PATH": "/nowhere"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert last_line(done.stdout).startswith("deploy: the command `kubectl` is missing: https://")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SERVING_MIN_REPLICAS": "11"}, "serving.min_replicas: 11 is more than max_replicas, 10"),
        ({"SERVING_CPU_PERCENT": "much"}, "serving.cpu_percent: 'much' must be a positive number"),
    ],
    ids=["bounds", "number"],
)
def test_wrong_numbers_are_one_line(
    variables: dict[str, str], expected: str, cluster: Cluster
) -> None:
    printed = cluster.deploy("render", "production", f"--models={MODELS}", code=1, **variables)
    assert last_line(printed) == f"deploy: {expected}"


def test_an_image_that_no_cluster_can_pull_is_one_line(cluster: Cluster, tmp_path: Path) -> None:
    def refusal(repository: str) -> str:
        before = cluster.render("staging").read_bytes()
        variables = {"REGISTRY": repository}
        options = ("staging", f"--models={MODELS}")
        printed = cluster.deploy("render", *options, code=1, **variables)
        # What was written for a cluster before is what is there.
        file = cluster.project.path / ".deploy/kubernetes/staging.yaml"
        assert file.read_bytes() == before
        return last_line(printed)

    built = f"{cluster.address}/team/{SLUG}-serve"
    other = f"{cluster.address}/other/{SLUG}-serve"
    fix = "inv docker.push --image serve"
    assert refusal(f"{cluster.address}/other") == (f"deploy: there is no {other}:latest: {fix}")
    docker("tag", built, other)
    assert refusal(f"{cluster.address}/other") == (
        f"deploy: {other}:latest was never pushed, and no cluster can pull it: {fix}"
    )
    with registry(tmp_path) as address:
        gone = f"{address}/team/{SLUG}-serve"
        docker("tag", built, gone)
        docker("push", gone)
        for folder in (tmp_path / "registry").glob("**/_manifests"):
            folder.rename(folder.with_name("deleted"))
        assert refusal(f"{address}/team") == (
            f"deploy: {gone}:latest was never pushed, and no cluster can pull it: {fix}"
        )
    assert refusal(f"{address}/team").startswith(
        f"deploy: the registry of {gone}:latest does not say what it has: "
    )


def test_a_model_of_this_machine_only_is_one_line(trained: Project, cluster: Cluster) -> None:
    local = Cluster(trained, cluster.address)
    printed = local.deploy("render", "staging", "--models=model=models/model.onnx", code=1)
    assert re.match(
        "deploy: models/model.onnx: .* a folder of this machine, where a cluster cannot read it",
        last_line(printed),
    )
    assert not (trained.path / ".deploy").exists()


def test_no_cluster_is_one_line(cluster: Cluster, tmp_path: Path) -> None:
    def refusal(**variables: str) -> str:
        options = ("production", f"--models={MODELS}")
        return last_line(cluster.deploy("apply", *options, code=1, **variables))

    assert re.match(
        r"deploy: no answer from a cluster, as kubectl has no context \(kubectl config "
        r"use-context NAME\): kubectl get: The connection to the server \S+ was refused",
        refusal(KUBECONFIG=str(tmp_path / "none")),
    )
    port = free_port()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "ours",
        "contexts": [{"name": "ours", "context": {"cluster": "ours", "user": "me"}}],
        "clusters": [{"name": "ours", "cluster": {"server": f"https://127.0.0.1:{port}"}}],
        "users": [{"name": "me", "user": {"token": "token-of-the-test"}}],
    }
    (tmp_path / "config").write_text(yaml.safe_dump(config), encoding="utf-8")
    assert re.match(
        r"deploy: no answer from the cluster of context ours: kubectl get: The connection to the "
        rf"server 127\.0\.0\.1:{port} was refused",
        refusal(KUBECONFIG=str(tmp_path / "config")),
    )


# A cluster's answers


CRASHED = {
    "name": "model",
    "ready": False,
    "restartCount": 2,
    "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s restarting"}},
    "lastState": {
        "terminated": {
            "reason": "Error",
            "exitCode": 1,
            "message": "INFO start\nserve: s3://bucket/cnn.onnx: the storage does not answer\n",
        }
    },
}


@pytest.fixture
def api(cluster: Cluster) -> Iterator[cluster_api.Cluster]:
    """A cluster with the namespace and the class of Ingress that it needs."""
    with cluster_api.running() as running:
        running.add("/api/v1/namespaces", "Namespace", f"{SLUG}-production")
        running.add("/apis/networking.k8s.io/v1/ingressclasses", "IngressClass", "nginx")
        yield running


def test_apply_ends_when_the_pods_answer_and_again_does_nothing(
    api: cluster_api.Cluster, cluster: Cluster, tmp_path: Path
) -> None:
    config = str(api.kubeconfig(tmp_path / "config"))
    options = ("production", f"--models={MODELS}")
    printed = cluster.deploy("apply", *options, KUBECONFIG=config)
    assert f"deploy: to the cluster of context ours, namespace {SLUG}-production" in printed
    for name in ("model-cnn", "model-mlp", "web"):
        assert f'deployment "{name}" successfully rolled out' in printed
    before = {path: entry["metadata"] for path, entry in api.objects.items()}
    again = cluster.deploy("apply", *options, KUBECONFIG=config)
    assert len(re.findall(r"^deployment.apps/\S+ unchanged$", again, re.MULTILINE)) == 3
    assert {path: entry["metadata"] for path, entry in api.objects.items()} == before


def test_a_model_that_cannot_start_shows_its_own_line_at_once(
    api: cluster_api.Cluster, cluster: Cluster, tmp_path: Path
) -> None:
    config = str(api.kubeconfig(tmp_path / "config"))
    options = ("production", f"--models={MODELS}")
    objects = Objects(cluster.render("production"))
    deployment = objects.of("Deployment")["model-cnn"]["spec"]
    container = objects.container("model-cnn")
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"
    probe = container["startupProbe"]
    assert (
        probe["periodSeconds"] * probe["failureThreshold"] < deployment["progressDeadlineSeconds"]
    )
    api.fate["model-cnn"] = CRASHED
    printed = cluster.deploy("apply", *options, code=1, KUBECONFIG=config)
    own = "serve: s3://bucket/cnn.onnx: the storage does not answer"
    line = f"model-cnn-1-abcde does not start (Error): {own}"
    said = [said for said in printed.splitlines() if said.startswith("deploy: ")]
    assert said == [
        f"deploy: to the cluster of context ours, namespace {SLUG}-production",
        f"deploy: {line}",
        f"deploy: model-cnn: its new pods do not answer; old ones keep answering. {line}. To "
        "undo the rollout: "
        f"kubectl rollout undo deployment/model-cnn --namespace={SLUG}-production",
    ]
    # What failed before is not held against the next.
    api.fate.clear()
    fixed = f"--models={MODELS.replace('bucket', 'other')}"
    assert "does not start" not in cluster.deploy("apply", options[0], fixed, KUBECONFIG=config)


def test_a_cluster_without_the_class_of_ingress_is_one_line_before_anything_is_applied(
    api: cluster_api.Cluster, cluster: Cluster, tmp_path: Path
) -> None:
    api.objects = {name: entry for name, entry in api.objects.items() if "ingress" not in name}
    before = set(api.objects)
    config = str(api.kubeconfig(tmp_path / "config"))
    printed = cluster.deploy("apply", "production", f"--models={MODELS}", code=1, KUBECONFIG=config)
    assert printed.splitlines()[-1] == (
        "deploy: deploy/kubernetes/environments/production/kustomization.yaml: the cluster has no "
        "ingress class nginx: kubectl get ingressclass shows those that it has"
    )
    assert set(api.objects) == before


def test_the_readmes_clean_up_removes_what_a_model_had_and_nothing_else(
    cluster: Cluster, objects: Objects
) -> None:
    page = (cluster.project.path / "docs/kubernetes.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"`kubectl delete (\S+) --selector (\S+)=NAME --namespace (\S+)`", page)
    short = {"hpa": "HorizontalPodAutoscaler", "pdb": "PodDisruptionBudget"}
    kinds = {short.get(name, name).lower() for name in found[0].split(",")}
    own = [item for item in objects if item["metadata"]["labels"].get(found[1]) == "mlp"]
    assert {item["kind"].lower() for item in own} == kinds
    assert "model-mlp" in {item["metadata"]["name"] for item in own}
    assert found[2].replace("ENVIRONMENT", "production") == f"{SLUG}-production"


def test_what_kustomize_does_not_take_is_one_line(cluster: Cluster, tmp_path: Path) -> None:
    copy = cluster.copy(tmp_path)
    file = copy.project.path / "deploy/kubernetes/environments/staging/kustomization.yaml"
    file.write_text(file.read_text("utf-8").replace("../../base", "../../bases"), "utf-8")
    printed = copy.deploy("render", "staging", f"--models={MODELS}", code=1)
    assert last_line(printed).startswith("deploy: kubectl kustomize: ")
    assert "bases" in last_line(printed)
