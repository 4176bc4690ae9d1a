"""What a project does with each framework: the same tests for all.

A new answer of `framework` needs an entry in OWN, and nothing else here.
"""

from __future__ import annotations

import functools
import hashlib
import json
import operator
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from browsing import expect
from driving import Project, kill, stages_run, started_by
from engine import docker, model_service, set_up_for_images
from served import Serving, answers_as_the_model, serving

from tasks import FRAMEWORKS

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@dataclass(frozen=True)
class Own:
    """What is a framework's own.

    Args:
        key: of the config, that changes what is trained.
        values: of it: other ones than the default.
        quick: overrides with which a training takes little time.
        model: a file in conf/model/ that a user could write.
        middle: what the training prints early and late in its epochs; None where it has none.
        is_weekly: whether it is tried weekly alone.
    """

    key: str
    values: tuple[float, float, float]
    model: str
    quick: tuple[str, ...] = ()
    middle: tuple[str, str] | None = None
    is_weekly: bool = False


PYTORCH = Own(
    key="optimizer.lr",
    values=(0.001, 0.01, 0.03),
    quick=("trainer.max_epochs=2",),
    model="defaults: [mlp]\nhidden: [64, 64, 64]\n",
    middle=("epoch  3/20", "epoch 12/20"),
)
# With each change, tests/frameworks/keras runs on JAX.
KERAS = replace(PYTORCH, key="optimizer.learning_rate", quick=("trainer.epochs=2",), is_weekly=True)
OWN = {
    "pytorch": PYTORCH,
    "keras-jax": KERAS,
    "keras-tensorflow": KERAS,
    "keras-torch": KERAS,
    "scikit-learn": Own(
        key="model.estimator.C",
        values=(1.0, 0.01, 0.001),
        model="defaults: [logistic_regression]\nestimator:\n  C: 0.5\n",
    ),
}
MISSING = "add what is a framework's own to OWN in tests/test_frameworks.py, of "
OFTEN = [name for name in FRAMEWORKS if name not in OWN or not OWN[name].is_weekly]
WITH_EPOCHS = [name for name in FRAMEWORKS if name not in OWN or OWN[name].middle]


def cases(names: Iterable[str] = FRAMEWORKS, often: Collection[str] = OFTEN) -> list[Any]:
    """The frameworks as parameters: those of `often` with each change, the others weekly."""
    weekly = pytest.mark.weekly
    return [pytest.param(name, marks=() if name in often else weekly) for name in names]


DATA = ("data/raw", "data/prepared")
SECTIONS = ("Confusion matrix", "Calibration", "Worst mistakes", "Experiments", "Provenance")
METADATA = """
import json
from workflow.onnx_file import read_metadata
from workflow.paths import MODEL
print(json.dumps(read_metadata(MODEL)))
"""


def test_each_framework_is_tested() -> None:
    missing = set(FRAMEWORKS) - set(OWN)
    assert not missing, MISSING + ", ".join(sorted(missing))
    assert set(OWN) <= set(FRAMEWORKS)


@pytest.fixture(scope="module", params=cases())
def framework(request: pytest.FixtureRequest) -> str:
    """The answer of which all fixtures of this module are made."""
    name: str = request.param
    assert name in OWN, MISSING + name
    return name


@pytest.fixture(scope="module")
def own(framework: str) -> Own:
    return OWN[framework]


@dataclass(frozen=True)
class Training:
    """A project whose pipeline has run once.

    Args:
        printed: by each `inv train`: where there are epochs, Ctrl-C ended the training at first,
            then it was killed, and then it resumed to its end.
    """

    project: Project
    printed: tuple[str, ...] = ()


