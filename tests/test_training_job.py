"""`inv deploy.train`: what a cluster would be told of one training, and what its container does."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import cluster_api
import pytest
import yaml
from baking import bake, git
from driving import Project, environment, interpreter, set_up, stages_run
from engine import PYTHON, docker, give, registry, set_up_for_images, until
from kubernetes_tools import VALIDATORS, kubectl, problems

pytestmark = pytest.mark.slow

FRAMEWORK = "scikit-learn"
IMAGE = f"registry.example.com/team/my-ml-project-gpu@sha256:{'0123456789abcdef' * 4}"
# As a shell hands them on; Kubernetes, Kustomize and YAML each read some of this otherwise.
OVERRIDES = [
    "model.estimator.C=0.1",
    "x=$(JOB_NAME)",
    "y=${seed}",
    "z='$$ a: \"b\" # c'",
    "t=[a,b]",
]
RENDER = """
import json, sys
from pathlib import Path
from workflow.cluster import settings, training_job
typed = json.loads(sys.argv[1])
ours, overrides = settings.split(typed)
patches = training_job.patches({"JOB_NAME": "one", "JOB_TEXT": "$(HOME)"}, overrides,
                               settings.compose_resources(ours))
training_job.fill(Path("deploy/kubernetes/training"), Path("tree"), "one", sys.argv[2], patches)
"""


class Objects(dict[str, dict[str, Any]]):
    """What a file tells a cluster, by kind."""

    def __init__(self, text: str) -> None:
        super().__init__({found["kind"]: found for found in yaml.safe_load_all(text)})

    @property
    def pod(self) -> dict[str, Any]:
        return self["Job"]["spec"]["template"]["spec"]

    @property
    def container(self) -> dict[str, Any]:
        (found,) = self.pod["containers"]
        return found

    @property
    def arguments(self) -> list[str]:
        return [expanded(text, self.variables) for text in self.container["args"]]

    @property
    def variables(self) -> dict[str, str]:
        """The variables that are not secret."""
        found: dict[str, str] = {}
        for entry in self.container["env"]:
            found[entry["name"]] = expanded(entry["value"], found)
        return found


def expanded(text: str, variables: dict[str, str]) -> str:
    """A text as Kubernetes hands it to a container."""

    def replaced(found: re.Match[str]) -> str:
        return variables.get(found[1], found[0]) if found[1] else "$"

    return re.sub(r"\$\$|\$\(([^)]*)\)", replaced, text)


@pytest.fixture(scope="module")
def project() -> Project:
    return Project(bake(framework=FRAMEWORK).path, PYTHON, FRAMEWORK)


def render(project: Project, *typed: str, release: str = "1.37") -> str:
    """What is written for a training of an image that a registry has."""
    command = [str(interpreter(PYTHON, FRAMEWORK)), "-c", RENDER, json.dumps(typed), IMAGE]
    subprocess.run(command, cwd=project.path, env=project.env, check=True)
    return kustomized(project.path / "tree", release)


def kustomized(folder: Path, release: str = "1.37") -> str:
    command = [str(kubectl(release)), "kustomize", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def text(project: Project) -> str:
    return render(project, *OVERRIDES, "resources=gpu", "resources.time=2-01:00:00")


def test_every_release_knows_each_field(text: str, project: Project, tmp_path: Path) -> None:
    plain = kustomized(project.path / "deploy/kubernetes/training")
    for name, content in (("filled", text), ("plain", plain)):
        file = tmp_path / f"{name}.yaml"
        file.write_text(content)
        for release in VALIDATORS:
            assert problems(release, file) == ""
    assert render(project, *OVERRIDES, "resources=gpu", release="1.27") == render(
        project, *OVERRIDES, "resources=gpu"
    )


def test_the_pod_gets_each_override_as_it_was_typed(text: str) -> None:
    objects = Objects(text)
    assert objects.arguments == ["python", "-m", "workflow.pipeline.pod", *OVERRIDES]
    assert objects.variables["JOB_TEXT"] == "$(HOME)"
    assert objects.container["image"] == IMAGE


def test_the_pod_gets_what_conf_resources_says(text: str, project: Project) -> None:
    asked = yaml.safe_load((project.path / "conf/resources/gpu.yaml").read_text("utf-8"))
    objects = Objects(text)
    memory = f"{int(asked['memory'].removesuffix('G')) * 1024}Mi"
    assert objects.container["resources"] == {
        "requests": {"cpu": str(asked["cpus"]), "memory": memory},
        "limits": {"memory": memory, "nvidia.com/gpu": str(asked["gpus"])},
    }
    assert objects.pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert objects["Job"]["spec"]["activeDeadlineSeconds"] == 49 * 3600
    on_cpu = Objects(render(project))
    assert list(on_cpu.container["resources"]["limits"]) == ["memory"]
    assert "tolerations" not in on_cpu.pod


def test_a_pod_that_failed_is_followed_by_one_that_finds_its_work(text: str) -> None:
    objects = Objects(text)
    job = objects["Job"]
    assert job["metadata"]["name"] == "train-one"
    assert job["spec"]["backoffLimit"] > 0
    assert job["spec"]["ttlSecondsAfterFinished"] > 0
    assert objects.pod["restartPolicy"] == "Never"
    volumes = {volume["name"]: volume for volume in objects.pod["volumes"]}
    mounts = {
        mount["mountPath"]: volumes[mount["name"]] for mount in objects.container["volumeMounts"]
    }
    claim = objects["PersistentVolumeClaim"]["metadata"]["name"]
    assert mounts["/work"]["persistentVolumeClaim"]["claimName"] == claim == "work-one"
    for name in ("HOME", "JOB_FOLDER", "DVC_SITE_CACHE_DIR"):
        assert objects.variables[name].startswith("/work/")


def test_the_pod_may_do_little_and_its_secrets_are_named(text: str) -> None:
    objects = Objects(text)
    rights = objects.container["securityContext"]
    assert rights["readOnlyRootFilesystem"] is True
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["capabilities"]["drop"] == ["ALL"]
    assert objects.pod["securityContext"]["runAsNonRoot"] is True
    assert objects.pod["automountServiceAccountToken"] is False
    secrets = [source["secretRef"] for source in objects.container["envFrom"]]
    assert {secret["name"] for secret in secrets} == {"wandb", "dvc-remote", "git"}
    assert all(secret["optional"] for secret in secrets)


APPLY = """
import sys
from pathlib import Path
from workflow.cluster import training_job
print(training_job.apply(Path(sys.argv[1])))
"""


def test_the_volume_goes_when_the_job_does(text: str, project: Project, tmp_path: Path) -> None:
    namespace = "my-ml-project-training"
    file = tmp_path / "train-one.yaml"
    file.write_text(text)
    with cluster_api.running() as api:
        api.add("/api/v1/namespaces", "Namespace", namespace)
        path = f"{kubectl().parent}{os.pathsep}{environment(PYTHON)['PATH']}"
        config = str(api.kubeconfig(tmp_path / "config"))
        done = subprocess.run(
            [str(interpreter(PYTHON, FRAMEWORK)), "-c", APPLY, str(file)],
            cwd=project.path,
            env={**project.env, "PATH": path, "KUBECONFIG": config},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        follow = f"kubectl logs --follow job/train-one --namespace={namespace}"
        assert done.stdout.splitlines()[-1] == follow
        job = api.objects[f"/apis/batch/v1/namespaces/{namespace}/jobs/train-one"]
        volume = api.objects[f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/work-one"]
        (owner,) = volume["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"]) == ("Job", job["metadata"]["uid"])
        assert volume["spec"] == Objects(text)["PersistentVolumeClaim"]["spec"]


# With images, which take minutes


@pytest.mark.weekly
def test_a_pod_after_one_that_was_killed_resumes_the_training(tmp_path: Path) -> None:
    project = set_up(tmp_path / "home", PYTHON, project_name="Killed")
    origin, folder = tmp_path / "origin.git", tmp_path / "work/repository"
    git(tmp_path, "init", "--quiet", "--bare", str(origin))
    project.run("dvc", "remote", "modify", "storage", "url", str(tmp_path / "storage"))
    project.run("git", "commit", "--quiet", "--all", "--no-verify", "--message=Remote")
    project.run("git", "push", "--quiet", "--no-verify", str(origin), "HEAD:main")
    asked = {"JOB_NAME": "one", "JOB_REPOSITORY": origin.as_uri(), "JOB_FOLDER": str(folder)}
    asked["JOB_COMMIT"] = git(project.path, "rev-parse", "HEAD").strip()
    names = ("GIT_AUTHOR", "GIT_COMMITTER")
    who = {f"{name}_{key}": "me@localhost" for name in names for key in ("NAME", "EMAIL")}
    overrides = ("model=mlp", "trainer.max_epochs=40", "callbacks=minimal")
    command = ("python", "-m", "workflow.pipeline.pod", *overrides)
    tools = interpreter(PYTHON).parent
    process = subprocess.Popen(
        [str(tools / "python"), *command[1:]],
        cwd=project.path,
        env={**project.env, **asked, **who, "PATH": f"{tools}{os.pathsep}{project.env['PATH']}"},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    until(lambda: list(folder.glob("runs/train/unfinished/last.ckpt")), 300)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert git(origin, "for-each-ref", "refs/exps") == ""
    printed = project.run(*command, variables={**asked, **who})
    assert "resuming the interrupted run" in printed
    assert stages_run(printed) == ["train", "export", "evaluate"]
    assert git(origin, "for-each-ref", "--format=%(refname)", "refs/exps").strip().endswith("/one")


@pytest.mark.weekly
@pytest.mark.docker
def test_a_container_trains_as_its_job_says_and_the_result_comes_home(tmp_path: Path) -> None:
    project = set_up_for_images(tmp_path / "home", project_name="Jobs", framework=FRAMEWORK)
    origin, storage, work = (tmp_path / name for name in ("origin.git", "storage", "work"))
    git(tmp_path, "init", "--quiet", "--bare", str(origin))
    project.run("dvc", "remote", "modify", "storage", "url", "s3://bucket/dvc")
    project.run("git", "commit", "--quiet", "--all", "--no-verify", "--message=Remote")
    project.run("git", "remote", "add", "origin", "https://git.example.com/team/jobs.git")
    commit = git(project.path, "rev-parse", "HEAD").strip()
    path = {"PATH": f"{kubectl().parent}{os.pathsep}{environment(PYTHON)['PATH']}"}
    command = ("deploy.train", "--render", "--name=one", "--", "model.estimator.C=0.5")

    def refused(**variables: str) -> str:
        return project.inv(*command, code=1, variables={**path, **variables}).splitlines()[-1]

    assert refused() == f"deploy: origin does not have the commit {commit[:12]}: git push"
    git(project.path, "update-ref", "refs/remotes/origin/main", "HEAD")
    with registry(tmp_path) as address:
        where = {"REGISTRY": f"{address}/team"}
        fix = "inv docker.push --image cpu"
        assert refused(**where) == f"deploy: there is no {address}/team/jobs-cpu:latest: {fix}"
        project.inv("docker.push", variables=where)
        printed = project.inv(*command, variables={**path, **where})
        file = project.path / ".deploy/kubernetes/train-one.yaml"
        assert file.name in printed.splitlines()[-1]
        objects = Objects(file.read_text("utf-8"))
        assert objects.variables["JOB_COMMIT"] == commit
        assert objects.variables["WANDB_DOCKER"] == objects.container["image"]

        # Git and the DVC remote are folders here; the rest is as the Job says.
        project.run("dvc", "remote", "modify", "storage", "url", "/storage")
        project.run("git", "commit", "--quiet", "--all", "--no-verify", "--message=A folder")
        project.run("git", "push", "--quiet", "--no-verify", str(origin), "HEAD:main")
        commit = git(project.path, "rev-parse", "HEAD").strip()
        here = {"JOB_REPOSITORY": "file:///origin.git", "JOB_COMMIT": commit}
        variables = {**objects.variables, **here, "WANDB_MODE": "offline"}
        user, rights = objects.pod["securityContext"], objects.container["securityContext"]
        for folder in (origin, storage, work):
            folder.mkdir(exist_ok=True)
            give(folder, user["runAsUser"])
        options = (
            *("--read-only", "--security-opt=no-new-privileges", "--tmpfs=/tmp", "--shm-size=2g"),
            *(f"--cap-drop={right}" for right in rights["capabilities"]["drop"]),
            f"--user={user['runAsUser']}:{user['runAsGroup']}",
            *(f"--volume={path}:/{path.name}" for path in (origin, storage)),
            f"--volume={work}:/work",
            *(f"--env={name}={value}" for name, value in variables.items()),
            objects.container["image"],
        )
        printed = docker("run", "--rm", *options, *objects.arguments)
        assert "pushed: experiment one of" in printed
        # A second pod finds all done.
        again = docker("run", "--rm", *options, *objects.arguments)
        assert "Running stage" not in again
        label = "--filter=label=org.opencontainers.image.title=jobs"
        tags = ("--filter=dangling=false", "--format={{.Repository}}:{{.Tag}}")
        docker("image", "rm", *docker("image", "ls", label, *tags).split())

    give(origin, os.getuid())
    project.run("git", "remote", "set-url", "origin", str(origin))
    project.run("dvc", "remote", "modify", "--local", "storage", "url", str(storage))
    assert "next: inv compare, inv exp.apply one" in project.inv("exp.pull", "one")
    project.inv("exp.apply", "one")
    assert project.json("reports/metrics.json")["accuracy"] > 0.9
    provenance = yaml.safe_load((project.path / "params.yaml").read_text("utf-8"))
    assert provenance["model"]["estimator"]["C"] == 0.5
