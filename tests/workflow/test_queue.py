"""The queue of experiments: it ends with the truth, and a kill costs nothing."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from workflow import paths
from workflow.pipeline import queue

TRAIN = """
import pathlib, time, yaml
lr = yaml.safe_load(open("params.yaml"))["lr"]
if lr < 0:
    raise SystemExit("config: no step")
here = pathlib.Path(FOLDER)
(here / "started").touch()
while lr == 3 and not (here / "go").exists():
    time.sleep(0.1)
pathlib.Path("metrics.json").write_text("{}")
"""
PIPELINE = """
stages:
  train:
    cmd: PYTHON train.py
    deps: [train.py]
    params: [lr]
    metrics:
    - metrics.json:
        cache: false
"""
MASKED = ("DVC_", "GIT_")  # of a stage or a hook that these tests run in


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DVC project with a commit; it is current. Its experiment lr=3 runs until told to go."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith(MASKED)]:
        monkeypatch.delenv(name)
    # DVC starts the workers of its queue as `dvc`, found on the PATH.
    monkeypatch.setenv(
        "PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    )
    monkeypatch.setenv("PYTHONPATH", str(paths.ROOT))
    files = {
        "train.py": TRAIN.replace("FOLDER", repr(str(tmp_path))),
        "params.yaml": "lr: 1\n",
        "dvc.yaml": PIPELINE.replace("PYTHON", sys.executable),
    }
    for name, text in files.items():
        Path(name).write_text(text, encoding="utf-8")
    call("git", "init", "--quiet", "--initial-branch=main")
    call("git", "config", "user.name", "Test")
    call("git", "config", "user.email", "test@example.com")
    call(sys.executable, "-m", "dvc", "init", "--quiet")
    call("git", "add", "--all")
    call("git", "commit", "--quiet", "--message=start")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen]]:
    """Starts the command behind `inv exp.run`; what it prints is in the file `printed`."""
    started: list[subprocess.Popen] = []

    def start() -> subprocess.Popen:
        command = [sys.executable, "-m", queue.__name__]
        with (tmp_path / "printed").open("w") as printed:
            started.append(subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def call(*command: str) -> None:
    subprocess.run(command, check=True, timeout=300, stdout=subprocess.DEVNULL)


def add(name: str, lr: int) -> None:
    dvc = (sys.executable, "-m", "dvc")
    call(*dvc, "exp", "run", "--queue", f"--name={name}", f"--set-param=lr={lr}")


def until(is_true: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
def test_a_failed_experiment_is_named_with_its_reason_and_the_others_come_out(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["queue"])
    assert queue.main() == 0
    assert capsys.readouterr().out.strip() == queue.NOTHING
    add("broken", -1)
    add("good", 2)
    assert queue.main() == 1
    *_, passed, failed, advice = capsys.readouterr().out.splitlines()
    assert passed == "1 of 2 succeeded: inv compare, then inv exp.apply NAME"
    output = "its output: dvc queue logs broken"
    assert failed == f"exp.run: broken failed: config: no step; {output}"
    assert advice.endswith("dvc queue remove --failed")
    assert queue.main() == 0, "it has been said"


@pytest.mark.slow
def test_a_killed_queue_is_resumed(
    project: Path,
    tmp_path: Path,
    run: Callable[[], subprocess.Popen],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add("slow", 3)
    first = run()
    until((tmp_path / "started").exists)
    first.kill()
    first.wait()
    add("more", 2)  # DVC's lock is free, though the worker goes on

    followed = run()
    until(lambda: "slow:" in (tmp_path / "printed").read_text())
    (tmp_path / "started").unlink()
    followed.kill()
    kill_workers(project)  # a machine that went down
    monkeypatch.setattr(queue, "ANSWER_SECONDS", 1)
    (tmp_path / "go").touch()
    monkeypatch.setattr(sys, "argv", ["queue"])
    assert queue.main() == 0
    printed = capsys.readouterr().out
    assert "slow was killed: it starts over" in printed
    assert "2 of 2 succeeded" in printed
    listed = subprocess.run(["git", "for-each-ref", "refs/exps"], capture_output=True, text=True)
    assert {"slow", "more"} <= {line.rpartition("/")[2] for line in listed.stdout.splitlines()}
    folders = list((project / ".dvc/tmp/exps").glob("tmp*"))
    assert folders == [], "the killed experiment's copy of the project is removed"


def kill_workers(project: Path) -> None:
    """Kill DVC's worker of a project and all that it has started."""
    info = (project / ".dvc/tmp/exps/celery/dvc-exp-worker-1.json").read_text()
    worker = psutil.Process(json.loads(info)["pid"])
    killed = [worker, *worker.children(recursive=True)]
    for process in killed:
        with contextlib.suppress(psutil.NoSuchProcess):  # a short one that has ended meanwhile
            process.kill()
    psutil.wait_procs(killed, timeout=10)