@pytest.fixture(scope="module")
def training(
    framework: str,
    own: Own,
    begun_with: Callable[[str], Project],
    trained_with: Callable[[str], Project],
    tmp_path_factory: pytest.TempPathFactory,
) -> Training:
    if not own.middle:
        return Training(trained_with(framework))
    project = begun_with(framework).copy(tmp_path_factory.mktemp("trained"))
    early, late = own.middle
    pressed = project.interrupt("inv", "train", when=early, how=press_ctrl_c)
    assert not (project.path / "runs/train/model.ckpt").exists()
    change_what_only_serves(project)
    killed = project.interrupt("inv", "train", when=late, how=kill_training)
    project.run("git", "restore", "workflow", "conf")
    return Training(project, (pressed, killed, project.inv("train")))


def press_ctrl_c(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGINT)


def kill_training(process: subprocess.Popen[str]) -> None:
    kill(started_by(process.pid, "my_ml_project.train"))


def change_what_only_serves(project: Project) -> None:
    """Change code that decides no result, and how models are served."""
    for module in ("serving/service.py", "deployment/stack.py", "tracking/upload.py"):
        with (project.path / "workflow" / module).open("a", encoding="utf-8") as file:
            file.write("# changed\n")
    serving = project.path / "conf/serving/default.yaml"
    serving.write_text(serving.read_text("utf-8").replace("capacity: ", "capacity: 1"), "utf-8")


@pytest.fixture(scope="module")
def trained(training: Training) -> Project:
    """That project; no test changes it."""
    return training.project


@pytest.fixture(scope="module")
def run_id(trained: Project) -> str:
    """The W&B run of the training."""
    (name,) = {run["run_id"] for run in trained.runs()}
    return name


@pytest.fixture(scope="module")
def committed(trained: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of it whose result is committed."""
    project = trained.copy(tmp_path_factory.mktemp("committed"))
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--message", "Trained")
    return project


@pytest.fixture(scope="module")
def reproduced(committed: Project, run_id: str) -> tuple[Project, str]:
    """Where the run was trained again, in one go, and what that printed."""
    assert "restored: " in committed.inv("restore", run_id)
    printed = committed.inv("reproduce", run_id)
    folder = committed.path.with_name(f"{committed.path.name}-restored")
    return replace(committed, path=folder / run_id), printed


def head(project: Project) -> str:
    return project.run("git", "rev-parse", "HEAD").strip()


def at(config: dict[str, Any], key: str) -> Any:
    """The value of a key such as `optimizer.lr`."""
    return functools.reduce(operator.getitem, key.split("."), config)


# Training


@pytest.mark.slow
def test_the_model_is_good_and_says_what_it_is(trained: Project, run_id: str) -> None:
    assert trained.json("reports/metrics.json")["accuracy"] > 0.9
    metadata = json.loads(trained.run("python", "-c", METADATA))
    (taken,), (answered,) = metadata["signature"]["inputs"], metadata["signature"]["outputs"]
    assert (taken["name"], taken["datatype"], taken["shape"]) == ("images", "UINT8", [-1, 8, 8])
    assert (answered["kind"], answered["names"]) == ("classes", list("0123456789"))
    assert metadata["provenance"]["git"] == {**metadata["provenance"]["git"], "dirty": False}
    assert metadata["provenance"]["git"]["commit"] == head(trained)
    assert metadata["provenance"]["run"]["id"] == run_id
    params = yaml.safe_load((trained.path / "params.yaml").read_text("utf-8"))
    assert metadata["config"] == params
    assert [sample["actual"] for sample in metadata["samples"][:10]] == list("0123456789")


@pytest.mark.slow
def test_one_run_tracks_it_from_the_training_to_the_evaluation(trained: Project) -> None:
    *_, training, evaluation = trained.runs()  # after those that were interrupted
    assert training["run_id"] == evaluation["run_id"]
    assert training["state"] == evaluation["state"] == "finished"
    metrics = trained.json("runs/train/metrics.json")
    assert {"epochs", "val/loss", "val/accuracy"} <= set(metrics)
    assert {name: training["summary"][name] for name in metrics} == metrics
    assert training["summary"]["train/loss"] < 0.2
    tested = trained.json("reports/metrics.json")
    assert {name: evaluation["summary"][f"test/{name}"] for name in tested} == tested
    recorded = training["config"]["provenance"]
    assert recorded["git"]["commit"] == head(trained)
    assert recorded["git"]["dirty"] is False
    assert recorded["seed"] == 0
    assert recorded["python"].startswith(trained.python)
    assert set(recorded["data"]) == set(DATA)


@pytest.mark.slow
def test_a_second_train_does_nothing_and_says_so(committed: Project) -> None:
    runs = set((committed.path / "wandb").glob("offline-run-*"))
    printed = committed.inv("train")
    assert "up to date: nothing changed since" in printed
    assert stages_run(printed) == []
    assert set((committed.path / "wandb").glob("offline-run-*")) == runs
    assert committed.run("git", "status", "--porcelain") == ""
    change_what_only_serves(committed)
    assert "up to date" in committed.inv("train")
    committed.run("git", "restore", ".")


@pytest.mark.slow
@pytest.mark.parametrize("framework", cases(WITH_EPOCHS), indirect=True)
def test_an_interrupted_training_resumes_to_the_same_result(
    training: Training, run_id: str, reproduced: tuple[Project, str]
) -> None:
    pressed, killed, finished = training.printed
    assert "interrupted: the next `inv train` resumes from the last checkpoint" in pressed
    assert "Traceback" not in pressed
    for printed in (killed, finished):
        assert re.findall(r"resuming the interrupted run (\w+)", printed) == [run_id]
    *trainings, _ = training.project.runs()
    assert len(trainings) == 3
    assert len({run["config"]["provenance"]["config"] for run in trainings}) == 1
    in_one_go, _ = reproduced
    assert in_one_go.results() == training.project.results()


# Experiments


@pytest.fixture(scope="module")
def overridden(
    own: Own, committed: Project, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Project, str]:
    """A copy that was trained with another value, and what that printed."""
    project = committed.copy(tmp_path_factory.mktemp("experiments"))
    return project, project.inv("train", "--", f"{own.key}={own.values[0]}", *own.quick)


@pytest.fixture(scope="module")
def queued(own: Own, overridden: tuple[Project, str]) -> list[dict[str, Any]]:
    """Two more values, which came out of the queue: what DVC shows of all experiments."""
    project, _ = overridden
    first, second = own.values[1:]
    project.inv("exp.queue", "--", f"{own.key}={first},{second}", *own.quick)
    project.inv("exp.run")
    _, baseline = json.loads(project.run("dvc", "exp", "show", "--json"))
    return [experiment["revs"][0]["data"] for experiment in baseline["experiments"]]


@pytest.mark.slow
def test_an_override_trains_again_what_depends_on_it(
    own: Own, trained: Project, overridden: tuple[Project, str]
) -> None:
    project, printed = overridden
    assert stages_run(printed) == ["config", "train", "export", "evaluate"]
    params = yaml.safe_load((project.path / "params.yaml").read_text("utf-8"))
    assert at(params, own.key) == own.values[0]
    assert project.results().items().isdisjoint(trained.results().items())
    assert "up to date" in project.inv("train")  # the experiment's values stay
    lines = project.inv("compare").splitlines()
    for shown, name in ((trained, "main"), (project, r">\s+\S+")):
        loss = shown.json("reports/metrics.json")["loss"]
        assert any(re.match(rf"\s*{name}\s+{own.key}=.* {loss:.4f}\W", line) for line in lines)


@pytest.mark.slow
# Of what is least a framework's own: tried with the quickest one, and weekly with all.
@pytest.mark.parametrize("framework", cases(often=["scikit-learn"]), indirect=True)
def test_queued_experiments_use_and_record_their_own_config(
    own: Own, overridden: tuple[Project, str], queued: list[dict[str, Any]]
) -> None:
    project, _ = overridden
    lines = project.inv("compare").splitlines()
    losses = {}
    for shown in queued:
        value = at(shown["params"]["params.yaml"]["data"], own.key)
        losses[value] = shown["metrics"]["reports/metrics.json"]["data"]["loss"]
        (row,) = (line for line in lines if f"{own.key}={value} " in line)
        assert f" {losses[value]:.4f}" in row
    assert set(losses) == set(own.values)
    assert len(set(losses.values())) == 3  # different trainings, not one three times
    *_, first, second = (run["config"] for run in project.runs() if run["config"])
    assert {at(first, own.key), at(second, own.key)} == set(own.values[1:])


# Past runs and the registry


@pytest.mark.slow
# Each change runs test_restore.py with scikit-learn.
@pytest.mark.parametrize(
    "framework", cases(often=[name for name in OFTEN if name in WITH_EPOCHS]), indirect=True
)
def test_a_past_run_is_restored_and_reproduced(
    committed: Project, reproduced: tuple[Project, str]
) -> None:
    restored, printed = reproduced
    assert re.search(r"^all \d+ identical$", printed, re.MULTILINE)
    for metric in ("val/loss", "test/accuracy", "test/loss", "model/weights_sha256"):
        assert re.search(rf"^ *{metric} +(\S+) +\1 +identical", printed, re.MULTILINE), printed
    assert stages_run(printed)[-3:] == ["train", "export", "evaluate"]
    assert restored.results() == committed.results()


@pytest.mark.slow
def test_lineage_names_commit_run_and_data(
    trained: Project, committed: Project, run_id: str
) -> None:
    printed = committed.inv("lineage", "models/model.onnx")
    lines = [re.sub(r"^[│├└─ ]+", "", line).rstrip() for line in printed.splitlines()]
    assert f"run {run_id}, in wandb/ here" in lines
    assert any(re.match(rf"commit {head(trained)[:7]}\w* ", line) for line in lines)
    stages = yaml.safe_load((committed.path / "dvc.lock").read_text("utf-8"))["stages"]
    for name, stage in zip(DATA, ("fetch", "prepare"), strict=True):
        assert f"{name} {stages[stage]['outs'][0]['md5']}" in lines
    accuracy = committed.json("reports/metrics.json")["accuracy"]
    assert f"test/accuracy {accuracy!r}" in lines


@pytest.fixture(scope="module")
def promoted(committed: Project) -> str:
    """The version that is in production, as the registry said it."""
    printed = committed.inv("model.promote", "HEAD")
    (version,) = re.findall(r"^(model@v\S+) is in production: ", printed, re.MULTILINE)
    return version


@pytest.mark.slow
def test_a_model_is_promoted(committed: Project, promoted: str) -> None:
    assert promoted == "model@v0.0.1"
    assert committed.run("git", "rev-parse", f"{promoted}^{{commit}}").strip() == head(committed)
    assert re.search(r"^ *production +v0\.0\.1 ", committed.inv("model.history"), re.MULTILINE)


# The served model


@pytest.fixture(scope="module")
def served(committed: Project, promoted: str) -> Iterator[Serving]:
    """What is in production, each request logged."""
    (committed.path / ".env").write_text("SERVING_LOG_EVERY=1\n", encoding="utf-8")
    with serving(committed, "--models=model=model#production") as running:
        yield running


@pytest.mark.slow
def test_the_service_answers_as_the_model(committed: Project, served: Serving) -> None:
    content = (committed.path / "models/model.onnx").read_bytes()
    assert served.metadata()["versions"] == [hashlib.sha256(content).hexdigest()[:12]]
    answers_as_the_model(committed, served.url)
    parameters = served.metadata()["parameters"]
    (classes,) = (output["names"] for output in parameters["signature"]["outputs"])
    samples = parameters["samples"]
    right = 0
    for sample in samples:
        _, probabilities = served.infer(sample["inputs"]["images"])
        right += classes[probabilities.index(max(probabilities))] == sample["actual"]
    assert right > 0.8 * len(samples) > 10


@pytest.mark.slow
def test_its_page_shows_the_class_of_a_sample(served: Serving, browser: Browser) -> None:
    parameters = served.metadata()["parameters"]
    classes = parameters["signature"]["outputs"][0]["names"]
    problems: list[str] = []
    page = browser.new_page()
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(served.url)
    for number in (0, 3, 7):
        _, probabilities = served.infer(parameters["samples"][number]["inputs"]["images"])
        page.locator("#gallery button").nth(number).click()
        shown = classes[probabilities.index(max(probabilities))]
        expect(page.locator(".verdict strong")).to_have_text(shown)
    page.close()
    assert problems == []


@pytest.mark.slow
@pytest.mark.weekly  # each change runs test_drift.py, with the default framework
def test_drift_of_what_is_served_is_found(committed: Project) -> None:
    (committed.path / ".env").write_text("SERVING_LOG_EVERY=1\n", encoding="utf-8")
    shutil.rmtree(committed.path / "runs/served", ignore_errors=True)
    with serving(committed) as running:
        running.send_test_images("inverted")
    printed = committed.inv("monitor.drift", "--fail", code=1)
    for column in ("brightness", "ink", "confidence"):  # of the images, and of the answers
        assert re.search(rf"^{column} .* yes$", printed, re.MULTILINE), printed
    assert (committed.path / "reports/drift.html").exists()


@pytest.mark.slow
def test_the_report_is_a_page_of_what_came_out(committed: Project, browser: Browser) -> None:
    committed.inv("report")
    problems: list[str] = []
    page = browser.new_page()
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto((committed.path / "reports/report.html").as_uri())
    text = page.locator("body").inner_text()
    page.close()
    assert problems == []
    assert f"{committed.json('reports/metrics.json')['accuracy']:.4f}" in text
    for heading in SECTIONS:
        assert heading in text


# Its own tests and images


@pytest.fixture
def changed(
    own: Own, framework: str, begun_with: Callable[[str], Project], tmp_path: Path
) -> Project:
    """A project in which a user has another model, and a callback less."""
    project = begun_with(framework).copy(tmp_path)
    conf = project.path / "conf"
    (conf / "model/own.yaml").write_text(own.model, encoding="utf-8")
    for name, pattern, new in [
        ("config.yaml", r"- model: \w+", "- model: own"),
        ("callbacks/default.yaml", r"  - predictions_table\n", ""),
    ]:
        text, count = re.subn(pattern, new, (conf / name).read_text("utf-8"))
        assert count == 1
        (conf / name).write_text(text, encoding="utf-8")
    return project


@pytest.mark.slow
# Of Keras, nothing else checks the types with each change.
@pytest.mark.parametrize("framework", cases(often=[*OFTEN, "keras-jax"]), indirect=True)
def test_its_checks_pass_as_a_user_changes_it(changed: Project) -> None:
    checked = changed.inv("check")
    assert "Success: no issues found" in checked
    assert "No dependency issues found" in checked


@pytest.mark.slow
# The stages that they run are those of the tests above: with each change, the quickest ones.
@pytest.mark.parametrize("framework", cases(often=["scikit-learn"]), indirect=True)
def test_its_tests_pass_as_a_user_changes_it(changed: Project) -> None:
    assert re.search(r"\d+ passed", changed.inv("test"))


@pytest.mark.slow
@pytest.mark.weekly  # builds images: minutes for each framework
@pytest.mark.docker
def test_its_images_train_and_serve_the_same(
    framework: str, trained: Project, tmp_path: Path
) -> None:
    project = set_up_for_images(tmp_path, project_name=f"Images {framework}", framework=framework)
    name = project.path.name
    project.inv("docker.build", "--image=serve")
    project.inv("docker.train")
    assert project.results() == trained.results()
    with model_service(f"{name}-serve", project.path / "models") as (_, url):
        answers_as_the_model(project, url)
    docker("image", "rm", f"{name}-cpu", f"{name}-serve")
    docker("image", "prune", "--force", f"--filter=label=org.opencontainers.image.title={name}")
